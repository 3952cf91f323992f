"""Random graphs compute what the reference says: wherever they run, at every window and schedule.

Proves I10 and rule 19 (I1) for the whole of sections 4 to 11: every value that any run of any node
emits tells what the run has read, and is compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from executor.pool import Pool
from orchestrator.errors import InvalidFlowError
from tests.differential.bodies import flow_of
from tests.differential.description import Graph, Node
from tests.differential.generate import cyclic_component, random_graph, raw_graph
from tests.differential.running import Way, Where, run_and_check
from tests.reference import Unsatisfiable, delays

ROOT = Path(__file__).parents[2]
WINDOWS = (0, 1, 8)
BATCH = 25
SEEDS = [range(first, first + BATCH) for first in range(0, 1000, BATCH)]


def name_of(value: object) -> str | None:
    return f"{value.start}-{value.stop - 1}" if isinstance(value, range) else None


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))  # workers import the bodies, which is faster than copies
        with Pool(2) as shared:
            shared.wait_ready()
            yield shared


@pytest.mark.parametrize("seeds", SEEDS, ids=name_of)
def test_i10_inline_runs_compute_what_the_rules_say(seeds: range) -> None:
    for seed in seeds:
        graph = random_graph(seed)
        for window in WINDOWS:
            run_and_check(graph, Way("inline", window, seed + window))


@pytest.mark.parametrize("seeds", SEEDS, ids=name_of)
def test_i10_runs_in_a_thread_compute_what_the_rules_say(seeds: range) -> None:
    for seed in seeds:
        graph = random_graph(seed)
        for window in WINDOWS:
            run_and_check(graph, Way("thread", window))


@pytest.mark.parametrize("seeds", SEEDS, ids=name_of)
def test_i10_runs_on_two_workers_compute_what_the_rules_say(seeds: range, pool: Pool) -> None:
    for seed in seeds:
        graph = random_graph(seed)
        for window in WINDOWS:
            where: Where = "mixed" if (seed + window) % 4 == 0 else "process"
            run_and_check(graph, Way(where, window), pool)


@pytest.mark.parametrize("seeds", SEEDS, ids=name_of)
def test_i10_values_depend_on_no_schedule_and_no_delay_of_messages(seeds: range) -> None:
    for seed in seeds:
        graph = random_graph(seed)
        for window in WINDOWS:
            run_and_check(graph, Way("simulation", window, seed + window))


def test_the_random_graphs_hold_all_that_the_rules_speak_of() -> None:
    found: Counter[str] = Counter()
    for seed in range(300):
        found.update(traits(random_graph(seed)))
    assert min(found.values()) > 50, found
    assert len(found) == 14, found


def traits(graph: Graph) -> set[str]:
    """What there is in a graph, each once."""
    nodes = graph.expanded
    ports = [(port.producer, node.number, port.is_stream) for node in nodes for port in node.ports]
    streams = [edge for edge in ports if edge[2]]
    cycle = cyclic_component(nodes)
    steps = [(*node.script.prologue, *node.script.loop, *node.script.epilogue) for node in nodes]
    has = {
        "a cycle": bool(cycle),
        "a stream in a cycle": any(stream and reader in cycle for _, reader, stream in ports),
        "a node that reads itself": any(producer == reader for producer, reader, _ in ports),
        "a generator that reads its own stream": any(s and p == reader for p, reader, s in ports),
        "two edges between the same nodes": len({edge[:2] for edge in ports}) < len(ports),
        "two readings of one stream by a node": len(set(streams)) < len(streams),
        "several components": _components(nodes) > 1,
        "a map": any(node.kind == "map" for node in nodes),
        "a class": any(node.is_class for node in nodes),
        "an async body": any(node.is_async for node in nodes),
        "several outputs": any(node.script.outputs > 1 for node in nodes),
        "a cancel": any(op == "cancel" for script in steps for op, _ in script),
        "a body that skips": any(node.script.skips for node in nodes),
        "a stop limit": graph.stop is not None,
    }
    return {trait for trait, is_there in has.items() if is_there}


def _components(nodes: Sequence[Node]) -> int:
    group = {node.number: {node.number} for node in nodes}
    for node in nodes:
        for port in node.ports:
            joined = group[node.number] | group[port.producer]
            group.update(dict.fromkeys(joined, joined))
    return len({id(members) for members in group.values()})


@pytest.mark.parametrize("window", WINDOWS)
def test_a_cancel_behind_the_chunk_at_which_a_body_is_left_is_never_made_rule_51(window: int) -> None:
    # Node n4 stops at its first chunk (``drain=False``); it would cancel n6 only after that.
    run_and_check(random_graph(4393), Way("inline", window, 4393))


def test_rules_19_to_31_the_planner_breaks_cycles_where_symbolic_execution_does() -> None:
    unsatisfiable = 0
    for seed in range(3000):
        graph = raw_graph(seed, most_nodes=25 if seed % 10 == 0 else 8)
        flow = flow_of(graph, window=None)
        try:
            expected = delays(graph.expanded)
        except Unsatisfiable:
            unsatisfiable += 1
            with pytest.raises(InvalidFlowError):
                flow.plan()
            continue
        planned = [
            [given.delay for given in node.inputs if given.kind == "edge"] for node in flow.plan().nodes
        ]
        assert planned == [
            [expected[node.number, index] for index in range(len(node.ports))] for node in graph.expanded
        ], seed
    assert 100 < unsatisfiable < 2000  # both were tried
