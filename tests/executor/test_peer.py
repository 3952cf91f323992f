"""What a worker is sent of a node's state: no more than it lacks (SEMANTICS 16.1)."""

from __future__ import annotations

from executor.host import Code, Invocation, Start
from executor.peer import Writer
from protocol.framing import coordinator_session, worker_session
from protocol.messages import AttemptKey, Digest, Invoke, NodeId, RunId, WireStart

START = Start(b"state", b"changes")
SENT = WireStart(b"state", b"changes")


class Wire:
    """A writer, and what the worker at its other end reads."""

    def __init__(self) -> None:
        self.writer = Writer(coordinator_session())
        self._worker = worker_session()

    def invoke(
        self, generation: int, *, attempt: int = 0, resumes: bool = True, start: Start | None = START
    ) -> tuple[WireStart | None, bool]:
        key = AttemptKey(RunId(1), NodeId(1), generation, attempt=attempt)
        code = Code(Digest(b"code"), b"")
        self.writer.invoke(
            Invocation(key, code, [], pinned=True, checkpoint=True, start=start, resumes=resumes)
        )
        messages: list[object] = []
        for parts in self.writer.session.take():
            envelope = self._worker.read(parts)
            assert envelope is not None
            messages += envelope.messages
        message = messages[-1]
        assert isinstance(message, Invoke)
        return message.start, message.resumes


def test_the_first_run_here_starts_from_the_committed_state_and_the_next_goes_on() -> None:
    wire = Wire()
    assert wire.invoke(3) == (SENT, False)
    assert wire.invoke(4) == (None, True)


def test_a_run_after_one_that_failed_and_a_further_attempt_start_from_the_committed_state() -> None:
    wire = Wire()
    wire.invoke(0)
    assert wire.invoke(1, resumes=False) == (SENT, False)
    assert wire.invoke(1, attempt=1) == (SENT, False)


def test_a_node_that_has_been_elsewhere_since_starts_from_the_committed_state() -> None:
    wire = Wire()
    wire.invoke(0)
    assert wire.invoke(2) == (SENT, False)


def test_what_is_held_for_a_run_is_forgotten_with_it() -> None:
    wire = Wire()
    wire.invoke(0)
    wire.writer.release(RunId(1))
    assert wire.invoke(1) == (SENT, False)


def test_a_node_without_a_committed_state_is_made_anew() -> None:
    assert Wire().invoke(0, start=None, resumes=False) == (None, False)
