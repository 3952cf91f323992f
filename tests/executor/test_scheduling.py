"""Who runs first and what may run now: ranks, demands, and a pool's workers under any load."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.host import Code, Demand, Invocation
from executor.lease import Lease
from executor.placement import AHEAD_BYTES, AHEAD_LIMIT, AHEAD_S, STREAK, Durations, Load, choose
from executor.scheduler import LARGE_CODE_BYTES, Scheduler
from executor.scheduling import ALONE, Ledger, demand_of, rank_of, shortages
from executor.worker_states import WorkerRecord, WorkerState
from protocol.messages import AttemptKey, Digest, NodeId, RunId

TOTALS = {"gpu": 2.0, "memory": 10.0}
PLAIN: Demand = (("cpus", 1.0),)


def invocation(number: int, run: int = 1, **options: Any) -> Invocation:
    key = AttemptKey(RunId(run), NodeId(number), 0)
    return Invocation(key, Code(Digest(b"code"), b""), [], **options)


# -- ranks -----------------------------------------------------------------------------------------


def test_priority_goes_before_memory_before_the_critical_path_before_arrival() -> None:
    ranked = [
        invocation(1, priority=-1),
        invocation(2, frees_memory=True),
        invocation(3, criticality=5),
        invocation(4, criticality=2),
        invocation(5),
    ]
    for order in itertools.permutations(ranked):
        by_rank = sorted(order, key=lambda each: rank_of(each, order.index(each)))
        assert by_rank == ranked
    assert rank_of(ranked[4], 1) < rank_of(ranked[4], 2)


# -- demands ---------------------------------------------------------------------------------------


def test_a_demand_names_what_it_claims_in_order_and_one_processor_if_not_told() -> None:
    assert demand_of() == ()
    assert demand_of(cpus=2) == (("cpus", 2),)
    assert demand_of(memory=5, resources={"gpu": 1}) == (("cpus", 1), ("gpu", 1), ("memory", 5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cpus": "two"}, "cpus must be a number, not 'two'"),
        ({"cpus": True}, "cpus must be a number"),
        ({"cpus": -1}, "cpus must be a number from 0 on, not -1"),
        ({"memory": math.inf}, "memory must be a number from 0 on"),
        ({"resources": ["gpu"]}, "resources must map names to amounts"),
        ({"resources": {1: 1}}, "resources must be named by strings, not 1"),
        ({"resources": {"gpu": None}}, r"resources\['gpu'\] must be a number, not None"),
        ({"cpus": 1, "resources": {"cpus": 2}}, "cpus is given twice"),
    ],
)
def test_amounts_and_names_that_make_no_sense_are_refused(options: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        demand_of(**options)


def test_what_could_never_be_met_is_told_with_what_there_is() -> None:
    lacks = shortages(
        demand_of(cpus=4, memory=5, resources={"gpu": 3, "tape": 1}), {"cpus": 4, **TOTALS}
    )
    assert [str(each) for each in lacks] == [
        "asks for gpu=3, and the pool has gpu=2",
        "asks for tape=1, and the pool has no 'tape'",
    ]


@given(st.lists(st.sampled_from([0.1, 0.2, 0.7]), max_size=20))
def test_a_ledger_that_nobody_claims_from_is_whole(amounts: list[float]) -> None:
    ledger = Ledger({"gpu": 100})
    for amount in amounts:
        ledger.claim((("gpu", amount),))
    for amount in amounts:
        ledger.give_back((("gpu", amount),))
    assert ledger.is_untouched
    ledger.check([])
    assert not ledger.lacking((("gpu", 100),), 1)


def test_what_is_claimed_may_leave_and_is_then_granted_to_nobody() -> None:
    totals = {"gpu": 2.0}
    ledger = Ledger(totals)
    ledger.claim((("gpu", 2),))
    totals["gpu"] = 1
    assert ledger.lacking((("gpu", 1),), 1)
    ledger.give_back((("gpu", 2),))
    assert not ledger.lacking((("gpu", 1),), 1)
    del totals["gpu"]
    assert ledger.lacking((("gpu", 1),), 1)


# -- placement -------------------------------------------------------------------------------------


def test_of_free_workers_the_one_that_holds_most_of_the_input_is_chosen() -> None:
    loads = [(1, Load()), (2, Load(suspended=1)), (3, Load(active=1))]
    assert choose(loads, held_bytes={2: 10, 3: 50}) == 2
    assert choose(loads, held_bytes={1: 10, 2: 10}) == 1
    assert choose(loads) == 1


@given(st.integers(1, AHEAD_LIMIT), st.integers(1, AHEAD_LIMIT))
def test_nothing_stands_further_back_in_a_row_than_it_may(active: int, depth: int) -> None:
    chosen = choose([(1, Load(active=active))], depth)
    assert (chosen is not None) == (active < depth)


def test_the_more_bodies_of_a_code_were_brief_in_a_row_the_more_may_stand_in_one() -> None:
    durations, code = Durations(), Digest(b"code")
    assert durations.depth(code) == 1
    depths = []
    for _ in range(STREAK * AHEAD_LIMIT):
        durations.note(code, 0.0001)
        depths.append(durations.depth(code))
    assert depths == sorted(depths)
    assert depths[-1] == AHEAD_LIMIT
    durations.note(code, 2 * AHEAD_S)
    assert 1 < durations.depth(code) < AHEAD_LIMIT / 2
    durations.note(code, 100 * AHEAD_S)
    assert durations.depth(code) == 1
    for _ in range(50):
        durations.note(code, 0.0001)
    assert 1 < durations.depth(code) < AHEAD_LIMIT


def test_large_results_are_not_made_far_ahead() -> None:
    durations, code = Durations(), Digest(b"code")
    for _ in range(STREAK * AHEAD_LIMIT):
        durations.note(code, 0.0001, AHEAD_BYTES // 3)
    assert durations.depth(code) == 3
    durations.note(code, 0.0001, 10 * AHEAD_BYTES)
    assert durations.depth(code) == 1


def test_large_code_goes_to_a_worker_that_has_it() -> None:
    scheduler, _ = scheduler_of(3)
    first, second = (
        Invocation(
            AttemptKey(RunId(1), NodeId(number), 0),
            Code(Digest(b"code"), bytes(LARGE_CODE_BYTES)),
            [],
        )
        for number in range(2)
    )
    scheduler.end(scheduler.begin(scheduler._workers[2], first))
    worker = scheduler.enter(second)
    assert worker is not None
    assert worker.id == 2


# -- workers under load ----------------------------------------------------------------------------


def scheduler_of(size: int) -> tuple[Scheduler, dict[AttemptKey, Lease]]:
    workers = {number: WorkerRecord(number, math.inf) for number in range(1, size + 1)}
    for worker in workers.values():
        worker.state, worker.was_ready = WorkerState.READY, True
    return Scheduler(workers, TOTALS, size), {}


class Under:
    """A scheduler and a model of it: which attempts wait, and which run where."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.scheduler, self.leases = scheduler_of(size)
        self.waiting: list[Invocation] = []
        self.running: dict[AttemptKey, Invocation] = {}
        self.ended: list[int] = []

    def enter(self, given: Invocation) -> None:
        self.waiting.append(given)
        worker = self.scheduler.enter(given)
        if worker is not None:
            self._begin(worker, given)
        elif self.scheduler.may_have_moved(given):
            self.assign()

    def assign(self) -> None:
        while (found := self.scheduler.next()) is not None:
            self.scheduler.line.take(found[1])
            self._begin(*found)

    def _begin(self, worker: WorkerRecord, given: Invocation) -> None:
        # No lower priority starts while a higher one could.
        for other in self.waiting:
            assert other.priority >= given.priority or not self._could_run(other)
        assert worker.load.active == 0
        self.waiting.remove(given)
        self.running[given.key] = given
        lease = self.scheduler.begin(worker, given)
        self.leases[given.key] = worker.leases[given.key] = lease

    def _could_run(self, given: Invocation) -> bool:
        if all(worker.load.active for worker in self.scheduler._workers.values()):
            return False
        return not self._lacks(given) and not self._stands_behind(given)

    def _lacks(self, given: Invocation) -> set[str]:
        if given.demand == ALONE:
            return {"cpus"} if self.running else set()
        return {name for name, asked in given.demand or PLAIN if asked > self._free(name)}

    def _stands_behind(self, given: Invocation) -> bool:
        """Whether one that goes before it waits for something that it needs too."""
        needs = {name for name, _ in given.demand or PLAIN}
        return any(
            self._lacks(other) & needs
            for other in self.waiting
            if other is not given and other.priority <= given.priority
        )

    def _free(self, name: str) -> float:
        total = {"cpus": float(self.size), **TOTALS}[name]
        claimed = [dict(each.demand or PLAIN).get(name, 0) for each in self.running.values()]
        return 0 if claimed == [math.inf] else total - sum(claimed)

    def end(self, key: AttemptKey) -> None:
        given, lease = self.running.pop(key), self.leases.pop(key)
        del self.scheduler._workers[lease.worker].leases[key]
        self.scheduler.end(lease)
        self.ended.append(given.key.node)
        self.assign()

    def check(self) -> None:
        self.scheduler.check(self.leases)
        assert all(self._free(name) >= 0 for name in ("cpus", *TOTALS))


