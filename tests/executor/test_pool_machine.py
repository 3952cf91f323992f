"""The pool's decisions: life cycles, leases, blame, deadlines (FAULTS F1, F3, F9, F33, P7, P9)."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Unpack

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from executor.actions import (
    Action,
    Assign,
    DismissSite,
    DrainWorker,
    DumpStacks,
    Interrupt,
    KillWorker,
    ReportCancelled,
    ReportLost,
    SendCancel,
    SendRevoke,
    SpawnWorker,
    TerminateWorker,
)
from executor.host import Code, Demand, Invocation, LossReason, WorkerLoss
from executor.ladder import NOTHING, Stepping
from executor.leavings import REMEMBERED
from executor.limits import LimitOptions, Limits
from executor.placement import AHEAD_LIMIT, STREAK
from executor.pool_machine import PoolMachine
from executor.roster import LATE_START_S, PARTED_S, START_S, STARTING_LIMIT
from executor.sites import LOCAL
from executor.starting import IN_A_ROW, IN_A_WHILE, WHILE_S
from executor.watching import Vitals
from executor.worker_states import TRANSITIONS, WorkerEvent, WorkerState
from protocol.messages import UNLIMITED, AttemptKey, Digest, LeftRunning, NodeId, RunId

RUN = RunId(1)
FAR = 1e9


def key(number: int) -> AttemptKey:
    return AttemptKey(RUN, NodeId(number), 0)


def invocation(
    number: int,
    code: bytes = b"long",
    *,
    credit: int = UNLIMITED,
    pinned: bool = False,
    timeout_s: float | None = None,
    priority: float = 0,
    demand: Demand = (),
) -> Invocation:
    return Invocation(
        key(number),
        Code(Digest(code), b""),
        [],
        credit=credit,
        pinned=pinned,
        timeout_s=timeout_s,
        priority=priority,
        demand=demand,
    )


class Pages:
    """What the workers' pages say; a test writes there."""

    def __init__(self) -> None:
        self.says: dict[int, Stepping] = {}

    def __call__(self, worker: int) -> Stepping:
        return self.says.get(worker, NOTHING)


def ready_pool(size: int, *, pages: Pages | None = None, **limits: Unpack[LimitOptions]) -> PoolMachine:
    machine = PoolMachine(size, Limits(**limits), look=pages or Pages())
    for action in machine.start(0.0):
        assert isinstance(action, SpawnWorker)
        machine.started(action.worker, 100 + action.worker)
        machine.greeted(action.worker, 0.0)
    machine.to_examine(FAR)  # the next examination is no deadline that tests see
    return machine


def know_as_tiny(machine: PoolMachine) -> None:
    """Many bodies of the code have ended soon."""
    for _ in range(STREAK * AHEAD_LIMIT):
        machine._scheduler.note_end(Digest(b"tiny"), 0.00001)


def assigned(actions: Sequence[Action]) -> list[tuple[int, int]]:
    """Who got what: (worker, node)."""
    return [
        (action.worker, action.invocation.key.node) for action in actions if isinstance(action, Assign)
    ]


# -- the life of a worker --------------------------------------------------------------------------

LEGAL = {
    (WorkerState.STARTING, WorkerEvent.HELLO),
    (WorkerState.STARTING, WorkerEvent.KILL),
    (WorkerState.STARTING, WorkerEvent.EXIT),
    (WorkerState.READY, WorkerEvent.RETIRE),
    (WorkerState.RETIRING, WorkerEvent.DRAIN),
    (WorkerState.RETIRING, WorkerEvent.KILL),
    (WorkerState.RETIRING, WorkerEvent.EXIT),
    (WorkerState.READY, WorkerEvent.DRAIN),
    (WorkerState.READY, WorkerEvent.KILL),
    (WorkerState.READY, WorkerEvent.EXIT),
    (WorkerState.DRAINING, WorkerEvent.KILL),
    (WorkerState.DRAINING, WorkerEvent.EXIT),
    (WorkerState.KILLED, WorkerEvent.HELLO),
    (WorkerState.KILLED, WorkerEvent.KILL),
    (WorkerState.KILLED, WorkerEvent.EXIT),
}


@pytest.mark.parametrize(("state", "event"), list(itertools.product(WorkerState, WorkerEvent)))
def test_every_pair_of_state_and_event_is_either_legal_or_not_in_the_table(
    state: WorkerState, event: WorkerEvent
) -> None:
    assert ((state, event) in TRANSITIONS) is ((state, event) in LEGAL)


def test_every_state_but_the_last_leads_to_the_end_and_nothing_leads_back() -> None:
    order = list(WorkerState)
    for (before, event), after in TRANSITIONS.items():
        assert order.index(after) >= order.index(before)
        assert event is not WorkerEvent.EXIT or after is WorkerState.EXITED


def test_a_pool_spawns_its_size_and_starting_again_changes_nothing() -> None:
    machine = PoolMachine(3)
    assert machine.start(0.0) == [SpawnWorker(1), SpawnWorker(2), SpawnWorker(3)]
    assert machine.start(1.0) == []


