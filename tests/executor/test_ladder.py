"""By which means, and when, an attempt is made to end (FAULTS F6, P7)."""

from __future__ import annotations

import math

from executor.ladder import NOTHING, TICK_S, Ladder, Rung, Stepping
from protocol.messages import AttemptKey, NodeId, RunId

KEY = AttemptKey(RunId(1), NodeId(1), 0)
WORKER = 3
NUMBER = 7


class Page:
    """What the one worker's page says."""

    def __init__(self, says: Stepping) -> None:
        self.says = says

    def __call__(self, worker: int) -> Stepping:
        assert worker == WORKER
        return self.says


def ladder(page: Page, grace_s: float = 4.0) -> Ladder:
    made = Ladder(grace_s, page)
    made.begin(KEY, WORKER, NUMBER, 100.0)
    return made


def rungs(ladder: Ladder, now: float) -> list[Rung]:
    return [rung for key, rung in ladder.climb(now)]


def test_what_is_being_stepped_is_interrupted_at_once_and_until_the_signal_is_taken() -> None:
    page = Page(Stepping(NUMBER, 0))
    climbing = ladder(page)
    assert rungs(climbing, 100.0) == [Rung.INTERRUPT]
    page.says = Stepping(NUMBER, NUMBER)  # the handler came at a bad moment
    assert climbing.next_deadline() == 100.0 + TICK_S
    assert rungs(climbing, 100.0) == []
    assert rungs(climbing, 100.0 + TICK_S) == [Rung.INTERRUPT]


def test_clean_up_is_left_alone_for_a_while_then_interrupted_again() -> None:
    page = Page(Stepping(NUMBER, 0))
    climbing = ladder(page)
    assert rungs(climbing, 100.0) == [Rung.INTERRUPT]
    assert rungs(climbing, 100.5) == []
    assert climbing.next_deadline() == 101.0
    assert rungs(climbing, 101.0) == [Rung.INTERRUPT]


def test_what_rests_is_closed_undisturbed_first() -> None:
    page = Page(NOTHING)
    climbing = ladder(page)
    page.says = Stepping(NUMBER, 0)  # its finally blocks run
    assert rungs(climbing, 100.1) == []
    assert rungs(climbing, 101.0) == [Rung.INTERRUPT]


def test_after_the_grace_the_worker_is_terminated_and_nothing_more_is_asked_for() -> None:
    page = Page(Stepping(NUMBER, 0))
    climbing = ladder(page)
    rungs(climbing, 100.0)
    assert rungs(climbing, 104.0) == [Rung.TERMINATE]
    assert climbing.next_deadline() == math.inf
    assert rungs(climbing, 1000.0) == []


def test_the_grace_of_what_stands_in_line_begins_when_it_is_stepped() -> None:
    page = Page(Stepping(NUMBER + 1, 0))
    climbing = ladder(page)
    assert rungs(climbing, 103.0) == []
    page.says = Stepping(NUMBER, 0)
    assert rungs(climbing, 104.0) == [Rung.INTERRUPT]
    assert rungs(climbing, 107.9) == [Rung.INTERRUPT]
    assert rungs(climbing, 108.0) == [Rung.TERMINATE]


def test_an_innocent_body_is_not_ended_for_what_stands_behind_it() -> None:
    climbing = ladder(Page(Stepping(NUMBER + 1, 0)))
    assert rungs(climbing, 104.0) == [Rung.ABANDON]


def test_a_worker_that_steps_nothing_and_does_not_answer_is_terminated() -> None:
    assert rungs(ladder(Page(NOTHING)), 104.0) == [Rung.TERMINATE]


def test_what_has_ended_is_forgotten() -> None:
    climbing = ladder(Page(Stepping(NUMBER, 0)))
    climbing.forget(KEY)
    assert climbing.next_deadline() == math.inf
    assert not climbing
    assert rungs(climbing, 200.0) == []
