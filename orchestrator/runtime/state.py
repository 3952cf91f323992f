"""The state of one flow run: nodes, their runs in progress, and the two kinds of edges."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from executor.host import Broken, Input
from orchestrator.node_state import NodeState
from orchestrator.runtime.chunk_log import ChunkLog, Stored, ValueStore
from orchestrator.runtime.replay import Replay
from orchestrator.runtime.retrying import Tries
from orchestrator.spec import EdgeInput, NodeSpec
from protocol.messages import AttemptKey, ErrorReport, NodeId
from protocol.values import Value


class Void(enum.Enum):
    """In place of a final value, or of a stream without chunks, that will never be."""

    SKIPPED = "skipped"  # the run was skipped (rule 41)
    FAILED = "failed"  # the run failed, and the flow goes on without it (rule 67)


@dataclass(slots=True, eq=False, repr=False)
class FinalEdge:
    """Final values on their way (run level 0): a queue of ``capacity`` places (rule 46).

    A default is never in it. Reading, which is the start of the consumer's run, takes one. It is
    ``closed`` once its consumer will never run again: it takes anything and keeps nothing (rule 47).
    """

    index: int
    producer: Node
    consumer: Node
    port: int
    spec: EdgeInput
    queue: tuple[Value | Void | Stored, ...] = ()  # mostly empty, seldom more than one
    capacity: int = 1
    closed: bool = False
    store: ValueStore | None = None  # for what a widened edge has no memory for

    @property
    def is_full(self) -> bool:
        return len(self.queue) >= self.capacity

    def put(self, value: Value | Void) -> None:
        if self.closed:
            return
        if self.queue and self.store is not None and not isinstance(value, Void):
            self.queue = (*self.queue, self.store.put(value))
        else:
            self.queue = (*self.queue, value)

    def take(self) -> Value | Void:
        value = self.queue[0]
        self.queue = self.queue[1:]
        if isinstance(value, Stored):
            assert self.store is not None
            return self.store.take(value)
        return value

    def close(self) -> None:
        self.closed = True
        self.queue = ()

    def __repr__(self) -> str:
        return (
            f"<finals {self.producer.name} -> {self.consumer.name}: {len(self.queue)}/{self.capacity}>"
        )

    def widen(self) -> None:
        self.capacity += 1

    def check(self) -> None:
        assert len(self.queue) <= self.capacity, self


@dataclass(slots=True, eq=False, repr=False)
class Reading:
    """One generation of a stream, as one run of its consumer reads it.

    It is live from the producer's start of that generation, even if the reading run has not begun,
    until the reader cancels or ends (rule 50).
    """

    generation: int
    log: ChunkLog
    siblings: list[Reading]  # all that read the same run, this one included
    emitted: int = 0
    delivered: int = 0  # of these, to the present attempt of the reader's run
    seen: int = 0  # of these, taken by that attempt
    taken: int = 0  # by any attempt
    keeps: bool = False  # the log must be whole: the reader's run may be tried again
    closed_at: int = 0  # how many were taken when the reader cancelled
    has_come: bool = False  # whether firing has been told of this generation
    ended: bool = False  # by the producer
    broken: Broken | None = None  # how, if it failed
    void: Void | None = None  # it ended without a chunk because its run was skipped or failed
    live: bool = True
    run: Run | None = None  # the consumer's run, once begun

    @property
    def untaken(self) -> int:
        """How many places it takes on its edge: one, too, for an end without chunks until it is read.

        Else a producer of empty streams could be any number of generations ahead of its reader.
        """
        if self.ended and not self.emitted:
            return int(self.run is None)
        return self.emitted - self.taken

    @property
    def is_left(self) -> bool:
        """Whether no body reads it any more, nor will again."""
        reader = self.run
        if self.live:
            return False
        return reader is None or reader.held is not None or reader.node.run is not reader


@dataclass(slots=True, eq=False, repr=False)
class StreamEdge:
    """Chunks on their way (run level 1): at most ``capacity`` that their live readers have not taken."""

    index: int
    producer: Node
    consumer: Node
    port: int
    spec: EdgeInput
    capacity: int = 0
    untaken: int = 0  # over all live readings
    excess: int = 0  # chunks that were yielded in answer to a cancel, past a closed gate
    readings: dict[int, Reading] = field(default_factory=dict)  # by generation; a few at most

    def __post_init__(self) -> None:
        self.capacity = self.spec.window + 1

    @property
    def is_full(self) -> bool:
        return self.untaken >= self.capacity

    def __repr__(self) -> str:
        names = f"{self.producer.name} -> {self.consumer.name}"
        return f"<chunks {names}: {self.untaken}/{self.capacity}>"

    def reading_of(self, run: Run) -> Reading | None:
        """What a run of the consumer reads; None where it has its port's default."""
        return self.readings.get(run.number - self.spec.delay)

    @property
    def is_widened(self) -> bool:
        return self.capacity > self.spec.window + 1

    def widen(self) -> None:
        self.capacity *= 2

    def check(self) -> None:
        live = [reading for reading in self.readings.values() if reading.live]
        assert self.untaken == sum(reading.untaken for reading in live), self
        assert self.untaken <= self.capacity + self.excess, self
        assert not any(reading.ended and reading.is_left for reading in self.readings.values()), self