def test_a_lost_worker_is_replaced_by_one_with_another_name_f1() -> None:
    machine = ready_pool(2)
    assert machine.exited(1, -9, 0, 0.0) == [SpawnWorker(3)]
    machine.check()


def test_a_worker_that_greets_before_its_process_is_reported_is_waited_for() -> None:
    """The zygote may be slower than what it has forked."""
    machine = PoolMachine(1)
    machine.start(0)
    machine.greeted(1, 0.0)
    assert machine.state(1) is WorkerState.READY
    assert machine.starting
    machine.started(1, 1001)
    assert not machine.starting


def test_of_many_workers_some_are_started_when_others_have_come_or_have_not() -> None:
    """The channel to the zygote holds only so many orders and reports."""
    machine = PoolMachine(3 * STARTING_LIMIT)
    to_come = deque(each for each in machine.start(0.0) if isinstance(each, SpawnWorker))
    assert len(to_come) == STARTING_LIMIT
    ready = 0
    while to_come:
        worker = to_come.popleft().worker
        if worker == 5:
            actions = machine.exited(worker, 1, 0, 0.0)
        else:
            machine.started(worker, 100 + worker)
            actions = machine.greeted(worker, 0.0)
            ready += 1
        to_come += (each for each in actions if isinstance(each, SpawnWorker))
        assert len(to_come) <= STARTING_LIMIT
    assert ready == 3 * STARTING_LIMIT
    assert not machine.starting
    machine.check()


def test_an_exit_that_is_told_twice_counts_once() -> None:
    machine = ready_pool(1)
    assert machine.exited(1, 0, 0, 0.0)
    assert machine.exited(1, 0, 0, 0.0) == []


def test_three_failed_starts_in_a_row_break_the_pool_and_nothing_waits_on_f9_p7() -> None:
    machine = PoolMachine(2)
    machine.start(0.0)
    assert machine.invoke(invocation(1)) == []
    for worker in range(1, IN_A_ROW):
        machine.exited(worker, worker, 0, 0.0)
        machine.check()
        assert machine.is_in_line(key(1))
    actions = machine.exited(IN_A_ROW, IN_A_ROW, 0, 0.0)
    machine.check()
    assert machine.failure is not None
    assert machine.failure.statuses == (1, 2, 3)
    assert actions == [ReportLost(key(1), WorkerLoss(4, 0, 3, charged=False))]
    assert machine.invoke(invocation(2)) == [ReportLost(key(2), WorkerLoss(4, 0, 3, charged=False))]


@pytest.mark.parametrize(("pause_s", "is_broken"), [(0.1, True), (WHILE_S, False)])
def test_a_worker_that_comes_up_ends_the_row_but_many_failures_in_a_short_time_break_the_pool_f9(
    pause_s: float, is_broken: bool
) -> None:
    machine = PoolMachine(1)
    machine.start(0.0)
    for failure in range(IN_A_WHILE):
        assert machine.failure is None
        now = failure * pause_s
        machine.exited(2 * failure + 1, 1, 0, now)
        if machine.failure is None:
            machine.greeted(2 * failure + 2, now)
            machine.exited(2 * failure + 2, 1, 0, now)
    assert (machine.failure is not None) is is_broken


def test_a_worker_that_never_says_hello_is_killed_and_counts_as_a_failed_start_p7() -> None:
    machine = PoolMachine(1)
    machine.start(0.0)
    assert machine.next_deadline() == START_S
    assert machine.expire(START_S - 1) == []
    assert machine.expire(START_S) == []  # nobody may have listened
    assert machine.next_deadline() == START_S + LATE_START_S
    assert machine.expire(START_S + LATE_START_S) == [KillWorker(1)]
    assert machine.expire(START_S + LATE_START_S) == []
    assert machine.exited(1, -9, 0, START_S + LATE_START_S) == [SpawnWorker(2)]


def test_a_worker_that_has_ended_its_connection_is_killed_if_it_lives_on() -> None:
    machine = ready_pool(1)
    machine.invoke(invocation(1))
    machine.parted(1, 5.0)
    assert machine.next_deadline() == 5.0 + PARTED_S
    assert machine.expire(5.0 + PARTED_S) == [KillWorker(1)]
    machine.parted(1, 5.0 + PARTED_S)
    assert machine.expire(FAR / 2) == []


def test_a_worker_whose_end_follows_that_of_its_connection_has_ended_of_itself_p9() -> None:
    machine = ready_pool(1)
    machine.invoke(invocation(1))
    machine.parted(1, 5.0)
    lost, _ = machine.exited(1, -11, 1, 5.1)
    assert isinstance(lost, ReportLost)
    assert (lost.loss.reason, lost.loss.charged) == (LossReason.DIED, True)


def test_the_end_of_the_zygote_is_the_end_of_all_workers_and_charged_to_none_f33() -> None:
    machine = ready_pool(2)
    machine.invoke(invocation(1))
    actions = machine.zygote_ended(-9, 0.0)
    assert actions == [
        ReportLost(key(1), WorkerLoss(1, 101, None, charged=False, reason=LossReason.ZYGOTE)),
        SpawnWorker(3),
        SpawnWorker(4),
    ]
    machine.check()


