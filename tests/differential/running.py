"""Runs described graphs in every way there is, and compares each run with the reference."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import pytest

from executor.codec import BY_REFERENCE
from executor.host import Broken, Host, Input
from executor.pool import Pool
from orchestrator import coordinator
from orchestrator.event_loop import EventLoop
from orchestrator.runtime.job import Job
from orchestrator.runtime.outcome import Done, LimitReached
from orchestrator.runtime.state import Node as MachineNode
from orchestrator.runtime.state import Run, Void
from orchestrator.spec import EdgeInput, FlowSpec, Placement
from protocol.messages import WHOLE, Absence, AttemptKey, Missing, RunId
from protocol.values import Value
from tests.differential.bodies import flow_of
from tests.differential.description import Graph, Node
from tests.differential.generate import cyclic_component
from tests.reference import NO_FINAL, SKIPPED, Observed, Reference, agrees, delays
from tests.runtime.checked import CheckedMachine
from tests.runtime.simulation import Simulation, job_of

Where: TypeAlias = Literal["inline", "thread", "process", "mixed", "simulation"]

_PLACEMENTS: Final[dict[Where, tuple[Placement, ...]]] = {
    "inline": ("inline",),
    "thread": ("thread",),
    "process": ("process",),
    "mixed": ("process", "inline", "thread"),
    "simulation": ("inline",),
}
"""Nodes take them in turn."""

_TIMEOUT_S: Final = 60.0

Seen: TypeAlias = dict[tuple[int, int], Observed]


class RecordingMachine(CheckedMachine):
    """Keeps all that every run emitted, which nodes let go of as they go on."""

    def __init__(self, job: Job, run: RunId, host: Host) -> None:
        super().__init__(job, run, host)
        self.spec = job.spec
        self.seen: Seen = defaultdict(Observed)

    def invoke(self, node: MachineNode, key: AttemptKey, inputs: list[Input], credit: int) -> None:
        self.seen[key.node, key.generation]  # it has begun
        super().invoke(node, key, inputs, credit)

    def chunks(self, key: AttemptKey, first: int, count: int, width: int, values: list[Value]) -> None:
        self._note_chunks(key.node, key.generation, count, width, values)
        super().chunks(key, first, count, width, values)

    def emit(self, run: Run, count: int, width: int, values: list[Value]) -> bool:
        if run.node.spec.kind == "map":
            self._note_chunks(run.node.index, run.number, count, width, values)
        return super().emit(run, count, width, values)

    def _note_chunks(self, node: int, run: int, count: int, width: int, values: list[Value]) -> None:
        chunks: list[Any] = [None] * count
        if values:
            shown = [BY_REFERENCE.loads(value) for value in values]
            chunks = [tuple(shown[index * width : (index + 1) * width]) for index in range(count)]
        self.seen[node, run].chunks += chunks

    def cancel_thrown(self, key: AttemptKey, merged: int, emitted: int) -> None:
        self.seen[key.node, key.generation].thrown_at.append(emitted)
        super().cancel_thrown(key, merged, emitted)

    def completed(
        self,
        key: AttemptKey,
        emitted: int,
        seconds: float,
        outputs: list[Value],
        missing: Missing | None,
        state: Value | None = None,
    ) -> None:
        if key.element == WHOLE:
            seen = self.seen[key.node, key.generation]
            seen.ended = True
            skipped = missing is not None and missing.absence is Absence.SKIP
            seen.outputs = SKIPPED if skipped else NO_FINAL
            if missing is None:
                seen.outputs = tuple(BY_REFERENCE.loads(value) for value in outputs)
        super().completed(key, emitted, seconds, outputs, missing, state)

    def end_unrun(self, run: Run, void: Void) -> None:
        seen = self.seen[run.node.index, run.number]
        seen.ended, seen.outputs = True, SKIPPED
        super().end_unrun(run, void)

    def end_run(self, run: Run, outputs: list[Value] | None, broken: Broken | None = None) -> None:
        if run.node.spec.kind == "map" and run.void is None:
            seen = self.seen[run.node.index, run.number]
            seen.ended, seen.outputs = True, NO_FINAL
        super().end_run(run, outputs, broken)


@contextmanager
def recorded() -> Iterator[list[RecordingMachine]]:
    """Every flow that is run here is recorded; yields the machines."""
    machines: list[RecordingMachine] = []

    class Machine(RecordingMachine):
        def __init__(self, job: Job, run: RunId, host: Host) -> None:
            super().__init__(job, run, host)
            machines.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coordinator, "FlowMachine", Machine)
        yield machines
    CheckedMachine.made.clear()


class Disagreement(AssertionError):
    """A run differed from the reference; says how to see it again."""


@dataclass(frozen=True, slots=True)
class Way:
    """A way to run a flow. ``schedule``: the seed of the loop's, or of a simulation's."""

    where: Where
    window: int
    schedule: int | None = None

    def __str__(self) -> str:
        return f"{self.where} {self.window}" + ("" if self.schedule is None else f" {self.schedule}")


def run_and_check(graph: Graph, way: Way, pool: Pool | None = None) -> None:
    """Run a graph in one way and compare all that it did with the reference.

    Raises:
        Disagreement: with a command that shows it again.
    """
    try:
        check(graph, _run(graph, way, pool))
    except Exception as error:
        again = f"python -m tests.soak_differential --seed {graph.seed} --way {way}"
        raise Disagreement(f"seed {graph.seed}, {way}: {error}\nSee it again: {again}") from error


def _run(graph: Graph, way: Way, pool: Pool | None) -> RecordingMachine:
    flow = flow_of(graph, window=way.window, placements=_PLACEMENTS[way.where])
    stop = stop_of(graph)
    if way.where == "simulation":
        simulation = Simulation(job_of(flow, stop), seed=way.schedule or 0, machine=RecordingMachine)
        machine = simulation.run()
        assert isinstance(machine, RecordingMachine)
        return machine
    if way.schedule is not None:
        flow._event_loop = EventLoop(seed=way.schedule)
    with recorded() as machines:
        if way.where == "inline":
            flow.run(workers=0, stop_at_node_generation=stop, timeout_s=_TIMEOUT_S)
        elif way.where == "thread":
            flow.run(workers=1, stop_at_node_generation=stop, timeout_s=_TIMEOUT_S)
        else:
            flow.run(pool=pool, stop_at_node_generation=stop, timeout_s=_TIMEOUT_S)
    [machine] = machines
    machine.check_end()
    return machine


def stop_of(graph: Graph) -> Any:
    """The stop limit as ``run`` takes it."""
    if graph.stop is None:
        return ()
    number, limit = graph.stop
    return limit if number is None else {graph.nodes[number].name: limit}


# -- comparing ---------------------------------------------------------------------------------------


def check(graph: Graph, machine: RecordingMachine) -> None:
    """Assert that a run was what the rules say (I1, I10)."""
    nodes = graph.expanded
    delay = delays(nodes)
    check_plan(machine.spec, nodes, delay)
    reference = Reference(nodes, delay, machine.seen)
    for number, run in sorted(machine.seen, key=_by_run):
        seen = machine.seen[number, run]
        must = reference.run(number, run)
        assert agrees(must, seen), (
            f"I1: run {run} of {nodes[number].name} was {seen}, and must be {must}"
        )
    cancels = _Cancels(nodes, delay, machine.seen, reference)
    cancels.check_throws()
    _check_outcome(graph, machine)
    if isinstance(machine.outcome, Done):
        _check_rest(nodes, machine.seen, cancels)


def check_plan(spec: FlowSpec, nodes: tuple[Node, ...], delay: dict[tuple[int, int], int]) -> None:
    """The planner's delays are those of the rules (A3)."""
    planned = [
        [port.input.delay for port in node.ports if isinstance(port.input, EdgeInput)]
        for node in spec.nodes
    ]
    expected = [[delay[node.number, index] for index in range(len(node.ports))] for node in nodes]
    assert planned == expected, "rules 19-31: the planner chose other delays"


