"""Who is told what of a flow, and what is remembered of it when it has ended; without any process."""

from __future__ import annotations

from executor.output import Printed as Output
from orchestrator.service.audience import Audience, End
from orchestrator.service.ended import ENDS_BYTES, REMEMBERED, EndedFlows
from orchestrator.service.session import Client
from protocol.client_messages import Finished, NodeProgress, Printed, Progress, RunStatus, ToClient
from protocol.framing import client_session, service_session
from protocol.listener import ConnectionId
from protocol.messages import RunId

RUN = RunId(3)
END = End(b"outcome", b"report", [b"an exception"])


class Listener:
    """A client of a service, and what it hears."""

    def __init__(self) -> None:
        self.behind = False
        self._theirs = client_session()
        self._ours = service_session()
        self.client = Client(ConnectionId(1), 1, -1, self._ours, lambda _: None, lambda _: self.behind)

    def heard(self) -> list[ToClient]:
        read = map(self._theirs.read, self._ours.take())
        return [message for envelope in read if envelope is not None for message in envelope.messages]


def progress(runs: int) -> NodeProgress:
    return NodeProgress("a", "running", runs, runs, 1, 0, 0)


def printed(text: bytes) -> Output:
    return Output(1, None, is_error=False, data=text)


def test_each_is_told_what_has_changed_for_it_and_the_end_once() -> None:
    audience, first, second = Audience(RUN), Listener(), Listener()
    assert not audience
    audience.admit(first.client)
    assert audience.tell_progress({0: progress(1), 1: progress(1)})
    audience.admit(second.client)
    audience.admit(second.client)
    assert audience.tell_progress({0: progress(1), 1: progress(2)})
    assert first.heard() == [
        Progress(RUN, {0: progress(1), 1: progress(1)}),
        Progress(RUN, {1: progress(2)}),
    ]
    assert second.heard() == [Progress(RUN, {0: progress(1), 1: progress(2)})]
    audience.dismiss(first.client)
    audience.tell_end(END)
    audience.tell_end(END)
    assert first.heard() == []
    assert second.heard() == [Finished(RUN, b"outcome", b"report", [b"an exception"])]


def test_who_does_not_keep_up_misses_output_and_is_told_how_much() -> None:
    audience, slow = Audience(RUN), Listener()
    audience.admit(slow.client)
    slow.behind = True
    assert not audience.tell_progress({0: progress(1)})
    audience.tell_output(printed(b"12345"))
    audience.tell_output(printed(b"678"))
    assert slow.heard() == []
    slow.behind = False
    audience.tell_output(printed(b"9"))
    note = b"[8 bytes of output were left out: they came too fast]\n"
    assert slow.heard() == [Printed(RUN, 2, note), Printed(RUN, 1, b"9")]
    slow.behind = True
    audience.tell_output(printed(b"10"))
    assert audience.tell_progress({0: progress(2)}, is_last=True)
    audience.tell_end(END)
    assert [type(each) for each in slow.heard()] == [Progress, Printed, Finished]


def ended(run: int) -> RunStatus:
    return RunStatus(RunId(run), "x", "done", 1, False, 1.0, 1, 1, 0, 0, "")


def test_the_last_flows_that_have_ended_are_remembered() -> None:
    flows = EndedFlows()
    for run in range(REMEMBERED + 5):
        flows.add(ended(run), END)
    assert [status.run for status in flows.statuses()] == list(range(5, REMEMBERED + 5))
    assert flows.status_of(RunId(4)) is None
    assert flows.end_of(RunId(5)) is END


def test_of_large_ends_the_oldest_are_forgotten_and_that_they_ended_is_not() -> None:
    flows = EndedFlows()
    large = End(b"", b"", [bytes(ENDS_BYTES // 2)])
    for run in range(3):
        flows.add(ended(run), large)
    flows.add(ended(3), END)
    assert [flows.end_of(RunId(run)) for run in range(4)] == [None, None, large, END]
    assert len(flows.statuses()) == 4
    flows.add(ended(4), End(b"", b"", [bytes(ENDS_BYTES + 1)]))
    assert [flows.end_of(RunId(run)) for run in range(5)] == [None] * 5
