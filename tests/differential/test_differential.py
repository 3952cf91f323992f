"""Random graphs compute what the reference says: wherever they run, at every window and schedule.

Proves I10 and rule 19 (I1) for the whole of sections 4 to 11: every value that any run of any node
emits tells what the run has read, and is compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.pool import Pool
from orchestrator.errors import InvalidFlowError
from tests.differential.bodies import flow_of
from tests.differential.generate import random_graph, raw_graph
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
