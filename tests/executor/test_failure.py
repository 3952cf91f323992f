"""An exception of a body always reaches whoever asks for it, at least as a text (F15, F16)."""

from __future__ import annotations

import pytest

from executor.failure import TEXT_LIMIT, describe
from protocol.framing import coordinator_session, worker_session
from protocol.messages import AttemptKey, ErrorReport, Failed, Fault, NodeId, RunId
from protocol.serialization import dump_exception


def received(error: BaseException) -> ErrorReport:
    """What a worker would say of it, as the coordinator hears it."""
    worker, coordinator = worker_session(), coordinator_session()
    try:
        raise error
    except type(error):
        report, cause = describe(error, Fault.BODY, dump_exception)
    wire = None if cause is None else worker.attach(cause)
    worker.add(Failed(AttemptKey(RunId(1), NodeId(1), 0), 0, 0.0, report, wire))
    [parts] = worker.take()
    envelope = coordinator.read(parts)
    assert envelope is not None
    [failed] = envelope.messages
    assert isinstance(failed, Failed)
    return failed.error


def test_an_error_that_names_a_file_whose_name_is_no_utf_8_arrives() -> None:
    """A message cannot carry such a text: the worker that tried it died, and was blamed."""
    report = received(ValueError("no place for caf\udce9.txt"))
    assert report.message == r"no place for caf\udce9.txt"
    assert report.traceback.endswith(r"ValueError: no place for caf\udce9.txt" + "\n")


@pytest.mark.parametrize("size", [TEXT_LIMIT, 100 * TEXT_LIMIT])
def test_of_an_error_with_a_text_of_any_length_the_beginning_and_the_end_arrive(size: int) -> None:
    report = received(ValueError("begin" + "x" * (size - 8) + "end"))
    assert report.message.startswith("begin")
    assert report.message.endswith("end")
    assert len(report.message) < 1.1 * TEXT_LIMIT
    assert len(report.traceback) < 1.1 * TEXT_LIMIT