def test_a_zygote_that_does_not_come_up_counts_once_however_many_workers_it_was_to_have() -> None:
    machine = PoolMachine(8)
    machine.start(0.0)
    for _ in range(IN_A_ROW - 1):
        assert len(machine.zygote_ended(1, 0.0)) == 8
    assert machine.zygote_ended(1, 0.0) == []
    assert machine.failure is not None


def test_stopping_drains_who_is_ready_cancels_who_waits_and_kills_after_the_grace() -> None:
    machine = ready_pool(1, grace_s=2.0)
    machine.invoke(invocation(1))
    machine.invoke(invocation(2))
    assert machine.stop(10.0) == [ReportCancelled(key(2)), DrainWorker(1)]
    assert machine.next_deadline() == 12.0
    assert machine.expire(12.0) == [KillWorker(1)]
    assert machine.ending
    ended = WorkerLoss(1, 101, None, charged=False, reason=LossReason.ENDED)
    assert machine.exited(1, -9, 1, 12.0) == [ReportLost(key(1), ended)]


# -- leases and the line ---------------------------------------------------------------------------


def test_an_attempt_waits_for_the_first_worker_that_is_ready() -> None:
    machine = PoolMachine(2)
    machine.start(0.0)
    assert machine.invoke(invocation(1)) == []
    assert machine.is_in_line(key(1))
    assert assigned(machine.greeted(2, 0.0)) == [(2, 1)]
    machine.check()


def test_long_bodies_go_one_to_a_worker_and_the_rest_waits_in_order() -> None:
    machine = ready_pool(2)
    actions = [action for number in range(1, 6) for action in machine.invoke(invocation(number))]
    assert assigned(actions) == [(1, 1), (2, 2)]
    assert assigned(machine.ended(key(2), 1.0)) == [(2, 3)]
    assert assigned(machine.ended(key(1), 1.0)) == [(1, 4)]


def test_tiny_bodies_are_sent_ahead_once_they_are_known() -> None:
    machine = ready_pool(1)
    assert assigned(machine.invoke(invocation(0, b"tiny"))) == [(1, 0)]
    assert machine.invoke(invocation(1, b"tiny")) == []
    assert assigned(machine.ended(key(0), 0.00001)) == [(1, 1)]
    know_as_tiny(machine)
    sent = [action for number in range(2, 200) for action in machine.invoke(invocation(number, b"tiny"))]
    assert len(sent) == 63
    machine.check()


def test_nothing_is_sent_behind_a_long_body_even_if_it_is_tiny_itself() -> None:
    machine = ready_pool(1)
    machine.invoke(invocation(0, b"tiny"))
    machine.ended(key(0), 0.00001)
    know_as_tiny(machine)
    machine.invoke(invocation(1, b"long"))
    assert machine.invoke(invocation(2, b"tiny")) == []


def test_a_body_that_waits_for_a_chunk_gives_its_place_up() -> None:
    machine = ready_pool(1)
    machine.invoke(invocation(1))
    machine.invoke(invocation(2))
    lease = machine.lease(key(1))
    assert lease is not None
    assert lease.waits(0, 0)
    assert assigned(machine.assign_line()) == [(1, 2)]
    machine.check()


def test_a_wait_for_what_is_already_on_its_way_is_void() -> None:
    machine = ready_pool(1)
    machine.invoke(invocation(1))
    lease = machine.lease(key(1))
    assert lease is not None
    lease.deliver(0, 2)
    assert not lease.waits(0, 1)
    assert lease.waits(0, 2)
    lease.end_stream(1)
    assert machine.load_of(1).suspended == 1  # it waits on the other port
    lease.deliver(0, 3)
    assert machine.load_of(1).suspended == 0
    assert not lease.waits(1, 0)
    machine.check()


def test_a_body_gives_its_place_up_while_one_of_its_tasks_reads() -> None:
    """What its other tasks await in their event loop may depend on who stands in line behind it."""
    machine = ready_pool(1)
    machine.invoke(invocation(1))
    lease = machine.lease(key(1))
    assert lease is not None
    assert lease.waits(0, 0, resting_on=0)
    assert not lease.waits(1, 0, resting_on=2)  # it had given it up
    lease.deliver(0, 1)
    assert not lease.suspended
    # It said that it rests on both before it had heard of the chunk.
    assert not lease.waits(1, 0, resting_on=2)
    assert lease.waits(0, 1, resting_on=2)
    machine.check()


def test_a_generator_at_its_gate_gives_its_place_up_until_it_may_produce() -> None:
    machine = ready_pool(1)
    machine.invoke(invocation(1, credit=2))
    lease = machine.lease(key(1))
    assert lease is not None
    assert not lease.emits(1)
    assert lease.emits(2)
    lease.produce(3)
    assert not lease.suspended
    machine.check()


def test_a_cancel_thrown_at_a_generator_at_the_gate_makes_it_go_on_until_it_answers() -> None:
    machine = ready_pool(1)
    machine.invoke(invocation(1, credit=1))
    lease = machine.lease(key(1))
    assert lease is not None
    assert lease.emits(1)
    lease.throw_cancel()
    assert not lease.suspended
    assert not lease.emits(2)  # it declined; the answer follows
    assert lease.answers_cancel(1)
    machine.check()


