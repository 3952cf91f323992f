"""The algebra of generations, against the tables of SEMANTICS 6-12 and 23 and against its definition."""

from __future__ import annotations

import doctest
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.resolver import generations
from orchestrator.resolver.generations import (
    Generation,
    clip,
    compare,
    inc,
    is_stale,
    main,
    parent,
    readable,
    stitch,
)

# g, clip r=0, r=1, r=2, inc r=0, r=1, r=2 (None: error), parent, main: the table of SEMANTICS section 2.
TABLE: list[
    tuple[Generation, list[Generation], list[tuple[int, ...] | None], Generation, Generation]
] = [
    (None, [None, None, None], [(0,), (0, 0), (0, 0, 0)], None, None),
    ((0, 0), [None, (0, 0), (0, 0)], [(0,), (0, 1), (0, 1, 0)], (0,), (0,)),
    ((0,), [(0,), (0,), (0,)], [(1,), (1, 0), (1, 0, 0)], (), (0,)),
    ((1, 0), [(0,), (1, 0), (1, 0)], [(1,), (1, 1), (1, 1, 0)], (1,), (1,)),
    ((1, 2), [(0,), (1, 2), (1, 2)], [(1,), (1, 3), (1, 3, 0)], (1,), (1,)),
    ((1,), [(1,), (1,), (1,)], [(2,), (2, 0), (2, 0, 0)], (), (1,)),
    ((1, 2, 3), [(0,), (1, 1), (1, 2, 3)], [(1,), (1, 2), (1, 2, 4)], (1, 2), (1,)),
    ((2, 0, 5), [(1,), (1,), (2, 0, 5)], [(2,), (2, 0), (2, 0, 6)], (2, 0), (2,)),
    ((0, 0, 5), [None, None, (0, 0, 5)], [(0,), (0, 0), (0, 0, 6)], (0, 0), (0,)),
    ((), [(), (), ()], [None, None, None], None, ()),
]

# Every generation the definitions are tried on, and enough beyond it to look for a counterexample.
SMALL = [g for length in (1, 2, 3) for g in itertools.product(range(3), repeat=length)]
LARGER = [g for length in (1, 2, 3) for g in itertools.product(range(5), repeat=length)]

some_generation: st.SearchStrategy[Generation] = st.none() | st.lists(st.integers(0, 4), max_size=4).map(
    tuple
)
data_generation = st.lists(st.integers(0, 4), min_size=1, max_size=4).map(tuple)
run_levels = st.integers(0, 3)


def test_the_order_is_that_of_rule_6() -> None:
    ascending: list[Generation] = [
        None, (0, 0), (0, 1, 0), (0, 1), (0,), (1, 0), (1,), (2,), (),
    ]  # fmt: skip
    for (i, a), (j, b) in itertools.product(enumerate(ascending), repeat=2):
        assert compare(a, b) == (i > j) - (i < j)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: str(row[0]))
def test_clip_inc_parent_and_main_agree_with_the_table_of_rules_7_to_9(
    row: tuple[Generation, list[Generation], list[tuple[int, ...] | None], Generation, Generation],
) -> None:
    generation, clipped, incremented, whole, run = row
    for run_level in range(3):
        assert clip(generation, run_level) == clipped[run_level]
        if incremented[run_level] is None:
            with pytest.raises(ValueError, match="nothing comes after"):
                inc(generation, run_level)
        else:
            assert inc(generation, run_level) == incremented[run_level]
    assert parent(generation) == whole
    assert main(generation) == run


def test_stitch_agrees_with_the_table_of_rule_10() -> None:
    assert [stitch(None, s) for s in range(3)] == [None, (0,), (1,)]
    assert [stitch((0, 3), s) for s in range(3)] == [(0, 3), (1, 3), (2, 3)]
    assert [stitch((2,), s) for s in range(3)] == [(2,), (3,), (4,)]
    assert stitch((), 3) == ()


def test_a_node_emits_the_generations_of_rule_11() -> None:
    mono = [inc(None, 0)]
    mono.append(inc(mono[-1], 0))
    assert mono == [(0,), (1,)]
    generator: list[Generation] = [None]
    for run_level in (1, 1, 0, 1, 0, 0):  # two chunks, one chunk, no chunk
        generator.append(inc(generator[-1], run_level))
    assert generator == [None, (0, 0), (0, 1), (0,), (1, 0), (1,), (2,)]