Edge: TypeAlias = FinalEdge | StreamEdge


@dataclass(slots=True, eq=False, repr=False)
class Element:
    """What became of one element of a map: its outputs, or the error it ended with."""

    outputs: list[Value] | None
    failure: tuple[ErrorReport, Value | None] | None = None
    is_left_out: bool = False


@dataclass(slots=True, eq=False, repr=False)
class Flight:
    """An element of a map that is being evaluated."""

    key: AttemptKey
    inputs: list[Input]
    tries: Tries = field(default_factory=Tries)


@dataclass(slots=True, eq=False, repr=False)
class Run:
    """A run in progress: its body is with a host, or its final value waits to be written."""

    node: Node
    number: int
    key: AttemptKey
    credit: int
    emitted: int = 0
    waiting: dict[int, StreamEdge] = field(default_factory=dict)  # reads without a chunk, by port
    rests: bool = False  # until one of these has a chunk; else other tasks of the body go on
    cancels_unanswered: int = 0
    throws: tuple[int, ...] = ()  # at how many chunks they were thrown
    thrown_at: int = -1  # chunks emitted when a cancel was last thrown: past the gate until the next
    # The final outputs, computed but not yet written because an edge is full (barrier 0).
    held: list[Value] | None = None
    has_final: bool = False  # else its final value is NO_VALUE
    void: Void | None = None  # or there is none for its readers either
    # Its body has come to its end, and has left this of its node's state (None: it stays with the host).
    is_complete: bool = False
    state: Value | None = None
    inputs: list[Input] = field(default_factory=list)  # of a map: beside the element
    # Of a run that is tried again.
    tries: Tries | None = None
    is_between_attempts: bool = False
    replay: Replay | None = None
    comparisons: int = 0  # made so far; each has a key of its own


@dataclass(slots=True, eq=False, repr=False)
class MapRun(Run):
    """A run of a map: it has no body of its own, but an invocation for each element."""

    dispatched: int = 0
    settled: int = 0  # elements whose results were emitted or left out
    in_flight: dict[int, Flight] = field(default_factory=dict)
    elements: dict[int, Element] = field(default_factory=dict)  # not settled yet
    is_cancelled: bool = False


@dataclass(slots=True, eq=False, repr=False)
class Node:
    """One node of the flow and what it has done so far."""

    index: NodeId
    spec: NodeSpec
    state: NodeState | None = None  # of a class
    sources: Sequence[Edge | Input] = ()  # by port: what it reads, or has in every run
    finals_in: Sequence[FinalEdge] = ()
    streams_in: Sequence[StreamEdge] = ()
    finals_out: Sequence[FinalEdge] = ()
    streams_out: Sequence[StreamEdge] = ()
    sole_reads: Sequence[int] = ()  # ports whose producer nobody else reads; of nodes in workers
    run: Run | None = None
    progresses: bool = False  # its body can go on: counted by ``Progress``, which alone assigns it
    is_dead: bool = False  # it has failed, or needed what had: it never runs again
    runs: int = 0
    skipped: int = 0  # of these runs
    retries: int = 0  # attempts beyond the first of each
    chunks: int = 0
    seconds: float = 0.0
    bytes: int = 0

    def __repr__(self) -> str:
        return f"<node {self.name}>"

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def drains_itself(self) -> bool:
        """Whether it runs to its end though nobody is connected to it (A7)."""
        return not self.finals_out and not self.streams_out and self.spec.drain