def test_pinned_attempts_of_a_node_go_to_one_worker_however_busy_it_is() -> None:
    machine = ready_pool(2)
    assert assigned(machine.invoke(invocation(1, pinned=True))) == [(1, 1)]
    machine.ended(key(1), 1.0)
    machine.invoke(invocation(2))
    machine.invoke(invocation(3))
    machine.invoke(invocation(4))
    second = Invocation(AttemptKey(RUN, NodeId(1), 1), Code(Digest(b"long"), b""), [], pinned=True)
    assert assigned(machine.invoke(second)) == [(1, 1)]
    assert machine.release(RUN) == [1]
    assert machine.release(RUN) == []


def test_only_the_attempt_that_was_stepped_is_charged_with_the_crash_p9() -> None:
    machine = ready_pool(1)
    machine.invoke(invocation(0, b"tiny"))
    machine.ended(key(0), 0.00001)
    know_as_tiny(machine)
    for number in (1, 2, 3):
        machine.invoke(invocation(number, b"tiny"))
    losses = [action for action in machine.exited(1, -11, 3, 0.0) if isinstance(action, ReportLost)]
    assert [(action.key.node, action.loss.charged) for action in losses] == [
        (1, False),
        (2, True),
        (3, False),
    ]
    assert {(action.loss.pid, action.loss.status) for action in losses} == {(101, -11)}


def test_what_another_worker_says_of_an_attempt_is_dropped_f21() -> None:
    machine = ready_pool(2)
    machine.invoke(invocation(1))
    assert machine.leased_to(1, key(1)) is machine.lease(key(1))
    assert machine.leased_to(2, key(1)) is None
    machine.ended(key(1), 1.0)
    assert machine.leased_to(1, key(1)) is None
    assert machine.dropped == 2


# -- giving up -------------------------------------------------------------------------------------


def test_what_waits_in_line_is_cancelled_at_once() -> None:
    machine = PoolMachine(1)
    machine.start(0.0)
    machine.invoke(invocation(1))
    assert machine.recall(key(1)) == (None, [ReportCancelled(key(1))])
    machine.invoke(invocation(1))
    assert machine.cancel(key(1), 0.0) == (None, [ReportCancelled(key(1))])
    assert machine.cancel(key(1), 0.0) == (None, [])


def test_a_cancelled_body_that_runs_is_interrupted_then_its_worker_is_terminated_then_killed() -> None:
    pages = Pages()
    machine = ready_pool(1, grace_s=4.0, pages=pages)
    machine.invoke(invocation(1))
    machine.invoke(invocation(2))
    pages.says[1] = Stepping(1, 0)
    assert machine.cancel(key(1), 10.0) == (1, [])
    assert machine.next_deadline() == 10.0
    assert machine.expire(10.0) == [Interrupt(1, 1)]
    assert machine.expire(10.0) == []
    assert machine.expire(14.0) == [TerminateWorker(1)]
    machine.check()
    assert machine.next_deadline() == 18.0
    assert machine.expire(18.0) == [KillWorker(1)]
    assert machine.next_deadline() >= FAR
    actions = machine.exited(1, -9, 1, 18.1)
    assert actions == [ReportCancelled(key(1)), SpawnWorker(2)]
    assert machine.is_in_line(key(2))
    machine.check()


def test_a_worker_that_answers_no_cancel_and_steps_nothing_is_terminated() -> None:
    machine = ready_pool(1, grace_s=3.0)
    machine.invoke(invocation(1))
    assert machine.cancel(key(1), 10.0) == (1, [])
    assert machine.cancel(key(1), 11.0) == (1, [])  # asking again gains no time
    for now in (10.75, 11.5, 12.25, 12.9):
        assert machine.expire(now) == []
    assert machine.expire(13.0) == [TerminateWorker(1)]
    machine.check()


def test_a_cancelled_attempt_behind_a_long_body_is_abandoned_and_that_body_goes_on() -> None:
    pages = Pages()
    machine = ready_pool(1, grace_s=3.0, pages=pages)
    machine.invoke(invocation(0, b"tiny"))
    machine.ended(key(0), 0.00001)
    know_as_tiny(machine)
    machine.invoke(invocation(1, b"tiny"))  # it takes long this time
    machine.invoke(invocation(2, b"tiny"))
    pages.says[1] = Stepping(2, 0)
    assert machine.cancel(key(2), 10.0) == (1, [])
    assert machine.expire(12.9) == []
    assert machine.expire(13.0) == [ReportCancelled(key(2))]
    machine.check()
    assert machine.leased_to(1, key(2)) is None  # its answer comes too late to mean anything
    assert machine.leased_to(1, key(1)) is not None


def test_an_attempt_that_is_recalled_may_take_its_time_until_it_is_cancelled() -> None:
    machine = ready_pool(1, grace_s=3.0)
    machine.invoke(invocation(1))
    assert machine.recall(key(1)) == (1, [])
    assert machine.next_deadline() >= FAR
    assert machine.cancel(key(1), 10.0) == (1, [])
    assert 10.0 < machine.next_deadline() < 13.0
    machine.check()