class _Cancels:
    """Who cancelled what, as the reference and what was seen tell."""

    def __init__(
        self,
        nodes: tuple[Node, ...],
        delay: dict[tuple[int, int], int],
        seen: Seen,
        reference: Reference,
    ) -> None:
        self._nodes = nodes
        self._delay = delay
        self._seen = seen
        self._reference = reference
        self._possible: dict[tuple[int, int], int] = {}

    def certain(self, number: int, run: int) -> int:
        """How many readers of a run have cancelled its stream."""
        return sum(
            self._has_cancelled(reader, index, reading)
            for reader, index, reading in self._readings(number, run)
        )

    def _has_cancelled(self, reader: int, index: int, reading: int) -> bool:
        """Whether it came so far: what follows a chunk is done only when the body goes on from there."""
        emitted = self._reference.run(reader, reading).cancelled.get(index)
        seen = self._seen[reader, reading]
        return emitted is not None and (seen.ended or emitted == 0 or emitted < len(seen.chunks))

    def possible(self, number: int, run: int) -> int:
        """With those that were cancelled themselves with nothing left to emit: they ended by that and
        passed it on (rule 59a), or by themselves."""
        known = self._possible.get((number, run))
        if known is None:
            known = self._possible[number, run] = sum(
                index in self._reference.run(reader, reading).cancelled
                or (self._passes_on(reader) and self.possible(reader, reading) > 0)
                for reader, index, reading in self._readings(number, run)
            )
        return known

    def check_throws(self) -> None:
        """Rule 58: no throw without a reader's cancel, and no more than there were cancels."""
        # The latest runs first: so each looks at later ones that are known.
        for number, run in sorted(self._seen, key=_by_run, reverse=True):
            throws = self._reference.run(number, run).throws
            cancels = self.possible(number, run)
            name = self._nodes[number].name
            assert throws <= cancels, f"rule 58: {throws} throws in {name}, {cancels} cancels"

    def _readings(self, number: int, run: int) -> Iterator[tuple[int, int, int]]:
        for reader, index in _stream_readers(self._nodes, number):
            reading = run + self._delay[reader.number, index]
            if (reader.number, reading) in self._seen:
                yield reader.number, index, reading

    def _passes_on(self, number: int) -> bool:
        node = self._nodes[number]
        return node.kind == "map" or node.script.on_cancel == "propagate"


