"""Nodes that fail in a run that goes on without them (SEMANTICS 47, 67, B17, B18)."""

from __future__ import annotations

import pickle
import traceback
from typing import Any, cast

import pytest

from executor.body import Stream, UpstreamFailed
from executor.pool import Pool
from orchestrator.graph.flow import Flow
from orchestrator.graph.node import node
from orchestrator.runtime.errors import AccumulationError, TerminateLimitReached
from orchestrator.runtime.job import Job
from orchestrator.runtime.outcome import Failed, NodeFailed, Outcome
from protocol.values import Local
from tests.runtime.checked import CheckedMachine
from tests.runtime.simulation import Simulation, job_of

SEEDS = range(30)


def simulate(flow: Flow, *, seed: int, stop: Any = ()) -> tuple[CheckedMachine, Outcome | None]:
    job = job_of(flow, stop)
    lenient = Job(job.spec, job.locals, job.parameters, job.limits, job.constant_limit, None, False)
    machine = Simulation(lenient, seed=seed).run()
    return machine, machine.outcome


@node
def fails(x: int = 0) -> int:
    raise ValueError(f"no {x}")


@node
def increment(x: int) -> int:
    return x + 1


@node
def total(chunks: Stream[int]) -> int:
    return sum(chunks)


@node
def numbers(count: int) -> Any:
    yield from range(count)


@node
def fails_after(count: int) -> Any:
    yield from range(count)
    raise ValueError("enough")


@node
def salvages(chunks: Stream[int]) -> tuple[int, str, str]:
    seen = 0
    try:
        for chunk in chunks:
            seen += chunk
    except UpstreamFailed as error:
        return seen, error.node, repr(error.__cause__)
    return seen, "", ""


def names(outcome: Outcome | None) -> tuple[list[str], tuple[str, ...]]:
    assert isinstance(outcome, Failed)
    return [failure.node for failure in outcome.failures], outcome.unreached


def salvaged(machine: CheckedMachine) -> tuple[int, str, str]:
    """What the reader, node 2, has got."""
    outputs = machine.newest.finals[2].outputs
    assert outputs is not None
    assert isinstance(outputs[0], Local)
    return cast("tuple[int, str, str]", outputs[0].object)


def test_rule_67_what_needs_a_failed_node_does_not_run_and_all_else_does() -> None:
    for seed in SEEDS:
        with Flow() as f:
            f.bad = fails(3)
            f.after = increment(f.bad)
            f.later = increment(f.after)
            f.good = increment(increment(5))
        machine, outcome = simulate(f, seed=seed)
        assert names(outcome) == (["bad"], ("after", "later"))
        runs = {each.name: each.run is None and not each.is_dead for each in machine.nodes}
        assert runs == {"bad": False, "after": False, "later": False, "good": True, "increment#2": True}


def test_bug_b17_a_reader_gets_its_producer_s_error_after_the_last_chunk() -> None:
    for seed in SEEDS:
        with Flow() as f:
            f.source = fails_after(4)
            f.reader = total(f.source)
            f.salvages = salvages(f.source)
            f.after = increment(f.reader)
        machine, outcome = simulate(f, seed=seed)
        assert names(outcome)[0] == ["source"]
        assert sorted(names(outcome)[1]) == ["after", "reader"]
        assert salvaged(machine) == (6, "source", "ValueError('enough')")


def test_rule_67_a_failed_generator_without_chunks_fails_its_readers_before_they_run() -> None:
    for seed in SEEDS:
        with Flow() as f:
            f.source = fails_after(0)
            f.reader = salvages(f.source)
            f.mapped = increment.map(f.source)
        _, outcome = simulate(f, seed=seed)
        assert names(outcome)[0] == ["source"]
        assert sorted(names(outcome)[1]) == ["mapped", "reader"]


def test_rule_67_a_map_emits_what_came_before_its_source_failed() -> None:
    for seed in SEEDS:
        with Flow() as f:
            f.mapped = increment.map(fails_after(3))
            f.reader = salvages(f.mapped)
        machine, outcome = simulate(f, seed=seed)
        assert names(outcome) == (["fails_after#0"], ("mapped",))
        assert salvaged(machine)[:2] == (6, "mapped")