def test_an_attempt_that_is_recalled_and_answers_is_cancelled_and_not_lost() -> None:
    machine = ready_pool(1)
    machine.invoke(invocation(1))
    assert machine.recall(key(1)) == (1, [])
    assert machine.given_up(key(1)) == [ReportCancelled(key(1))]


def test_what_takes_the_place_of_an_attempt_is_sent_before_its_end_is_reported() -> None:
    # Who hears the report may at once have something to say to the attempt that is leased now.
    machine = ready_pool(1, grace_s=1.0)
    machine.invoke(invocation(1))
    machine.invoke(invocation(2))
    machine.cancel(key(1), 0.0)
    kinds = [type(action) for action in machine.given_up(key(1))]
    assert kinds == [Assign, ReportCancelled]


def test_an_answer_in_time_ends_the_matter() -> None:
    machine = ready_pool(1)
    machine.invoke(invocation(1))
    machine.cancel(key(1), 0.0)
    machine.ended(key(1), None)
    assert machine.next_deadline() == math.inf
    assert machine.expire(1e9) == []


# -- limits ----------------------------------------------------------------------------------------


def test_a_body_that_computes_for_too_long_is_traced_then_made_to_end_f6() -> None:
    pages = Pages()
    machine = ready_pool(1, grace_s=4.0, pages=pages, timeout_s=8.0)
    machine.invoke(invocation(1))
    pages.says[1] = Stepping(1, 0, since=100.0)
    assert machine.next_deadline() == 0.0
    assert machine.expire(101.0) == []
    assert machine.next_deadline() == 103.0
    assert machine.expire(107.0) == []
    assert machine.next_deadline() == 108.0
    assert machine.expire(108.5) == [DumpStacks(1), SendCancel(1, key(1)), Interrupt(1, 1)]
    assert machine.expire(108.5) == []
    [lost] = machine.given_up(key(1))
    assert lost == ReportLost(
        key(1), WorkerLoss(1, 101, None, charged=True, reason=LossReason.TIMEOUT, limit=8.0, found=8.5)
    )
    machine.check()
    assert machine.next_deadline() >= FAR


def test_an_invocation_s_own_timeout_goes_before_the_pool_s_and_waiting_does_not_count() -> None:
    pages = Pages()
    machine = ready_pool(1, pages=pages, timeout_s=1.0)
    machine.invoke(invocation(1, timeout_s=50.0))
    pages.says[1] = Stepping(1, 0, since=10.0)
    assert machine.expire(59.0) == []
    pages.says[1] = Stepping(1, 0, since=90.0)  # it rested meanwhile
    assert machine.expire(139.0) == []
    assert machine.expire(140.0)[0] == DumpStacks(1)


def test_a_short_time_is_forgotten_when_whoever_had_it_has_ended() -> None:
    """Pages are looked at four times within the shortest time there is."""
    pages = Pages()
    machine = ready_pool(1, pages=pages)
    for number, timeout_s in ((1, 0.04), (2, 4000.0)):
        machine.invoke(invocation(number, timeout_s=timeout_s))
        pages.says[1] = Stepping(number, 0, since=10.0)
        assert machine.next_deadline() == 0.0
        assert machine.expire(10.0) == []
        assert machine.next_deadline() == 10.0 + timeout_s / 4
        machine.ended(key(number), 1.0)


def test_what_a_user_cancels_is_cancelled_even_if_its_time_was_up() -> None:
    pages = Pages()
    machine = ready_pool(1, pages=pages, timeout_s=1.0)
    machine.invoke(invocation(1))
    pages.says[1] = Stepping(1, 0, since=10.0)
    machine.expire(12.0)
    machine.cancel(key(1), 12.0)
    assert machine.exited(1, -15, 1, 13.0) == [ReportCancelled(key(1)), SpawnWorker(2)]


def test_a_worker_above_the_hard_limit_is_killed_and_what_it_runs_is_to_blame() -> None:
    pages = Pages()
    machine = ready_pool(1, pages=pages, memory_hard_bytes=100)
    machine.invoke(invocation(0, b"tiny"))
    machine.ended(key(0), 0.00001)
    know_as_tiny(machine)
    machine.invoke(invocation(1, b"tiny"))
    machine.invoke(invocation(2, b"tiny"))
    pages.says[1] = Stepping(2, 0)
    assert machine.to_examine(2e9) == [(1, 101)]
    assert machine.examined(1, Vitals(100, is_stopped=False), 2e9) == []
    assert machine.examined(1, Vitals(101, is_stopped=False), 2e9) == [KillWorker(1)]
    first, second, _ = machine.exited(1, -9, 2, 2e9)
    assert first == ReportLost(
        key(1), WorkerLoss(1, 101, None, charged=True, reason=LossReason.MEMORY, limit=100, found=101)
    )
    assert second == ReportLost(key(2), WorkerLoss(1, 101, None, charged=False, reason=LossReason.ENDED))