@pytest.mark.parametrize(
    ("generation", "final", "chunk"),
    [
        (None, None, None),
        ((0,), (0,), None),  # after completion, chunks are not readable
        ((3,), (3,), None),
        ((0, 0), None, (0, 0)),  # in the first run there is no final value before it
        ((2, 5), (1,), (2, 5)),
        ((), None, None),
    ],
)
def test_get_data_shows_what_rule_12_says(
    generation: Generation, final: Generation, chunk: Generation
) -> None:
    assert readable(generation, 0) == final
    assert readable(generation, 1) == chunk


def test_reading_above_the_newest_element_shows_the_one_before_it_rule_12() -> None:
    assert readable((1, 2, 3), 1) == (1, 1)
    assert readable((1, 0, 3), 1) is None


# rl, gen(P), gen(C), stale: the table of rule 23, with (0,k) and j>k written out.
STALENESS: list[tuple[int, Generation, Generation, bool]] = [
    (0, None, None, True),
    (0, (0, 0), None, True),
    (0, (0, 7), None, True),
    (0, (0,), None, False),
    (0, (0,), (0,), True),
    (0, (1, 0), (0,), True),
    (0, (1, 7), (0,), True),
    (0, (1,), (0,), False),
    (0, (0,), (0, 0), False),
    (0, (0,), (0, 7), False),
    (1, None, None, True),
    (1, (0, 0), None, False),
    (1, (0, 7), (0,), True),
    (1, (0,), (0,), True),
    (1, (1, 0), (0,), False),
    (1, (0, 3), (0, 2), False),
    (1, (0, 2), (0, 2), True),
    (1, (0, 1), (0, 2), True),
    (1, (0,), (0, 7), False),
]


@pytest.mark.parametrize(("run_level", "producer", "consumer", "stale"), STALENESS)
def test_an_edge_is_stale_as_the_table_of_rule_23_says(
    run_level: int, producer: Generation, consumer: Generation, stale: bool
) -> None:
    assert is_stale(producer, consumer, run_level=run_level) is stale


@pytest.mark.parametrize("run_level", [0, 1])
def test_a_default_taken_once_counts_as_the_producers_run_0_rule_23(run_level: int) -> None:
    assert is_stale(None, (0,), run_level=run_level, defaulted=1)
    assert not is_stale((0,), (0,), run_level=run_level, defaulted=1)
    assert is_stale((0,), (1,), run_level=run_level, defaulted=1)


@given(some_generation, some_generation, some_generation)
def test_the_order_is_total_rule_6(a: Generation, b: Generation, c: Generation) -> None:
    assert compare(a, b) == -compare(b, a)
    assert (compare(a, b) == 0) == (a == b)
    if compare(a, b) <= 0 and compare(b, c) <= 0:
        assert compare(a, c) <= 0


def test_clip_is_the_greatest_that_is_not_after_rule_7() -> None:
    for generation, run_level in itertools.product(SMALL, range(3)):
        fitting = [g for g in SMALL if len(g) <= run_level + 1 and compare(g, generation) <= 0]
        greatest: Generation = None
        for g in fitting:
            greatest = g if compare(g, greatest) > 0 else greatest
        assert clip(generation, run_level) == greatest


def test_inc_is_the_least_that_is_after_rule_8() -> None:
    for generation, run_level in itertools.product([None, *SMALL], range(3)):
        after = [g for g in LARGER if len(g) == run_level + 1 and compare(g, generation) > 0]
        least = after[0]
        for g in after:
            least = g if compare(g, least) < 0 else least
        assert inc(generation, run_level) == least


@given(some_generation, run_levels)
def test_clip_never_goes_up_and_repeating_it_changes_nothing_rule_7(
    generation: Generation, run_level: int
) -> None:
    clipped = clip(generation, run_level)
    assert compare(clipped, generation) <= 0
    assert clip(clipped, run_level) == clipped


@given(data_generation, run_levels)
def test_a_part_is_before_its_whole_rules_6_and_9(generation: Generation, run_level: int) -> None:
    assert compare(generation, parent(generation)) < 0
    assert compare(generation, main(generation)) <= 0
    assert compare(inc(generation, run_level), generation) > 0


@given(data_generation, data_generation, st.integers(0, 3))
def test_stitching_keeps_the_order_rule_10(a: Generation, b: Generation, defaulted: int) -> None:
    assert compare(stitch(a, defaulted), stitch(b, defaulted)) == compare(a, b)


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(generations).failed == 0
