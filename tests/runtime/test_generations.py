"""Cycles, barrier 0, stop limits and the rule of n - d (SEMANTICS 4, 9, 12)."""

from __future__ import annotations

from typing import Any

import pytest

from executor.body import Stream
from orchestrator.event_loop import sleep
from orchestrator.graph.flow import Flow
from orchestrator.graph.node import node
from orchestrator.runtime.job import Job
from orchestrator.runtime.outcome import Deadlocked, Done, LimitReached, NothingAccumulated
from orchestrator.runtime.state import StreamEdge
from orchestrator.spec import CodeSpec, EdgeInput, FlowSpec, Locals, NodeSpec, PortSpec
from protocol.messages import Digest
from tests.runtime.checked import CheckedMachine
from tests.runtime.graphs import check_rule_19, mono_flow, stream_flow, values_of
from tests.runtime.simulation import Simulation, simulate

SEEDS = range(30)


@node
def increment(x: int = 0) -> int:
    return x + 1


def test_rule_19_a_cycle_reads_its_own_past() -> None:
    for seed in SEEDS:
        with Flow() as f:
            f.count = increment(f.count)
        machine = simulate(f, seed=seed, stop={f.count: (9,)})
        assert machine.outcome == LimitReached("count", (9,))
        assert f.count.get_data() == (10,)


def test_bug_b1_a_slow_reader_of_a_fast_cycle_sees_every_generation() -> None:
    for seed in SEEDS:
        seen: list[int] = []

        @node
        def reader(x: int, seen: Any = seen) -> None:
            seen.append(x)

        with Flow() as f:
            f.count = increment(f.count)
            f.reader = reader(f.count)
        simulate(f, seed=seed, stop={f.reader: (6,)})
        assert seen == [1, 2, 3, 4, 5, 6, 7]


def test_rule_22_every_node_of_a_cyclic_component_runs_equally_often() -> None:
    @node
    def source() -> int:
        return 1

    @node
    def add(a: int, b: int) -> int:
        return a + b

    for seed in SEEDS:
        with Flow() as f:
            f.source = source()
            f.count = increment(f.count)
            f.sum = add(f.source, f.count)
        machine = simulate(f, seed=seed, stop={f.sum: (4,)})
        runs = {node.name: node.runs for node in machine.nodes}
        assert runs["sum"] == 5
        assert 5 <= runs["count"] <= 7
        assert 5 <= runs["source"] <= 6  # never ahead of demand
        assert f.sum.get_data() == (6,)


@pytest.mark.parametrize("seed", range(150))
def test_rule_19_holds_for_random_graphs_under_random_schedules(seed: int) -> None:
    reads: list[Any] = []
    flow, producers = mono_flow(seed, cyclic=seed % 3 > 0, reads=reads)
    machine = simulate(flow, seed=seed, stop=(6,))
    assert isinstance(machine.outcome, Done | LimitReached)
    check_rule_19(flow, producers, reads)


@pytest.mark.parametrize("seed", range(100))
def test_a4_values_of_random_streams_depend_on_no_window_and_no_schedule(seed: int) -> None:
    results = []
    unfinished: set[str] = set()
    for window in (0, 1, 8):
        flow = stream_flow(seed, window)
        machine = simulate(flow, seed=seed + window)
        assert isinstance(machine.outcome, Done)
        unfinished |= set(machine.outcome.unfinished)
        results.append(values_of(flow))
    shown = [
        {name: value for name, value in result.items() if name not in unfinished} for result in results
    ]
    assert shown[0] == shown[1] == shown[2]


@pytest.mark.parametrize(
    ("limit", "generation", "data", "chunk"),
    [
        ((0, 1), (0, 1), None, (1,)),
        ((0, 9), (0,), (3,), None),
        ((0,), (0,), (3,), None),
    ],
)
def test_rule_66_a_limit_stops_at_a_chunk_or_a_final_value(
    limit: tuple[int, ...], generation: tuple[int, ...], data: Any, chunk: Any
) -> None:
    @node
    def source() -> Any:
        yield from range(3)

    @node
    def reader(chunks: Stream[int]) -> list[int]:
        return list(chunks)

    for seed in SEEDS:
        with Flow() as f:
            f.source = source()
            f.reader = reader(f.source)
        machine = simulate(f, seed=seed, stop={f.source: limit})
        assert machine.outcome == LimitReached("source", generation)
        assert f.source.get_data() == data
        assert f.source.get_data(1) == chunk
        assert f.reader.get_data() is None


def test_rule_66_a_limit_on_all_nodes_counts_constants() -> None:
    with Flow() as f:
        f.count = increment(41)
    machine = simulate(f, stop=(0,))
    assert isinstance(machine.outcome, LimitReached)
    assert f.count.get_data() is None


def test_rule_44_a_missing_final_value_that_is_read_ends_the_flow() -> None:
    @node
    def source() -> Any:
        yield [1]
        yield [2]

    @node
    def reader(value: Any) -> Any:
        return value

    with Flow() as f:
        f.source = source()
        f.reader = reader(f.source)
    outcome = simulate(f).outcome
    assert isinstance(outcome, NothingAccumulated)
    assert (outcome.node, outcome.consumer, outcome.port) == ("source", "reader", "value")
    assert "list and list" in outcome.reason


def test_bug_b10_a_final_value_none_is_a_value() -> None:
    @node
    def nothing() -> None:
        return None

    @node
    def is_none(value: Any = "default") -> bool:
        return value is None

    with Flow() as f:
        f.nothing = nothing()
        f.is_none = is_none(f.nothing)
    simulate(f)
    assert f.nothing.get_data() == (None,)
    assert f.is_none.get_data() == (True,)