demands: st.SearchStrategy[Demand] = st.sampled_from(
    [
        (),
        (),
        demand_of(cpus=2),
        demand_of(cpus=0, resources={"gpu": 1}),
        demand_of(resources={"gpu": 2}),
        demand_of(memory=7),
        demand_of(memory=7, resources={"gpu": 1}),
        ALONE,
    ]
)


@given(
    st.integers(2, 4),
    st.lists(st.tuples(st.integers(1, 2), st.integers(-1, 1), demands), max_size=25),
    st.data(),
)
def test_priorities_resources_and_progress_under_any_load(
    size: int, given_: list[tuple[int, int, Demand]], data: st.DataObject
) -> None:
    under = Under(size)
    for number, (run, priority, demand) in enumerate(given_):
        under.enter(invocation(number, run, priority=priority, demand=demand))
        under.check()
        ends: bool = data.draw(st.booleans())
        if under.running and ends:
            under.end(data.draw(st.sampled_from(list(under.running))))
            under.check()
    while under.running:  # nothing starves
        under.end(data.draw(st.sampled_from(list(under.running))))
        under.check()
    assert sorted(under.ended) == list(range(len(given_)))


@given(st.sampled_from([demand_of(cpus=3), demand_of(resources={"gpu": 2})]), st.integers(20, 60))
def test_one_that_asks_for_much_is_not_passed_for_ever_by_those_that_ask_for_less(
    much: Demand, others: int
) -> None:
    """However many come after it, it runs when those that ran before have ended."""
    under = Under(3)
    little: Demand = demand_of(resources={"gpu": 1})
    for number in range(3):
        under.enter(invocation(number, demand=little))
    under.enter(invocation(99, demand=much))
    for number in range(100, 100 + others):
        under.enter(invocation(number, demand=little))
        under.end(next(iter(under.running)))
        if 99 in under.ended:
            break
    assert len(under.ended) <= 5