def test_rule_67_an_element_that_fails_ends_its_map_alone() -> None:
    @node
    def picky(n: int) -> int:
        if n == 5:
            raise ValueError(n)
        return n

    for seed in SEEDS:
        with Flow() as f:
            f.mapped = picky.map(numbers(9))
            f.reader = salvages(f.mapped)
            f.good = total(numbers(4))
        machine, outcome = simulate(f, seed=seed)
        assert names(outcome) == (["mapped"], ())
        assert isinstance(outcome, Failed)
        failure = outcome.failures[0]
        assert isinstance(failure, NodeFailed)
        assert failure.key.element == 5
        assert salvaged(machine)[:2] == (10, "mapped")


def test_rule_47_a_consumer_that_will_never_run_again_does_not_block_its_producer() -> None:
    @node
    def count(n: int = 0) -> int:
        return n + 1

    @node
    def picky(n: int) -> int:
        if n == 3:
            raise ValueError(n)
        return n

    @node
    def reads(n: int) -> int:
        return n

    for seed in SEEDS:
        with Flow() as f:
            f.n = count(f.n)
            f.picky = picky(f.n)
            f.reads = reads(f.n)
        _, outcome = simulate(f, seed=seed, stop={f.reads: (9,)})
        assert names(outcome) == (["picky"], ())


def test_a_run_whose_stop_limit_is_out_of_reach_ends() -> None:
    @node
    def count(n: int = 0) -> int:
        return n + 1

    with Flow() as f:
        f.n = count(f.n)
        f.bad = fails(f.n)
    _, outcome = simulate(f, seed=1, stop={f.bad: (9,)})
    assert names(outcome) == (["bad"], ())


def test_rule_67_the_first_error_is_raised_with_all_of_them_as_its_cause(pool: Pool) -> None:
    options: tuple[Any, ...] = ({"workers": 0}, {"pool": pool})
    for where in options:
        with Flow() as f:
            f.bad = fails(1)
            f.worse = fails(2)
            f.after = increment(f.bad)
            f.good = increment(1)
        with pytest.raises(ValueError, match="no ") as caught:
            f.run(**where, terminate_on_node_error=False)
        assert f.good.get_data() == (2,)
        group = caught.value.__cause__
        assert isinstance(group, ExceptionGroup)
        assert sorted(str(error) for error in group.exceptions) == ["no 1", "no 2"]
        assert any("not run, because they need what failed: after" in n for n in caught.value.__notes__)
        assert "2 nodes failed" in "".join(traceback.format_exception(caught.value))


def test_rule_67_a_single_failure_is_raised_as_it_is() -> None:
    with Flow() as f:
        f.bad = fails(1)
        f.after = increment(f.bad)
    with pytest.raises(ValueError, match="no 1"):
        f.run(workers=0, terminate_on_node_error=False)


def test_rule_44_a_missing_final_value_fails_its_generator_alone() -> None:
    with Flow() as f:
        f.empty = numbers(0)
        f.after = increment(f.empty)
        f.good = increment(1)
    with pytest.raises(AccumulationError):
        f.run(workers=0, terminate_on_node_error=False)
    assert f.good.get_data() == (2,)


def test_rule_66_the_limit_that_is_reached_beside_a_failure_does_not_hide_it() -> None:
    @node
    def count(n: int = 0) -> int:
        return n + 1

    with Flow() as f:
        f.bad = fails(1)
        f.n = count(f.n)
    with pytest.raises((ValueError, TerminateLimitReached)) as caught:
        f.run_until_complete({f.n: (4,)}, terminate_on_node_error=False, workers=0)
    assert isinstance(caught.value, ValueError)


def test_upstream_failed_crosses_processes_whole(pool: Pool) -> None:
    error = pickle.loads(pickle.dumps(UpstreamFailed("source", "ValueError: x")))
    assert (error.node, error.reason) == ("source", "ValueError: x")
    with Flow() as f:
        f.source = fails_after(300)
        f.salvages = salvages(f.source)
    with pytest.raises(ValueError, match="enough"):
        f.run(pool=pool, terminate_on_node_error=False)
    assert f.salvages.get_data() == ((44850, "source", "ValueError('enough')"),)
