"""Where an invocation goes: a free worker first, behind little work else, or nowhere yet."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from executor.placement import AHEAD_LIMIT, AHEAD_S, CODES_LIMIT, Durations, Load, choose
from protocol.messages import Digest


@st.composite
def loads(draw: st.DrawFn) -> Load:
    active = draw(st.integers(0, AHEAD_LIMIT + 1))
    unknown = draw(st.integers(0, active))
    known_s = draw(st.floats(0, 2 * AHEAD_S)) if active > unknown else 0.0
    return Load(active, draw(st.integers(0, 5)), known_s, unknown)


@given(st.lists(loads(), max_size=6))
def test_a_worker_that_runs_nothing_is_always_preferred(found: list[Load]) -> None:
    chosen = choose(enumerate(found))
    free = [load.suspended for load in found if load.active == 0]
    if free:
        assert chosen is not None
        assert (found[chosen].active, found[chosen].suspended) == (0, min(free))


@given(st.lists(loads(), max_size=6))
def test_nothing_stands_behind_much_or_unknown_work(found: list[Load]) -> None:
    chosen = choose(enumerate(found))
    room = [load for load in found if not load.active or (load.active < AHEAD_LIMIT and short(load))]
    assert (chosen is None) == (not room)
    if chosen is not None:
        assert found[chosen] in room


def short(load: Load) -> bool:
    return load.unknown == 0 and load.known_s < AHEAD_S


def test_of_busy_workers_the_one_with_least_work_is_chosen() -> None:
    assert choose([(1, Load(2, known_s=0.002)), (2, Load(5, known_s=0.001))]) == 2


@given(st.lists(st.sampled_from([0.0001, 0.1, 1 / 3, math.inf]), max_size=30))
def test_an_idle_worker_has_no_load_left_whatever_it_ran(expected: list[float]) -> None:
    load = Load()
    for each in expected:
        load.begin(each)
    assert load.active == len(expected)
    for each in reversed(expected):
        load.end(each)
    assert load == Load()


def test_durations_follow_what_is_seen_and_know_nothing_of_what_is_not() -> None:
    durations, code = Durations(), Digest(b"code")
    assert durations.expected_s(code) == math.inf
    durations.note(code, 1.0)
    assert durations.expected_s(code) == 1.0
    for _ in range(50):
        durations.note(code, 0.001)
    assert durations.expected_s(code) < 0.002


def test_of_ever_new_code_no_more_is_known_than_so_much() -> None:
    durations = Durations()
    for number in range(3 * CODES_LIMIT):
        durations.note(Digest(number.to_bytes(16, "big")), 1.0)
        assert len(durations._seen) <= CODES_LIMIT
    assert durations.expected_s(Digest(number.to_bytes(16, "big"))) == 1.0