def test_one_that_is_to_run_alone_waits_for_all_others_and_they_for_it_f4() -> None:
    under = Under(3)
    for number, demand in enumerate([(), (), ALONE, (), demand_of(cpus=0)]):
        under.enter(invocation(number, demand=demand))
    began = []
    while under.running:
        began.append([key.node for key in under.running])
        under.end(next(iter(under.running)))
        under.check()
    assert began == [[0, 1], [1], [2], [3, 4], [4]]


def test_a_scheduler_is_saturated_while_those_that_wait_lack_nothing_but_room() -> None:
    under = Under(1)
    saturated = []
    for number in range(3):
        under.enter(invocation(number))
        saturated.append(under.scheduler.is_saturated)
    assert saturated == [False, True, True]
    other = Under(2)
    other.enter(invocation(1, demand=demand_of(resources={"gpu": 2})))
    other.enter(invocation(2, demand=demand_of(resources={"gpu": 1})))
    assert not other.scheduler.is_saturated  # one that needs no gpu could go first


def test_what_lacks_a_resource_is_passed_by_those_that_do_not_need_it() -> None:
    under = Under(3)
    under.enter(invocation(1, demand=demand_of(resources={"gpu": 2})))
    under.enter(invocation(2, demand=demand_of(resources={"gpu": 1})))
    under.enter(invocation(3))
    assert [key.node for key in under.running] == [1, 3]
    under.enter(invocation(4, priority=-1))
    assert [key.node for key in under.running] == [1, 3, 4]


def test_attempts_beside_one_that_claims_processors_stand_behind_busy_workers_only() -> None:
    under = Under(3)
    for _ in range(STREAK * AHEAD_LIMIT):
        under.scheduler.note_end(Digest(b"code"), 0.0001)
    under.enter(invocation(1, demand=demand_of(cpus=2)))
    under.enter(invocation(2))
    worker = under.scheduler.enter(invocation(3))
    assert worker is not None
    assert worker.id == under.leases[invocation(2).key].worker
