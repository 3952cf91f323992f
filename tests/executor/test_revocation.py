"""What was sent ahead and has not begun is taken back when held up or in the way (P1, P9)."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from executor import ProcessExecutor
from executor.actions import (
    Action,
    Assign,
    Interrupt,
    ReportCancelled,
    ReportLost,
    SendRevoke,
)
from executor.host import Code, Input, Invocation
from executor.ladder import NOTHING, Stepping
from executor.limits import Limits
from executor.placement import AHEAD_LIMIT, STREAK
from executor.pool_machine import PoolMachine
from executor.revocation import LATE_S, SETTLE_S
from protocol.messages import UNLIMITED, AttemptKey, Digest, NodeId, RunId, StreamInput

TINY = Digest(b"tiny")
BRIEF_S = 0.0009
"""So long that a few of them are worth being taken back, and many may stand in a row."""


def key(number: int) -> AttemptKey:
    return AttemptKey(RunId(1), NodeId(number), 0)


class Bench:
    """Two workers; the second holds a long body, and ``behind`` brief ones are at the first."""

    def __init__(self, behind: int = 4) -> None:
        self.pages: dict[int, Stepping] = {}
        self.machine = PoolMachine(2, Limits(), look=lambda worker: self.pages.get(worker, NOTHING))
        self.machine.start(0.0)
        for worker in (1, 2):
            self.machine.started(worker, 100 + worker)
            self.machine.greeted(worker, 0.0)
        self.machine.to_examine(1e9)
        for _ in range(STREAK * AHEAD_LIMIT):
            self.machine._scheduler.note_end(TINY, BRIEF_S)
        self.invoke(0)
        assert self.assigned(self.invoke(100, code=b"long")) == [(2, 100)]
        for number in range(1, behind + 1):
            assert self.assigned(self.invoke(number)) == [(1, number)]

    def invoke(
        self,
        number: int,
        *,
        code: bytes = b"tiny",
        priority: float = 0,
        credit: int = UNLIMITED,
        pinned: bool = False,
        inputs: tuple[Input, ...] = (),
    ) -> list[Action]:
        code_of = Code(Digest(code), b"")
        given = Invocation(
            key(number), code_of, list(inputs), priority=priority, credit=credit, pinned=pinned
        )
        return self.machine.invoke(given)

    def revoke(self, now: float = LATE_S) -> SendRevoke:
        """Worker 1 has begun the first one only, and computes."""
        self.pages[1] = Stepping(1, 0, 0.0, begun=1)
        [revoke] = self.machine.expire(now)
        assert isinstance(revoke, SendRevoke)
        return revoke

    @staticmethod
    def assigned(actions: list[Action]) -> list[tuple[int, int]]:
        return [(each.worker, each.invocation.key.node) for each in actions if isinstance(each, Assign)]


# -- when --------------------------------------------------------------------------------------------


def test_what_stands_behind_a_body_that_turns_out_long_is_asked_for() -> None:
    bench = Bench()
    bench.pages[1] = Stepping(1, 0, 5.0, begun=1)
    assert bench.machine.expire(5.0 + LATE_S / 2) == []
    assert bench.machine.next_deadline() == 5.0 + LATE_S
    assert bench.machine.expire(5.0 + LATE_S) == [SendRevoke(1, tuple(map(key, (1, 2, 3, 4))), 2)]
    bench.machine.check()


def test_what_has_begun_is_not_asked_for() -> None:
    bench = Bench()
    bench.pages[1] = Stepping(3, 0, 0.0, begun=3)
    assert bench.machine.expire(LATE_S) == [SendRevoke(1, (key(3), key(4)), 4)]


def test_a_worker_is_asked_once_and_gets_nothing_new_until_it_has_answered() -> None:
    bench = Bench()
    bench.revoke()
    assert bench.machine.expire(LATE_S + SETTLE_S / 2) == []
    assert bench.invoke(5) == []
    assert bench.machine.ended(key(0), BRIEF_S) == []
    assert bench.assigned(bench.machine.given_back(1, [])) == [(1, 5)]
    bench.machine.check()


def test_a_pool_of_one_worker_does_not_look_for_what_is_late() -> None:
    """Nobody else could run it; it would look a hundred times a second."""
    machine = PoolMachine(1)
    machine.start(0.0)
    machine.greeted(1, 0.0)
    machine.to_examine(1e9)
    for _ in range(STREAK * AHEAD_LIMIT):
        machine._scheduler.note_end(TINY, BRIEF_S)
    for number in range(3):
        machine.invoke(Invocation(key(number), Code(TINY, b""), []))
    lease = machine.lease(key(2))
    assert lease is not None
    assert lease.sent_ahead is not None
    assert machine.next_deadline() > 1e9 - 1.0  # that of the next examination


def test_where_nobody_else_could_run_it_nothing_is_asked_for() -> None:
    bench = Bench()
    bench.machine.exited(2, -9, 1, 0.0)
    bench.pages[1] = Stepping(1, 0, 0.0, begun=1)
    assert not any(isinstance(each, SendRevoke) for each in bench.machine.expire(1.0))


def test_what_reads_a_stream_has_a_gate_or_keeps_state_stays_where_it_is() -> None:
    bench = Bench(behind=0)
    bench.invoke(1, credit=2)
    bench.invoke(2, pinned=True)
    bench.invoke(3, inputs=(StreamInput(),))
    assert bench.assigned(bench.invoke(4)) == [(1, 4)]
    assert bench.revoke().keys == (key(4),)


def test_what_is_in_the_way_of_a_higher_priority_is_asked_for_at_once() -> None:
    bench = Bench(behind=0)
    for number in range(1, 6):
        bench.invoke(number, priority=1)
    bench.pages[1] = Stepping(2, 0, 0.0, begun=2)
    assert bench.assigned(bench.invoke(6, priority=0)) == [(1, 6)]
    assert bench.machine.next_deadline() == 0.0
    assert bench.machine.expire(0.001) == [SendRevoke(1, tuple(map(key, (2, 3, 4, 5))), 3)]


def test_room_is_made_for_a_higher_priority_that_waits_in_line() -> None:
    bench = Bench(behind=0)
    for number in range(1, 6):
        bench.invoke(number, priority=1)
    assert bench.invoke(6, code=b"unknown", priority=0) == []
    assert [type(each) for each in bench.machine.expire(0.001)] == [SendRevoke]
    back = bench.machine.given_back(1, list(map(key, (1, 2, 3, 4, 5))))
    assert bench.assigned(back) == []  # until the one that runs has ended
    assert bench.assigned(bench.machine.ended(key(0), BRIEF_S)) == [(1, 6)]
    bench.machine.check()


def test_little_work_in_the_way_of_a_higher_priority_is_left_alone() -> None:
    bench = Bench(behind=0)
    for number in (1, 2):
        bench.invoke(number, priority=1)
    bench.invoke(3, priority=0)
    assert bench.machine.expire(0.001) == []
    assert bench.machine.next_deadline() > 0.001


def test_a_pool_with_one_priority_never_looks_whether_one_is_in_the_way() -> None:
    bench = Bench()
    bench.invoke(5)
    assert bench.machine.next_deadline() > 0.0 or bench.machine.expire(0.0) == []
    assert not bench.machine._revoker._is_challenged


# -- what becomes of it ------------------------------------------------------------------------------


def test_what_certainly_did_not_begin_goes_elsewhere_though_its_worker_is_silent() -> None:
    bench = Bench()
    bench.revoke()
    assert bench.machine.next_deadline() == LATE_S + SETTLE_S
    assert bench.machine.expire(LATE_S + SETTLE_S) == []  # the other one is busy
    assert [bench.machine.is_in_line(key(number)) for number in range(5)] == [False, *[True] * 4]
    assert bench.assigned(bench.machine.ended(key(100), 1.0)) == [(2, number) for number in (1, 2, 3, 4)]
    bench.machine.check()


def test_what_began_before_the_fence_was_seen_stays() -> None:
    bench = Bench()
    bench.revoke()
    bench.pages[1] = Stepping(3, 0, 0.0, begun=3)
    bench.machine.expire(LATE_S + SETTLE_S)
    assert [bench.machine.is_in_line(key(number)) for number in range(5)] == [*[False] * 3, True, True]
    assert bench.machine.leased_to(1, key(2)) is not None


def test_a_worker_that_answers_gives_back_what_it_says_and_nothing_else() -> None:
    bench = Bench()
    bench.revoke()
    bench.machine.given_back(1, [key(3), key(4), key(0), key(99)])
    assert [bench.machine.is_in_line(key(number)) for number in range(5)] == [*[False] * 3, True, True]
    bench.machine.check()


def test_an_answer_about_what_was_taken_back_already_means_nothing() -> None:
    bench = Bench()
    bench.revoke()
    bench.machine.expire(LATE_S + SETTLE_S)
    bench.machine.ended(key(100), 1.0)
    bench.machine.given_back(1, [key(1), key(2)])
    bench.machine.given_back(1, [key(1), key(2)])  # nobody asked
    lease = bench.machine.lease(key(1))
    assert lease is not None
    assert lease.worker == 2
    bench.machine.check()


def test_what_is_given_back_goes_before_those_that_wait_and_in_its_order() -> None:
    bench = Bench(behind=3)
    bench.revoke()
    bench.invoke(7)
    bench.machine.given_back(1, [key(1), key(2), key(3)])
    assert bench.assigned(bench.machine.ended(key(100), 1.0)) == [(2, 1), (2, 2), (2, 3), (2, 7)]


def test_nothing_stands_behind_a_body_that_has_turned_out_long() -> None:
    bench = Bench()
    bench.revoke()
    bench.machine.given_back(1, list(map(key, (1, 2, 3, 4))))
    assert bench.invoke(5) == []
    assert bench.assigned(bench.machine.ended(key(0), 1.0))[0] == (1, 1)
    bench.machine.check()


def test_one_that_was_cancelled_meanwhile_is_given_back_as_cancelled() -> None:
    bench = Bench()
    bench.revoke()
    bench.machine.cancel(key(2), LATE_S)
    cancelled = [
        each
        for each in bench.machine.given_back(1, list(map(key, (1, 2, 3, 4))))
        if isinstance(each, ReportCancelled)
    ]
    assert cancelled == [ReportCancelled(key(2))]
    bench.machine.check()


@pytest.mark.parametrize("answers", [True, False])
def test_one_that_was_recalled_meanwhile_goes_nowhere_else(answers: bool) -> None:
    bench = Bench()
    bench.revoke()
    assert bench.machine.recall(key(2)) == (1, [])
    if answers:
        actions = bench.machine.given_back(1, list(map(key, (1, 2, 3, 4))))
    else:
        actions = bench.machine.expire(LATE_S + SETTLE_S)
    assert actions == [ReportCancelled(key(2))]
    assert [bench.machine.is_in_line(key(number)) for number in (1, 2, 3, 4)] == [
        True,
        False,
        True,
        True,
    ]
    bench.machine.check()


def test_a_worker_that_dies_before_its_answer_takes_along_only_what_it_may_have_begun() -> None:
    bench = Bench()
    bench.revoke()
    bench.pages[1] = Stepping(2, 0, 0.0, begun=2)
    bench.machine.expire(LATE_S + SETTLE_S)
    lost = [each for each in bench.machine.exited(1, -9, 2, 1.0) if isinstance(each, ReportLost)]
    assert [(each.key, each.loss.charged) for each in lost] == [(key(0), False), (key(1), True)]
    bench.machine.check()


def test_a_pool_that_closes_gives_up_what_comes_back() -> None:
    bench = Bench()
    bench.revoke()
    bench.machine.stop(LATE_S)
    assert bench.machine.given_back(1, [key(1), key(2)]) == [
        ReportCancelled(key(2)),
        ReportCancelled(key(1)),
    ]


def test_it_is_the_long_body_that_is_interrupted_for_its_time_not_one_behind_it() -> None:
    bench = Bench()
    bench.revoke()
    bench.machine.expire(LATE_S + SETTLE_S)
    bench.machine.cancel(key(0), 1.0)
    interrupts = [each for each in bench.machine.expire(1.0) if isinstance(each, Interrupt)]
    assert interrupts == [Interrupt(1, 1)]


# -- with processes ----------------------------------------------------------------------------------


def _note(directory: str, number: int, gate: str) -> int:
    with open(f"{directory}/{number}", "ab") as runs:
        runs.write(b"x")
    while gate and not Path(gate).exists():
        time.sleep(0.001)
    return number


def test_a_hundred_tasks_end_though_the_first_does_not(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with ProcessExecutor(2) as pool:
        list(pool.map(_note, [str(tmp_path)] * 300, range(1000, 1300), [""] * 300))
        first = pool.submit(_note, str(tmp_path), 0, str(gate))
        others = [pool.submit(_note, str(tmp_path), number, "") for number in range(1, 100)]
        assert [each.result() for each in others] == list(range(1, 100))
        assert not first.done()
        gate.touch()
        assert first.result() == 0
    assert all((tmp_path / str(number)).read_bytes() == b"x" for number in range(100))
