"""A flow machine that asserts the invariants of SEMANTICS 17 while it runs.

What I1 (rule 19) and I10 say of values needs to know what bodies read: ``tests.differential`` compares
that. All others are seen from the verbs and reports alone. ``test_checked.py`` shows that each is seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from executor.host import Broken, Host, Invocation
from orchestrator.runtime.job import Job
from orchestrator.runtime.machine import FlowMachine
from orchestrator.runtime.outcome import Done, Failed
from orchestrator.runtime.replay import COMPARING
from orchestrator.runtime.state import MapRun
from orchestrator.runtime.waits import edge_to_widen, find_deadlock, is_certain
from orchestrator.spec import EdgeInput
from protocol.messages import WHOLE, AttemptKey, ErrorReport, Missing, RunId
from protocol.values import Value


class CheckedMachine(FlowMachine):
    """Checks itself after each turn; ``violations`` must be looked at by whoever runs it."""

    made: list[CheckedMachine] = []  # noqa: RUF012 - the fixture's list of all there were

    def __init__(self, job: Job, run: RunId, host: Host) -> None:
        super().__init__(job, run, CheckedHost(host, self))
        self.chunks_seen: dict[AttemptKey, int] = {}
        self.cancelled_readers: set[tuple[AttemptKey, int]] = set()
        self.throws: dict[AttemptKey, int] = {}
        self.ended_attempts: set[AttemptKey] = set()
        CheckedMachine.made.append(self)

    def settle(self) -> None:
        super().settle()
        self.check()
        if self.outcome is None and not self.is_unsettled:
            self.check_no_deadlock()

    def check_no_deadlock(self) -> None:
        """Rule 52: a deadlock is repaired at once, not only when the whole flow is at rest."""
        left = deque(self.nodes)
        while (deadlock := find_deadlock(left, self.waits_of, self._repair._is_parked)) is not None:
            if is_certain(deadlock) or edge_to_widen(deadlock) is not None:
                raise AssertionError(f"rule 52: not repaired: {[wait.describe() for wait in deadlock]}")
            left.popleft()

    def chunks(self, key: AttemptKey, first: int, count: int, width: int, values: list[Value]) -> None:
        assert key not in self.ended_attempts, f"chunk after the end of {key}"
        assert first == self.chunks_seen.get(key, 0), f"I2: chunk {first} of {key} out of order"
        self.chunks_seen[key] = first + count
        super().chunks(key, first, count, width, values)

    def cancel_stream(self, key: AttemptKey, port: int) -> None:
        self.cancelled_readers.add((key, port))
        super().cancel_stream(key, port)

    def completed(
        self,
        key: AttemptKey,
        emitted: int,
        seconds: float,
        outputs: list[Value],
        missing: Missing | None,
        state: Value | None = None,
    ) -> None:
        self._end(key, emitted)
        super().completed(key, emitted, seconds, outputs, missing, state)

    def failed(
        self, key: AttemptKey, emitted: int, seconds: float, error: ErrorReport, cause: Value | None
    ) -> None:
        self._end(key, emitted)
        super().failed(key, emitted, seconds, error, cause)

    def cancelled(self, key: AttemptKey) -> None:
        self._end(key)
        super().cancelled(key)

    def _end(self, key: AttemptKey, emitted: int | None = None) -> None:
        assert emitted in (None, self.chunks_seen.get(key, 0)), f"I2: {key} says it emitted {emitted}"
        assert key not in self.ended_attempts, f"I2: {key} ended twice"
        self.ended_attempts.add(key)

    def check_end(self) -> None:
        """What must hold when the run is over (I6, I7, I9)."""
        assert self.outcome is not None, "I7: at rest without an outcome"
        assert not self.live, f"I9: attempts left with a host: {list(self.live)}"
        if isinstance(self.outcome, Done | Failed):
            unfinished = self.outcome.unfinished if isinstance(self.outcome, Done) else ()
            cyclic = _in_cyclic_components(self)
            for node in self.nodes:
                if node.run is None and node.index not in cyclic and node.name not in unfinished:
                    assert node.runs == 1, f"I6: {node.name} ran {node.runs} times"


class CheckedHost:
    """Passes verbs on, and asserts what they must never do."""

    def __init__(self, host: Host, machine: CheckedMachine) -> None:
        self._host = host
        self._machine = machine
        self._delivered: dict[tuple[AttemptKey, int], int] = {}

    def invoke(self, invocation: Invocation) -> None:
        key = invocation.key
        if key.element == WHOLE:
            others = [live for live in self._machine.live if live.node == key.node and live != key]
            assert not [live for live in others if live.element == WHOLE], f"I5: {key} overlaps {others}"
        elif key.element > COMPARING:
            ahead = self._machine.nodes[key.node].spec.ahead
            run = self._machine.nodes[key.node].run
            assert isinstance(run, MapRun)
            assert len(run.in_flight) <= ahead, "A8: more elements in flight than asked"
        self._host.invoke(invocation)

    def deliver(self, key: AttemptKey, port: int, first: int, values: list[Value]) -> None:
        assert (key, port) not in self._machine.cancelled_readers, "I8: a chunk after the cancel"
        assert first == self._delivered.get((key, port), 0), f"I2: chunk {first} for {key} out of order"
        self._delivered[key, port] = first + len(values)
        self._host.deliver(key, port, first, values)

    def end_stream(self, key: AttemptKey, port: int, count: int, broken: Broken | None = None) -> None:
        self._host.end_stream(key, port, count, broken)

    def produce(self, key: AttemptKey, upto: int) -> None:
        self._host.produce(key, upto)

    def throw_cancel(self, key: AttemptKey) -> None:
        throws = self._machine.throws
        throws[key] = throws.get(key, 0) + 1
        edges = self._machine.nodes[key.node].streams_out
        readings = [edge.readings.get(key.generation) for edge in edges]
        left = sum(reading is None or not reading.live for reading in readings)
        assert throws[key] <= left, "I8: more throws than readers that have cancelled"
        self._host.throw_cancel(key)

    def cancel(self, key: AttemptKey) -> None:
        self._host.cancel(key)

    def recall(self, key: AttemptKey) -> None:
        self._host.recall(key)

    def release(self, run: RunId) -> None:
        self._host.release(run)


def _in_cyclic_components(machine: FlowMachine) -> set[int]:
    """The nodes connected, in either direction, with a node that is on a cycle (rule 22)."""
    neighbours: dict[int, set[int]] = {node.index: set() for node in machine.nodes}
    delayed: set[int] = set()
    for node in machine.nodes:
        for port in node.spec.ports:
            if isinstance(port.input, EdgeInput):
                neighbours[node.index].add(port.input.producer)
                neighbours[port.input.producer].add(node.index)
                if port.input.delay:
                    delayed.add(node.index)
    found: set[int] = set()
    pending: Sequence[int] = sorted(delayed)
    stack = list(pending)
    while stack:
        index = stack.pop()
        if index not in found:
            found.add(index)
            stack.extend(neighbours[index])
    return found