def test_a_worker_above_the_soft_limit_is_replaced_when_its_bodies_have_ended_f31() -> None:
    machine = ready_pool(1, memory_soft_bytes=100)
    machine.invoke(invocation(1))
    assert machine.examined(1, Vitals(101, is_stopped=False), 5.0) == []
    assert machine.expire(5.0) == [SpawnWorker(2)]
    assert machine.invoke(invocation(2)) == []
    assert machine.ended(key(1), 1.0) == []
    assert machine.next_deadline() == 0.0
    assert machine.expire(6.0) == [DrainWorker(1)]
    assert machine.exited(1, 0, 0, 7.0) == []
    assert assigned(machine.greeted(2, 0.0)) == [(2, 2)]
    machine.check()


def test_a_worker_is_replaced_after_its_runs_but_not_while_it_keeps_a_node_s_state_f31() -> None:
    machine = ready_pool(1, max_runs_per_worker=1)
    machine.invoke(invocation(1, pinned=True))
    assert machine.expire(5.0) == []
    machine.ended(key(1), 1.0)
    assert assigned(machine.invoke(invocation(2))) == [(1, 2)]
    machine.expire(5.0)
    machine.release(RUN)
    machine.ended(key(2), 1.0)
    assert machine.expire(6.0) == []
    assert assigned(machine.invoke(invocation(3))) == [(1, 3)]
    assert machine.expire(7.0) == [SpawnWorker(2)]
    machine.ended(key(3), 1.0)
    assert machine.expire(7.0) == [DrainWorker(1)]


def test_a_stopped_worker_gets_no_work_and_is_killed_if_it_stays_so_f5() -> None:
    machine = ready_pool(1, unresponsive_after_s=30.0)
    machine.invoke(invocation(1))
    stopped, goes_on = Vitals(1, is_stopped=True), Vitals(1, is_stopped=False)
    assert machine.examined(1, stopped, 100.0) == []
    machine.ended(key(1), 1.0)
    assert machine.invoke(invocation(2)) == []
    assert assigned(machine.examined(1, goes_on, 110.0)) == [(1, 2)]
    assert machine.examined(1, stopped, 120.0) == []
    assert machine.examined(1, stopped, 149.0) == []
    assert machine.examined(1, stopped, 150.0) == [KillWorker(1)]
    lost, _ = machine.exited(1, -9, 2, 150.0)
    assert isinstance(lost, ReportLost)
    assert (lost.loss.reason, lost.loss.charged) == (LossReason.UNRESPONSIVE, False)


def test_of_the_processes_that_bodies_leave_the_latest_are_known_f26() -> None:
    """A worker may run bodies for days, each of which leaves one that ends a little later."""
    machine = ready_pool(1)
    for number in range(2 * REMEMBERED):
        machine.invoke(invocation(number))
        machine.ended(key(number), 1.0)
        machine.left_running(1, LeftRunning(key(number), [1000 + number], []))
    assert len(machine._workers[1].left_running) == REMEMBERED
    last = 1000 + 2 * REMEMBERED - 1
    assert "a task" in (machine.ended_with(1, {last: "sleep"}, 0) or "")
    assert "one of its bodies" in (machine.ended_with(1, {1000: "sleep"}, 0) or "")


# -- agents that join ------------------------------------------------------------------------------


def joined_pool() -> tuple[PoolMachine, int]:
    """A pool without workers of its own and an agent with two, numbered 1 and 2."""
    machine = PoolMachine(0)
    machine.start(0.0)
    site, actions = machine.join(2, 0.0)
    assert actions == [SpawnWorker(1), SpawnWorker(2)]
    for worker in (1, 2):
        machine.started(worker, 100 + worker)
        machine.greeted(worker, 0.0)
    return machine, site


def test_work_waits_until_workers_join() -> None:
    machine = PoolMachine(0)
    assert machine.start(0.0) == []
    assert machine.invoke(invocation(1)) == []
    machine.join(1, 0.0)
    assert assigned(machine.greeted(1, 0.0)) == [(1, 1)]
    machine.check()


def test_a_joined_worker_that_ends_is_ordered_again_of_its_agent() -> None:
    machine, site = joined_pool()
    assert machine.exited(1, -9, 0, 0.0) == [SpawnWorker(3)]
    assert machine.site_of(3) == site
    assert machine.size == 2


def test_an_agent_that_leaves_is_dismissed_when_its_workers_have_finished() -> None:
    machine, site = joined_pool()
    machine.invoke(invocation(1))
    assert machine.leave(site, 0.0) == [DrainWorker(2)]
    assert machine.size == 0
    assert machine.invoke(invocation(2)) == []
    machine.check()
    assert machine.exited(2, 0, 0, 1.0) == []
    machine.ended(key(1), 1.0)
    assert machine.expire(2.0) == [DrainWorker(1)]
    assert machine.exited(1, 0, 0, 3.0) == [DismissSite(site, failed=False)]


def test_a_node_s_state_stays_on_a_leaving_worker_until_the_run_is_over() -> None:
    machine, site = joined_pool()
    machine.invoke(invocation(1, pinned=True))
    machine.leave(site, 0.0)
    machine.ended(key(1), 1.0)
    assert assigned(machine.invoke(invocation(1, pinned=True))) == [(1, 1)]
    machine.ended(key(1), 1.0)
    assert machine.expire(2.0) == []
    machine.release(RUN)
    assert machine.expire(3.0) == [DrainWorker(1)]


