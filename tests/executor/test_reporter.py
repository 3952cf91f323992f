"""What a hub reports leaves as few messages, in an order that says the same."""

from __future__ import annotations

from executor.reporter import HELD_BYTES, Reporter
from protocol.framing import coordinator_session, worker_session
from protocol.messages import (
    AttemptKey,
    Chunk,
    Completed,
    FromWorker,
    NodeId,
    Read,
    RunId,
    Wait,
)

ONE = AttemptKey(RunId(1), NodeId(1), 0)
TWO = AttemptKey(RunId(1), NodeId(2), 0)


class Wire:
    def __init__(self) -> None:
        self.session = worker_session()
        self.ended: list[AttemptKey] = []
        self.reporter = Reporter(self.session, self.ended.append)
        self._peer = coordinator_session()

    def messages(self) -> list[FromWorker]:
        self.reporter.write_held()
        found: list[FromWorker] = []
        for parts in self.session.take():
            envelope = self._peer.read(parts)
            assert envelope is not None
            found += envelope.messages
        return found


def test_successive_chunks_of_attempts_that_take_turns_become_one_range_each() -> None:
    wire = Wire()
    for index in range(3):
        wire.reporter.chunks(ONE, index, 1, 1, [b"a%d" % index])
        wire.reporter.chunks(TWO, index, 1, 2, [b"b%d" % index, b"c%d" % index])
    assert wire.messages() == [
        Chunk(ONE, 0, 3, 1, [b"a0", b"a1", b"a2"]),
        Chunk(TWO, 0, 3, 2, [b"b0", b"c0", b"b1", b"c1", b"b2", b"c2"]),
    ]
    wire.reporter.chunks(ONE, 3, 1, 1, [b"d"])
    assert wire.messages() == [Chunk(ONE, 3, 1, 1, [b"d"])]


def test_successive_reads_of_a_stream_become_one_count() -> None:
    wire = Wire()
    for upto in (1, 2, 3):
        wire.reporter.read(ONE, 0, upto)
        wire.reporter.read(ONE, 1, upto + 10)
    assert wire.messages() == [Read(ONE, 0, 3), Read(ONE, 1, 13)]


def test_what_is_held_back_of_an_attempt_is_written_before_anything_else_about_it() -> None:
    wire = Wire()
    wire.reporter.chunks(ONE, 0, 1, 1, [b"a"])
    wire.reporter.read(ONE, 0, 1)
    wire.reporter.chunks(TWO, 0, 1, 1, [b"b"])
    wire.reporter.wait(ONE, 0, 1, 1)
    wire.reporter.completed(TWO, 1, 0.5, [b"c"], None)
    assert wire.messages() == [
        Read(ONE, 0, 1),
        Chunk(ONE, 0, 1, 1, [b"a"]),
        Wait(ONE, 0, 1),
        Chunk(TWO, 0, 1, 1, [b"b"]),
        Completed(TWO, 1, 0.5, [b"c"]),
    ]
    assert wire.ended == [TWO]


def test_the_state_that_a_run_has_left_goes_with_its_result() -> None:
    wire = Wire()
    wire.reporter.completed(ONE, 0, 0.5, [], None, b"state")
    assert wire.messages() == [Completed(ONE, 0, 0.5, [], None, b"state")]


def test_large_chunks_are_not_held_back() -> None:
    wire = Wire()
    wire.reporter.chunks(ONE, 0, 1, 1, [(bytes(HELD_BYTES),)])
    assert wire.session.has_output


def test_chunks_that_are_not_sent_are_counted_together() -> None:
    wire = Wire()
    wire.reporter.chunks(ONE, 0, 1, 1, [])
    wire.reporter.chunks(ONE, 1, 1, 1, [])
    assert wire.messages() == [Chunk(ONE, 0, 2, 1, [])]