def test_rule_20_a_stream_that_feeds_itself_buffers_a_whole_generation() -> None:
    @node(window=1)
    def grows(past: Stream[int] | None = None) -> Any:
        seen = list(past) if isinstance(past, Stream) else []
        yield from [*seen, len(seen)]

    grows = node(window=1, stream_in=["past"])(grows.__wrapped__)
    for seed in SEEDS:
        with Flow() as f:
            f.grows = grows(f.grows)
        machine = simulate(f, seed=seed, stop={f.grows: (7,)})
        assert isinstance(machine.outcome, LimitReached)
        assert f.grows.get_data() == (28,)


def test_rule_65_a_flow_that_nothing_can_move_is_a_deadlock_with_its_waits() -> None:
    # Planning gives every cycle a delay; only a spec that was made by hand has none.
    code = Digest(b"c" * 16)
    nodes = tuple(
        NodeSpec(name, "mono", code, (PortSpec("x", 0, EdgeInput(other, 0, 0, 0)),), "inline", "f:1")
        for name, other in (("a", 1), ("b", 0))
    )
    job = Job(FlowSpec(nodes, (CodeSpec(code, None),), (), ()), Locals({code: None}), {}, {})
    outcome = Simulation(job).run().outcome
    assert isinstance(outcome, Deadlocked)
    assert set(outcome.cycle) == {
        "'a' waits for a final value of 'b'",
        "'b' waits for a final value of 'a'",
    }


def test_a_map_keeps_the_order_under_every_schedule() -> None:
    @node
    def numbers(count: int) -> Any:
        yield from range(count)

    @node
    def square(x: int, plus: int) -> int:
        return x * x + plus

    @node
    def last(values: list[int]) -> int:
        return values[-1]

    for seed in SEEDS:
        with Flow() as f:
            f.numbers = numbers(12)
            f.squares = square.map(f.numbers, 1, ahead=5)
            f.last = last(f.squares)
        simulate(f, seed=seed)
        assert f.squares.get_data() == ([index * index + 1 for index in range(12)],)
        assert f.last.get_data() == (122,)


def test_a8_a_cancelled_map_cancels_its_source() -> None:
    @node(window=0)
    def numbers() -> Any:
        yield from range(1000)

    @node
    def square(x: int) -> int:
        return x * x

    @node
    def first(chunks: Stream[int]) -> int:
        for chunk in chunks:
            chunks.cancel()
        return chunk

    for seed in SEEDS:
        with Flow() as f:
            f.numbers = numbers()
            f.squares = square.map(f.numbers, ahead=3)
            f.first = first(f.squares)
        machine = simulate(f, seed=seed)
        assert isinstance(machine.outcome, Done)
        assert f.first.get_data() == (0,)
        assert machine.nodes[0].chunks < 20
        assert f.numbers.get_data() is not None


def test_rule_45_a_final_value_is_counted_down_when_its_reader_starts_and_computing_goes_on() -> None:
    """Rules 45 and 46: run g + 1 may end before run g of the reader starts, g + 2 may not begin."""
    furthest = 0
    for seed in SEEDS:
        log: list[str] = []

        @node
        def source(x: int = 0, log: Any = log) -> int:
            log.append("source")
            return x + 1

        @node
        def reader(x: int, log: Any = log) -> None:
            log.append("reader")

        with Flow() as f:
            f.source = source(f.source)
            f.reader = reader(f.source)
        simulate(f, seed=seed, stop={f.reader: (8,)})
        for at in range(len(log)):
            # Started by the machine before they log: the reader's start may lag by its own step.
            ahead = log[:at].count("source") - log[:at].count("reader")
            furthest = max(furthest, ahead)
            assert ahead <= 3
    assert furthest >= 2


def test_rule_54_nothing_is_kept_of_a_stream_whose_reader_has_left_and_waits_for_others() -> None:
    @node
    def chunks(x: int = 0) -> Any:
        for chunk in range(3):
            yield x + chunk

    @node
    def first(chunks: Stream[int]) -> int:
        return next(iter(chunks))

    @node
    def total(chunks: Stream[int]) -> int:
        return sum(chunks)

    @node
    async def late() -> int:
        for _ in range(30):
            await sleep(0)
        return 1

    @node
    def add(a: int, b: int) -> int:
        return a + b

    with Flow() as f:
        f.chunks = chunks(f.first)
        f.first = first(f.chunks)
        f.total = total(f.chunks)
        f.sum = add(f.first, late())
    f.run(workers=0, stop_at_node_generation={f.sum: (9,)})
    (machine,) = CheckedMachine.made
    streams = [edge for edge in machine.edges if isinstance(edge, StreamEdge)]
    assert max(len(edge.readings) for edge in streams) <= 3


@pytest.mark.parametrize("window", [0, 1])
def test_rule_50_a_producer_of_empty_streams_is_no_more_generations_ahead_than_others(
    window: int,
) -> None:
    @node(window=window)
    def polls(before: Stream[int] | None = None) -> Any:
        yield from before or ()

    @node
    async def slow(chunks: Stream[int]) -> int:
        for _ in range(30):
            await sleep(0)
        return 0

    with Flow() as f:
        f.polls = polls(f.polls)
        f.slow = slow(f.polls)
    f.run(workers=0, stop_at_node_generation={f.slow: (9,)})
    (machine,) = CheckedMachine.made
    fast, late = machine.nodes
    assert late.runs == 10
    assert fast.runs <= late.runs + window + 2