def test_an_agent_whose_workers_do_not_come_up_is_dismissed_and_the_pool_goes_on() -> None:
    machine = PoolMachine(0)
    machine.start(0.0)
    site, _ = machine.join(1, 0.0)
    for worker in range(1, IN_A_ROW):
        assert machine.exited(worker, 1, 0, 0.0) == [SpawnWorker(worker + 1)]
    assert machine.exited(IN_A_ROW, 1, 0, 0.0) == [DismissSite(site, failed=True)]
    assert machine.failure is None


def test_an_agent_that_ends_takes_its_workers_along_and_nobody_is_to_blame() -> None:
    machine, site = joined_pool()
    machine.invoke(invocation(1))
    lost, dismissed = machine.zygote_ended(None, 0.0, site)
    assert isinstance(lost, ReportLost)
    assert not lost.loss.charged
    assert dismissed == DismissSite(site, failed=False)
    machine.check()


# -- everything at once ----------------------------------------------------------------------------


class PoolRules(RuleBasedStateMachine):
    """Any events in any order: no attempt ends twice, and at teardown each one ends."""

    def __init__(self) -> None:
        super().__init__()
        self.pages = Pages()
        limits = Limits(1.0, unresponsive_after_s=1.0, memory_soft_bytes=10, max_runs_per_worker=20)
        self.machine = PoolMachine(
            3, replace(limits, memory_hard_bytes=20), look=self.pages, totals={"gpu": 1}
        )
        self.now = 0.0
        self.starting: list[int] = []
        self.ready: list[int] = []
        self.doomed: list[int] = []
        self.sites: list[int] = []
        self.open: set[AttemptKey] = set()
        self.at: dict[AttemptKey, int] = {}
        self.asked: dict[int, list[AttemptKey]] = {}  # what workers were asked to give back
        self.numbers = itertools.count()
        self.apply(self.machine.start(self.now))

    def apply(self, actions: Sequence[Action]) -> None:  # noqa: C901 - a case for each action
        for action in actions:
            match action:
                case SpawnWorker(worker):
                    self.starting.append(worker)
                case DismissSite(site):
                    assert not any(self.machine.site_of(worker) == site for worker in self.living())
                    self.sites.remove(site)
                case Assign(worker, given):
                    assert worker in self.ready
                    assert given.key in self.open
                    assert worker not in self.asked or given.pinned
                    before = self.at.get(given.key)
                    assert before is None or given.key in self.asked[before]
                    self.at[given.key] = worker
                case DumpStacks(worker) | SendCancel(worker, _):
                    assert worker in self.ready
                case SendRevoke(worker, keys, fence):
                    assert worker in self.ready
                    assert worker not in self.asked
                    assert all(self.at[each] == worker for each in keys)
                    assert fence == min(self.number_of(each) for each in keys)
                    self.asked[worker] = list(keys)
                case Interrupt(worker, number):
                    assert self.pages(worker).number == number
                case TerminateWorker(worker):
                    assert worker in self.ready
                    self.doomed.append(worker)
                case KillWorker(worker):
                    self.doomed.append(worker)
                case ReportLost(ended, _) | ReportCancelled(ended):
                    self.open.remove(ended)
                    self.at.pop(ended, None)
                case DrainWorker(worker):
                    assert worker in self.ready
                    assert worker not in self.at.values()
                    self.doomed.append(worker)
        # What a worker has certainly not begun waits in line again without a word.
        self.at = {each: at for each, at in self.at.items() if not self.machine.is_in_line(each)}

    def number_of(self, leased: AttemptKey) -> int:
        lease = self.machine.lease(leased)
        assert lease is not None
        return lease.number

    def end(self, ended: AttemptKey, seconds: float | None) -> None:
        self.open.remove(ended)
        del self.at[ended]
        self.apply(self.machine.ended(ended, seconds))

    def exit(self, worker: int, status: int, current: int = 0) -> None:
        for known in (self.starting, self.ready, self.doomed):
            if worker in known:
                known.remove(worker)
        self.asked.pop(worker, None)
        self.apply(self.machine.exited(worker, status, current, self.now))

    @rule(
        code=st.sampled_from([b"tiny", b"long"]),
        credit=st.sampled_from([0, 1, 2, UNLIMITED, UNLIMITED]),
        pinned=st.booleans(),
        timeout_s=st.sampled_from([None, 0.5]),
        priority=st.integers(0, 1),
        demand=st.sampled_from([(), (), (("cpus", 2.0),), (("cpus", 1.0), ("gpu", 1.0))]),
    )
    def invoke(
        self,
        code: bytes,
        credit: int,
        pinned: bool,
        timeout_s: float | None,
        priority: int,
        demand: Demand,
    ) -> None:
        given = invocation(
            next(self.numbers),
            code,
            credit=credit,
            pinned=pinned,
            timeout_s=timeout_s,
            priority=priority,
            demand=demand,
        )
        self.open.add(given.key)
        self.apply(self.machine.invoke(given))

    @precondition(lambda self: self.starting)
    @rule()
    def greet(self) -> None:
        worker = self.starting.pop(0)
        self.ready.append(worker)
        self.machine.started(worker, 1000 + worker)
        self.apply(self.machine.greeted(worker, self.now))

    @precondition(lambda self: self.starting or self.ready)
    @rule(data=st.data(), current=st.integers(0, 5))
    def lose(self, data: st.DataObject, current: int) -> None:
        self.exit(data.draw(st.sampled_from(self.starting + self.ready)), -9, current)

    @precondition(lambda self: self.at)
    @rule(data=st.data(), seconds=st.sampled_from([0.00001, 1.0]))
    def complete(self, data: st.DataObject, seconds: float) -> None:
        self.end(data.draw(st.sampled_from(list(self.at))), seconds)

    @precondition(lambda self: self.at)
    @rule(data=st.data(), port=st.integers(0, 1), number=st.integers(0, 3), what=st.integers(0, 6))
    def talk(self, data: st.DataObject, port: int, number: int, what: int) -> None:
        lease = self.machine.lease(data.draw(st.sampled_from(list(self.at))))
        assert lease is not None
        sayings: list[Callable[[], bool | None]] = [
            lambda: lease.waits(port, number),
            lambda: lease.emits(number),
            lambda: lease.deliver(port, number),
            lambda: lease.end_stream(port),
            lambda: lease.produce(number),
            lease.throw_cancel,
            lambda: lease.answers_cancel(0),
        ]
        if sayings[what]():
            self.apply(self.machine.assign_line())

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        given = data.draw(st.sampled_from(sorted(self.open, key=lambda each: each.node)))
        worker, actions = self.machine.cancel(given, self.now)
        assert worker == self.at.get(given)
        self.apply(actions)

    @precondition(lambda self: self.ready)
    @rule(data=st.data(), number=st.integers(0, 5), aim=st.integers(0, 5), begun=st.integers(0, 30))
    def step(self, data: st.DataObject, number: int, aim: int, begun: int) -> None:
        worker = data.draw(st.sampled_from(self.ready))
        self.pages.says[worker] = Stepping(number, aim, begun=max(begun, self.pages(worker).begun))

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), begun=st.integers(0, 30))
    def give_back(self, data: st.DataObject, begun: int) -> None:
        worker = data.draw(st.sampled_from(sorted(self.asked)))
        here = [each for each in self.asked[worker] if self.at.get(each) == worker]
        self.answer(worker, [each for each in here if self.number_of(each) > begun])

    def answer(self, worker: int, unbegun: list[AttemptKey]) -> None:
        ending = {each for each in unbegun if (lease := self.machine.lease(each)) and lease.is_ending}
        actions = self.machine.given_back(worker, unbegun)
        assert {each.key for each in actions if isinstance(each, ReportCancelled | ReportLost)} == ending
        del self.asked[worker]
        self.apply(actions)

    @rule(
        seconds=st.sampled_from([0.1, 1.0, START_S]),
        size=st.sampled_from([5, 5, 15, 25]),
        is_stopped=st.booleans(),
    )
    def pass_time(self, seconds: float, size: int, is_stopped: bool) -> None:
        self.now += seconds
        self.apply(self.machine.expire(self.now))
        for worker, pid in self.machine.to_examine(self.now):
            assert pid == 1000 + worker
            self.apply(self.machine.examined(worker, Vitals(size, is_stopped), self.now))
        self.apply(self.machine.expire(self.now))
        assert self.machine.next_deadline() > self.now

    @precondition(lambda self: len(self.sites) < 3)
    @rule(size=st.integers(1, 2))
    def join(self, size: int) -> None:
        site, actions = self.machine.join(size, self.now)
        self.sites.append(site)
        self.apply(actions)

    @precondition(lambda self: self.sites)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self.apply(self.machine.leave(data.draw(st.sampled_from(self.sites)), self.now))

    @rule(data=st.data())
    def lose_zygote(self, data: st.DataObject) -> None:
        site = data.draw(st.sampled_from([LOCAL, *self.sites]))
        lost = [worker for worker in self.living() if self.machine.site_of(worker) == site]
        for known in (self.starting, self.ready, self.doomed):
            known[:] = [worker for worker in known if worker not in lost]
        for worker in lost:
            self.asked.pop(worker, None)
        self.apply(self.machine.zygote_ended(-9, self.now, site))

    def living(self) -> list[int]:
        known = [*self.starting, *self.ready, *self.doomed]
        return [each for each in known if self.machine.state(each) is not WorkerState.EXITED]

    @precondition(lambda self: self.doomed)
    @rule()
    def die(self) -> None:
        self.exit(self.doomed[0], -9)

    @invariant()
    def holds(self) -> None:
        self.machine.check()
        assert set(self.machine.attempts()) == self.open

    def teardown(self) -> None:
        """What is left ends, if workers come up and bodies end."""
        for _ in range(1_000):
            if not self.open:
                return
            if self.doomed:
                self.die()
            elif self.starting:
                self.greet()
            elif self.asked:
                self.answer(next(iter(self.asked)), [])
            elif self.at:
                self.end(next(iter(self.at)), 0.1)
            else:
                self.pages.says.clear()
                self.pass_time(1.0, 5, False)
        assert not self.open, "an attempt waits for ever"


PoolRules.TestCase.settings = settings(stateful_step_count=40)
TestPoolRules = PoolRules.TestCase