def _by_run(of: tuple[int, int]) -> tuple[int, int]:
    return of[1], of[0]


def _stream_readers(nodes: tuple[Node, ...], number: int) -> list[tuple[Node, int]]:
    return [
        (reader, index)
        for reader in nodes
        for index, port in enumerate(reader.ports)
        if port.is_stream and port.producer == number
    ]


def _check_outcome(graph: Graph, machine: RecordingMachine) -> None:
    """Rule 66: a limit ends the flow at the first emission that reaches it; else it is done."""
    outcome = machine.outcome
    if graph.stop is None:
        assert isinstance(outcome, Done), outcome
        return
    assert isinstance(outcome, Done | LimitReached), outcome
    number, limit = graph.stop
    has_cycle = bool(cyclic_component(graph.expanded))
    if number is None or not has_cycle:
        assert isinstance(outcome, LimitReached), outcome
        return
    assert isinstance(outcome, LimitReached), outcome
    assert outcome.node == graph.nodes[number].name
    run = outcome.generation[0]
    assert run == limit[0], (outcome, limit)
    chunks = len(machine.seen[number, run].chunks)
    if len(limit) == 2 and limit[1] < chunks:
        assert outcome.generation == limit
    else:
        assert outcome.generation == (run,)


def _check_rest(nodes: tuple[Node, ...], seen: Seen, cancels: _Cancels) -> None:
    """Rules 51, 59, 64: what did not end was left by its readers, and was not asked to stop."""
    for node in nodes:
        run = seen.get((node.number, 0))
        assert run is not None, f"{node.name} did not run"
        if run.ended:
            continue
        readers = _stream_readers(nodes, node.number)
        finals = [
            port
            for reader in nodes
            for port in reader.ports
            if port.producer == node.number and not port.is_stream
        ]
        assert not finals, f"{node.name} did not end, although its final value is read"
        assert readers or not node.drains, f"A7: {node.name} did not run to its end"
        was_cancelled = cancels.certain(node.number, 0) > 0
        assert not was_cancelled or node.script.on_cancel == "decline", (
            f"rules 58, 59: {node.name} goes on although it was cancelled"
        )
