"""Conditional flow: SKIP and what depends on it (SEMANTICS 41)."""

from __future__ import annotations

from typing import Any

import pytest

from executor.body import NO_VALUE, SKIP, Stream
from executor.pool import Pool
from orchestrator.errors import FlowDefinitionError
from orchestrator.graph.flow import Flow
from orchestrator.graph.node import node
from orchestrator.runtime.errors import FlowTimeoutError
from orchestrator.runtime.outcome import Done, LimitReached, NodeFailed
from tests.runtime.simulation import simulate

SEEDS = range(30)


@node
def always_skips() -> Any:
    return SKIP


@node
def increment(x: int) -> int:
    return x + 1


@node(on_skip="default")
def increment_or(x: int = 100) -> int:
    return x + 1


@node
def add(a: int, b: int) -> int:
    return a + b


@node
def counter(n: int = 0) -> int:
    return n + 1


@node
def only_even(n: int) -> Any:
    return n if n % 2 == 0 else SKIP


@node
def numbers(count: int) -> Any:
    yield from range(count)


@node
def total(chunks: Stream[int]) -> int:
    return sum(chunks)


@node(on_skip="default")
def total_or(chunks: Stream[int] | tuple[int, ...] = (7,)) -> int:
    return sum(chunks)


def test_rule_41_what_depends_on_a_skipped_node_is_skipped_too() -> None:
    for seed in SEEDS:
        with Flow() as f:
            f.skipped = always_skips()
            f.one = increment(f.skipped)
            f.two = add(f.one, 5)
            f.aside = increment(5)
        machine = simulate(f, seed=seed)
        assert machine.outcome == Done(())
        assert f.two.get_data() is None
        assert f.aside.get_data() == (6,)
        skipped = {each.name: (each.runs, each.skipped) for each in machine.nodes}
        assert skipped == {"skipped": (1, 1), "one": (1, 1), "two": (1, 1), "aside": (1, 0)}


def test_rule_41_a_node_that_declares_it_takes_its_default_instead() -> None:
    for seed in SEEDS:
        with Flow() as f:
            f.skipped = always_skips()
            f.one = increment_or(f.skipped)
            f.two = increment(f.one)
        simulate(f, seed=seed)
        assert f.two.get_data() == (102,)


def test_rule_41_generations_stay_in_lockstep_where_some_are_skipped() -> None:
    for seed in SEEDS:
        seen: list[tuple[int, int]] = []

        @node
        def pair(n: int, even: int, seen: Any = seen) -> None:
            seen.append((n, even))

        with Flow() as f:
            f.n = counter(f.n)
            f.even = only_even(f.n)
            f.pair = pair(f.n, f.even)
        machine = simulate(f, seed=seed, stop={f.pair: (9,)})
        assert machine.outcome == LimitReached("pair", (9,))
        assert seen == [(2, 2), (4, 4), (6, 6), (8, 8), (10, 10)]


def test_rule_41_a_skipped_generator_skips_the_readers_of_its_stream() -> None:
    for seed in SEEDS:
        with Flow() as f:
            f.skipped = always_skips()
            f.numbers = numbers(f.skipped)
            f.total = total(f.numbers)
            f.total_or = total_or(f.numbers)
            f.mapped = increment.map(f.numbers)
            f.listed = total(f.mapped)
        machine = simulate(f, seed=seed)
        assert machine.outcome == Done(())
        assert f.total.get_data() is None
        assert f.total_or.get_data() == (7,)
        assert f.listed.get_data() is None


@node
def breaks_off() -> Any:
    yield 1
    yield 2
    return SKIP


def test_rule_41_chunks_that_were_yielded_before_a_generator_returned_skip_count() -> None:
    for seed in SEEDS:
        with Flow() as f:
            f.source = breaks_off()
            f.total = total(f.source)
            f.final = increment(f.source)
        simulate(f, seed=seed)
        assert f.total.get_data() == (3,)
        assert f.final.get_data() is None


def test_rule_41_a_reader_that_skips_leaves_its_other_streams_alone() -> None:
    @node
    def scaled(chunks: Stream[int], factor: int) -> int:
        return sum(chunks) * factor

    for seed in SEEDS:
        with Flow() as f:
            f.numbers = numbers(20)
            f.scaled = scaled(f.numbers, always_skips())
            f.total = total(f.numbers)
        simulate(f, seed=seed)
        assert f.scaled.get_data() is None
        assert f.total.get_data() == (190,)


@node
def halves(n: int) -> Any:
    return n // 2 if n % 2 == 0 else SKIP


def test_a_map_leaves_out_the_elements_whose_body_returned_skip() -> None:
    for seed in SEEDS:
        with Flow() as f:
            f.halves = halves.map(numbers(9))
            f.total = total(f.halves)
        machine = simulate(f, seed=seed)
        assert f.total.get_data() == (10,)
        assert machine.nodes[1].chunks == 5


def test_a_map_element_without_a_value_fails_with_the_cure() -> None:
    @node
    def nothing(n: int) -> Any:
        return NO_VALUE

    with Flow() as f:
        f.mapped = nothing.map(numbers(3))
        f.total = total(f.mapped)
    outcome = simulate(f).outcome
    assert isinstance(outcome, NodeFailed)
    assert "returning SKIP" in outcome.error.message


def test_on_skip_default_needs_defaults() -> None:
    @node(on_skip="default")
    def needs(x: int) -> int:
        return x

    f = Flow()
    f.add_node(needs(always_skips()))
    with pytest.raises(FlowDefinitionError, match="on_skip='default', but parameter 'x' has no default"):
        f.plan()


def test_on_skip_is_skip_or_default() -> None:
    wrong: Any = "ignore"
    with pytest.raises(ValueError, match="on_skip must be 'skip' or 'default', not 'ignore'"):
        node(on_skip=wrong)(lambda: 1)


def test_rule_41_skipping_is_the_same_on_workers(pool: Pool) -> None:
    with Flow() as f:
        f.skipped = always_skips()
        f.numbers = numbers(f.skipped)
        f.total = total(f.numbers)
        f.total_or = total_or(f.numbers)
        f.halves = total(halves.map(numbers(9)))
    report = f.run(pool=pool)
    assert f.total.get_data() is None
    assert (f.total_or.get_data(), f.halves.get_data()) == ((7,), (10,))
    assert report.nodes["total"].skipped == 1


@node
def skips_itself(x: Any = None) -> Any:
    return SKIP


def test_rule_41_a_cycle_that_is_skipped_for_ever_keeps_nobody_from_turning() -> None:
    with Flow() as f:
        f.skips = skips_itself(f.skips)
        f.count = counter(f.count)
    report = f.run(workers=0, stop_at_node_generation={f.count: (9,)}, timeout_s=60)
    assert report.status == "limit"
    assert f.count.get_data() == (10,)
    for seed in SEEDS[:3]:
        machine = simulate(f, seed=seed, stop={f.count: (9,)})
        assert machine.outcome == LimitReached("count", (9,))


def test_rule_71_a_timeout_ends_a_cycle_that_is_skipped_for_ever() -> None:
    with Flow() as f:
        f.skips = skips_itself(f.skips)
    with pytest.raises(FlowTimeoutError):
        f.run(workers=0, timeout_s=0.05)
