"""What a worker is sent of code and of a node's state: no more than it lacks (SEMANTICS 16.1)."""

from __future__ import annotations

from executor.host import Code, Invocation, Start
from executor.peer import CODES_LIMIT, CODES_LIMIT_BYTES, Writer
from protocol.framing import coordinator_session, worker_session
from protocol.messages import (
    AttemptKey,
    Define,
    Digest,
    Forget,
    FromCoordinator,
    Invoke,
    NodeId,
    RunId,
    WireStart,
)

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
        message = self.messages()[-1]
        assert isinstance(message, Invoke)
        return message.start, message.resumes

    def run_code(self, number: int, size: int) -> list[type]:
        """Which kinds of messages it takes to run a code."""
        code = Code(Digest(number.to_bytes(16, "big")), bytes(size))
        self.writer.invoke(Invocation(AttemptKey(RunId(1), NodeId(1), 0), code, []))
        return list(map(type, self.messages()))

    def messages(self) -> list[FromCoordinator]:
        found: list[FromCoordinator] = []
        for parts in self.writer.session.take():
            envelope = self._worker.read(parts)
            assert envelope is not None
            found += envelope.messages
        return found


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


def test_code_is_sent_once_until_there_is_so_much_of_it_that_all_is_forgotten() -> None:
    """A worker that lives for days would else keep the functions of every run."""
    wire = Wire()
    for number in range(3 * CODES_LIMIT):
        is_full = number > 0 and number % CODES_LIMIT == 0
        assert wire.run_code(number, 10) == [*([Forget] if is_full else []), Define, Invoke]
        assert wire.run_code(number, 10) == [Invoke]


def test_nor_does_a_worker_keep_more_code_than_its_memory_should_hold() -> None:
    wire = Wire()
    wire.run_code(0, CODES_LIMIT_BYTES // 2)
    assert wire.run_code(1, CODES_LIMIT_BYTES // 2) == [Define, Invoke]
    assert wire.run_code(2, 10) == [Forget, Define, Invoke]
    assert wire.run_code(2, 10) == [Invoke]
