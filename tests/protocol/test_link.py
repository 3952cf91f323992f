"""Whether a peer is there: the table, and what time does to it (FAULTS F5, F29, P4, P7)."""

from __future__ import annotations

import itertools
import math
import random
from typing import Final

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from protocol.link import OVER, TRANSITIONS, UP, Link, LinkAction, LinkEvent, LinkState, Liveness

S = LinkState
E = LinkEvent
TIMES: Final = Liveness(
    beat_s=1.0, suspect_after_s=3.0, lost_after_s=10.0, connect_s=2.0, retry_s=0.5, retry_limit_s=4.0
)
OWN = (E.MISSED, E.SILENT, E.RETRY)
"""Events that only time brings."""

# The own events that each state waits for; all others come from outside and are legal everywhere.
WAITS_FOR: Final = {
    S.CONNECTING: {E.MISSED, E.SILENT},
    S.LIVE: {E.MISSED},
    S.SUSPECT: {E.SILENT},
    S.BROKEN: {E.SILENT, E.RETRY},
    S.DRAINING: {E.SILENT},
    S.CLOSED: set[LinkEvent](),
    S.LOST: set[LinkEvent](),
}


def link(*, connects: bool = True) -> Link:
    return Link(TIMES, lambda: 1.0, 0.0, connects=connects)


def live(*, connects: bool = True) -> Link:
    made = link(connects=connects)
    made.handle(E.CONNECTED, 0.0)
    return made


@pytest.mark.parametrize(("state", "event"), list(itertools.product(S, E)))
def test_the_table_has_every_event_from_outside_and_the_own_ones_a_state_waits_for(
    state: LinkState, event: LinkEvent
) -> None:
    assert ((state, event) in TRANSITIONS) is (event not in OWN or event in WAITS_FOR[state])


@pytest.mark.parametrize(("state", "event"), list(TRANSITIONS))
def test_what_is_over_stays_over_and_says_nothing(state: LinkState, event: LinkEvent) -> None:
    made = link()
    made.state = state
    actions = made.handle(event, 1.0)
    if state in OVER:
        assert (made.state, actions) == (state, [])
    made.check()


@pytest.mark.parametrize(("state", "event"), list(TRANSITIONS))
def test_leases_end_exactly_when_the_link_is_lost(state: LinkState, event: LinkEvent) -> None:
    made = link()
    made.state = state
    lost = made.handle(event, 1.0).count(LinkAction.END_LEASES)
    assert lost == (made.state is S.LOST and state is not S.LOST)


def test_only_a_live_link_takes_work() -> None:
    made = link()
    for state in S:
        made.state = state
        assert made.takes_work is (state is S.LIVE)
        assert made.is_up is (state in UP)


def test_a_silent_peer_is_suspect_then_lost_and_one_that_is_heard_in_between_is_not_f5() -> None:
    made = live()
    states = []
    assert made.expire(2.9) == [LinkAction.BEAT]
    made.handle(E.HEARD, 2.9)
    for now in (5.8, 5.9):
        made.expire(now)
        states.append(made.state)
    made.handle(E.HEARD, 6.0)
    states.append(made.state)
    made.expire(15.9)
    states.append(made.state)
    assert states == [S.LIVE, S.SUSPECT, S.LIVE, S.SUSPECT]
    assert made.expire(16.0) == [LinkAction.DISCONNECT, LinkAction.END_LEASES]


def test_one_that_slept_long_finds_its_peer_lost_in_one_call() -> None:
    made = live()
    assert made.expire(1e6) == [LinkAction.DISCONNECT, LinkAction.END_LEASES]
    assert made.next_deadline() == math.inf


def test_what_is_sent_takes_the_place_of_a_beat() -> None:
    made = live()
    assert made.next_deadline() == 1.0
    made.sent(0.7)
    assert made.next_deadline() == 1.7
    assert made.expire(1.6) == []
    assert made.expire(1.7) == [LinkAction.BEAT]
    assert made.expire(1.7) == []


def test_back_offs_double_up_to_a_limit_and_begin_anew_after_a_success() -> None:
    made = link()
    assert made.begin() == [LinkAction.CONNECT]
    now, delays = 0.0, []
    for _ in range(5):
        made.handle(E.BROKE, now)
        made.handle(E.HEARD, now)  # or the peer would be lost meanwhile
        delays.append(made.next_deadline() - now)
        now = made.next_deadline()
        assert made.expire(now) == [LinkAction.CONNECT]
    assert delays == [0.5, 1.0, 2.0, 4.0, 4.0]
    made.handle(E.CONNECTED, now)
    made.handle(E.BROKE, now)
    assert made.next_deadline() == now + 0.5


def test_a_back_off_is_drawn_from_the_upper_half_of_its_length() -> None:
    draws = random.Random(3)
    for _ in range(100):
        made = Link(TIMES, draws.random, 0.0, connects=True)
        made.handle(E.BROKE, 0.0)
        assert 0.25 <= made.next_deadline() <= 0.5


def test_a_connection_on_which_no_greeting_comes_is_given_up_and_tried_again() -> None:
    made = link()
    assert made.next_deadline() == 2.0
    assert made.expire(2.0) == [LinkAction.DISCONNECT]
    assert made.state is S.BROKEN
    assert made.expire(2.5) == [LinkAction.CONNECT]


def test_the_side_that_listens_waits_for_the_peer_to_come_back_and_then_goes_on() -> None:
    made = live(connects=False)
    assert made.handle(E.BROKE, 1.0) == [LinkAction.DISCONNECT]
    assert made.next_deadline() == 10.0
    assert made.handle(E.CONNECTED, 9.0) == [LinkAction.RESEND]
    assert made.takes_work


def test_a_peer_that_drains_is_heard_to_its_end_but_not_waited_for_if_its_connection_breaks() -> None:
    made = live()
    made.handle(E.DRAIN, 1.0)
    made.handle(E.HEARD, 1.0)
    assert not made.takes_work
    assert made.handle(E.ENDED, 2.0) == [LinkAction.DISCONNECT]
    broken = live()
    broken.handle(E.DRAIN, 1.0)
    assert LinkAction.END_LEASES in broken.handle(E.BROKE, 2.0)


class LinkRules(RuleBasedStateMachine):
    """Any events at any times: calling early or again changes nothing, and silence ends everything."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.link = Link(TIMES, random.Random(1).random, 0.0, connects=True)
        self.lost = 0

    def count(self, actions: list[LinkAction]) -> None:
        self.lost += actions.count(LinkAction.END_LEASES)

    @rule(event=st.sampled_from([event for event in E if event not in OWN]))
    def happens(self, event: LinkEvent) -> None:
        self.count(self.link.handle(event, self.now))

    @rule(seconds=st.floats(0.0, 5.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.count(self.link.expire(self.now))
        state = self.link.state
        assert self.link.expire(self.now) == []
        assert self.link.state is state
        assert self.link.next_deadline() > self.now

    @invariant()
    def holds(self) -> None:
        self.link.check()
        assert self.lost == (self.link.state is S.LOST)

    def teardown(self) -> None:
        self.count(self.link.expire(self.now + TIMES.lost_after_s + TIMES.suspect_after_s))
        assert self.link.state in OVER


TestLinkRules = LinkRules.TestCase
