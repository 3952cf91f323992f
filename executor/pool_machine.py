"""Decides for a pool: which workers live, which attempt is where, and who is to blame for what.

Theory of operation. Events come in as method calls, with the time where it matters; what is to be done
comes back as a list of actions. A worker is spawned, says Hello, and is replaced when it ends. An
attempt is *leased* to a worker until it ends; until a worker has room for it, it waits in line. A body
that waits for a chunk or for its gate is *suspended* and gives its place up, so more bodies live than
workers exist. An attempt that is cancelled and does not end climbs a ladder (``executor.ladder``), at
whose top its worker is killed. Workers that end before Hello, several in a row, break the pool: nothing
is left waiting for ever.

    STARTING --hello--> READY --drain--> DRAINING
        |                 |                 |
        +------kill-------+-----kill--------+--> KILLED
        +------exit-------+-----exit--------+------+-----> EXITED
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Final

from executor.actions import (
    Action,
    Assign,
    DumpStacks,
    Interrupt,
    ReportCancelled,
    ReportLost,
    SendCancel,
)
from executor.host import NO_EVIDENCE, Evidence, Invocation, LossReason, WorkerLoss
from executor.ladder import Ladder, Look, Rung, see_nothing
from executor.lease import Lease
from executor.limits import NO_LIMITS, Limits
from executor.losses import loss_of, reason_of, report_end
from executor.revocation import Revoker
from executor.roster import Roster
from executor.scheduler import Scheduler
from executor.scheduling import Totals
from executor.sites import LOCAL
from executor.watching import EXAMINE_S, Overrun, TimeWatch, Vitals, overrun_of
from executor.worker_states import WorkerEvent, WorkerRecord, WorkerState
from protocol.messages import AttemptKey, RunId

_S = WorkerState
_E = WorkerEvent


_NO_TOTALS: Final[Totals] = MappingProxyType({})


class PoolMachine(Roster):
    """The state of one pool: ``size`` workers of its own, and those that join.

    Nothing here blocks, and no clock is read. ``look`` gives what a worker's page says.
    """

    def __init__(
        self,
        size: int,
        limits: Limits = NO_LIMITS,
        *,
        look: Look = see_nothing,
        totals: Totals = _NO_TOTALS,
    ) -> None:
        super().__init__(size, limits.grace_s, totals)
        self.limits = limits
        self.dropped = 0
        """Counts reports about attempts that the reporting worker does not hold."""
        self._leases: dict[AttemptKey, Lease] = {}
        self._scheduler = Scheduler(self._workers, self._sites.totals, size)
        self._line = self._scheduler.line
        self._look = look
        self._ladder = Ladder(limits.grace_s, look)
        self._times = TimeWatch(look)
        self._revoker = Revoker(self._workers, look)
        self._examine_at = 0.0
        self._has_retiring = False
        self._max_runs = limits.max_runs_per_worker or math.inf

    # -- workers ----------------------------------------------------------------------------------

    def join(self, size: int, now: float, resources: Totals = _NO_TOTALS) -> tuple[int, list[Action]]:
        """An agent brings so many workers, and resources that go again when it leaves: its site."""
        site = self._sites.join(size, resources)
        return site, [*self.start(now), *self.assign_line()]

    def leave(self, site: int, now: float) -> list[Action]:
        """An agent's workers finish what they run, take nothing new and end."""
        self._sites.leave(site)
        actions: list[Action] = []
        for worker in self._workers_at(site):
            if worker.state is _S.STARTING:
                actions += self.kill(worker.id)
            elif worker.state is _S.READY:
                worker.is_worn = True
        return [*actions, *self._retire(now), *self._dismiss()]

    def greeted(self, worker: int, now: float) -> list[Action]:
        """A worker has said Hello and proved who it is."""
        known = self._workers[worker]
        known.move(_E.HELLO, known.deadline if known.state is _S.KILLED else math.inf)
        if known.state is not _S.READY:
            return []
        known.was_ready = True
        self._sites.start_succeeded(known.site)
        return [*self.start(now), *self.assign_line()]

    def exited(
        self, worker: int, status: int | None, current: int, now: float, evidence: Evidence = NO_EVIDENCE
    ) -> list[Action]:
        """A worker's process has ended, or none was made; ``current``: what its page says it stepped."""
        known = self._workers.pop(worker, None)
        if known is None:
            return []
        by_us = known.state is _S.KILLED
        known.move(_E.EXIT)
        end = loss_of(known, reason_of(evidence, by_us=by_us), None if by_us else status, evidence)
        actions = self._end_leases(known, end, 0 if by_us else current)
        if not known.was_ready:
            self._sites.start_failed(known.site, end.status, evidence.output, now)
        return [*actions, *self._replace(now)]

    def zygote_ended(
        self, status: int | None, now: float, site: int = LOCAL, *, output: tuple[str, ...] = ()
    ) -> list[Action]:
        """A site's workers have ended with the process they were forked from; none is to blame (F33).

        An agent's site is gone then.
        """
        actions: list[Action] = []
        started = any(worker.was_ready for worker in self._workers_at(site))
        for worker in self._workers_at(site):
            del self._workers[worker.id]
            worker.move(_E.EXIT)
            actions += self._end_leases(worker, loss_of(worker, LossReason.ZYGOTE), current=0)
        if site != LOCAL:
            self._sites.leave(site)
        elif not started:
            self._sites.start_failed(LOCAL, status, output, now)
        return [*actions, *self._replace(now)]

    def stop(self, now: float) -> list[Action]:
        """Let workers finish; what waits is given up. Those still there after the grace are killed."""
        self.stopping = True
        actions: list[Action] = [ReportCancelled(key) for key in self._line]
        self._line.clear()
        for worker in self._workers.values():
            if worker.state in (_S.READY, _S.RETIRING):
                actions += self.drain(worker, now)
            elif worker.state is _S.DRAINING:
                worker.deadline = min(worker.deadline, now + self.limits.grace_s)
        return actions

    # -- time -------------------------------------------------------------------------------------

    def next_deadline(self) -> float:
        """When :meth:`expire` should be called; infinite if there is nothing to wait for."""
        if self._has_retiring:
            return 0.0
        earliest = min(
            self._ladder.next_deadline(), self._times.next_deadline(), self._revoker.next_deadline()
        )
        examine_at = self._examine_at
        for worker in self._workers.values():
            earliest = min(earliest, worker.deadline)
            if examine_at < earliest and worker.needs_examination:
                earliest = examine_at
        return earliest

    def expire(self, now: float) -> list[Action]:
        """Deal with attempts and workers that are late. Early and repeated calls change nothing."""
        actions = self._climb(now)
        for lease, overrun in self._times.overdue(self._workers.values(), now):
            actions += self._give_up_overdue(lease, overrun, now)
        if self._has_retiring:
            actions += self._retire(now)
        actions += self.give_up_late(now)
        if certain := self._revoker.settled(now):
            actions += self._take_back(certain)
        actions += self._revoker.due(self._line.first(), now)
        # Whoever hears a report may speak to an attempt that is leased here: it must have been sent.
        actions.sort(key=lambda action: not isinstance(action, Assign))
        return actions

    def to_examine(self, now: float) -> list[tuple[int, int]]:
        """The busy workers, with their pids, if it is time to look after them."""
        if now < self._examine_at:
            return []
        self._examine_at = now + EXAMINE_S
        return [(each.id, each.pid) for each in self._workers.values() if each.needs_examination]

    def examined(self, worker: int, vitals: Vitals, now: float) -> list[Action]:
        """What was found at a busy worker."""
        known = self._workers[worker]
        if known.state not in (_S.READY, _S.RETIRING):
            return []
        running = known.lease_numbered(self._look(worker).number)
        overrun = overrun_of(known, running, vitals, self.limits, now)
        if overrun is not None:
            # What it runs is to blame for its memory, and for nothing else.
            for lease in known.leases.values():
                if overrun.reason is LossReason.UNRESPONSIVE or lease is running:
                    lease.overrun = lease.overrun or overrun
            return self.kill(worker)
        self._has_retiring |= known.is_worn
        return self.assign_line()

    # -- work -------------------------------------------------------------------------------------

    def invoke(self, invocation: Invocation) -> list[Action]:
        """Find a worker for an attempt, or let it wait in line."""
        if self.failure is not None:
            return [ReportLost(invocation.key, self._never_started())]
        self._revoker.comes(invocation.priority)
        worker = self._scheduler.enter(invocation)
        if worker is not None:
            return [self._assign(worker, invocation)]
        return self.assign_line() if self._scheduler.may_have_moved(invocation) else []

    def lease(self, key: AttemptKey) -> Lease | None:
        """The claim on an attempt; None if it waits in line or has ended."""
        return self._leases.get(key)

    def leased_to(self, worker: int, key: AttemptKey) -> Lease | None:
        """The claim on an attempt that a worker speaks of; None if it has none: drop what it says."""
        lease = self._leases.get(key)
        if lease is not None and lease.worker == worker:
            return lease
        self.dropped += 1
        return None

    @property
    def totals(self) -> Totals:
        """The resources that attempts may claim."""
        return self._scheduler.totals

    @property
    def free(self) -> Totals:
        """What of them nobody claims now."""
        return self._scheduler.free

    @property
    def is_saturated(self) -> bool:
        """Whether attempts wait for room in a worker, and no new one could pass them."""
        return self._scheduler.is_saturated

    def is_in_line(self, key: AttemptKey) -> bool:
        return key in self._line

    def attempts(self) -> list[AttemptKey]:
        """All that have not ended."""
        return [*self._leases, *self._line]

    def cancel(self, key: AttemptKey, now: float) -> tuple[int | None, list[Action]]:
        """Recall an attempt; interrupt it if it runs, and end its worker if nothing else helps."""
        lease = self._leases.get(key)
        if lease is not None and not lease.cancelled:
            if not lease.is_ending:
                self._ladder.begin(key, lease.worker, lease.number, now)
            lease.cancelled = True
        return self.recall(key)

    def recall(self, key: AttemptKey) -> tuple[int | None, list[Action]]:
        """Give an attempt up: the worker to send Cancel to, if any, and what else is to be done."""
        if self._line.remove(key):
            return None, [ReportCancelled(key), *self.assign_line()]
        lease = self._leases.get(key)
        if lease is None:
            return None, []
        lease.sent_ahead = None
        return lease.worker, []

    def release(self, run: RunId) -> list[int]:
        """The run is over: forgets its pins; the workers that may keep state for it."""
        pinned = self._scheduler.unpin(run)
        self._has_retiring |= any(
            self._workers[each].is_worn for each in pinned if each in self._workers
        )
        return [worker for worker in pinned if self.state(worker) is _S.READY]

    def ended(self, key: AttemptKey, seconds: float | None, output_bytes: int = 0) -> list[Action]:
        """A leased attempt has ended after this much stepping (None: it was cancelled)."""
        lease = self._leases.pop(key)
        self._forget(lease)
        worker = self._workers[lease.worker]
        worker.last_ended = lease
        del worker.leases[key]
        if worker.state is _S.RETIRING and not worker.leases:
            self._has_retiring = True
        if seconds is not None:
            self._scheduler.note_end(lease.code, seconds, output_bytes)
        return self.assign_line() if self._line else []

    def given_up(self, key: AttemptKey) -> list[Action]:
        """A leased attempt that was told to end has done so."""
        lease = self._leases[key]
        end = loss_of(self._workers[lease.worker], LossReason.ENDED)
        # An attempt that was only recalled has no other reason to end.
        report = ReportCancelled(key) if lease.overrun is None else report_end(lease, end, charged=False)
        return [*self.ended(key, None), report]

    def given_back(self, worker: int, keys: list[AttemptKey]) -> list[Action]:
        """A worker answers what it was asked to give back: it has not begun these, and never will."""
        known = self._workers[worker]
        leases = self._revoker.answered(known, keys)
        ending = [action for each in leases if each.is_ending for action in self.given_up(each.key)]
        return [*ending, *self._take_back([each for each in leases if not each.is_ending])]

    def assign_line(self) -> list[Action]:
        """Some worker may have room: send it what waits."""
        actions: list[Action] = []
        while (found := self._scheduler.next()) is not None:
            worker, invocation = found
            self._line.take(invocation)
            actions.append(self._assign(worker, invocation))
        return actions

    # -- checking ---------------------------------------------------------------------------------

    def check(self) -> None:
        """Assert the invariants."""
        held: dict[AttemptKey, Lease] = {}
        for worker in self._workers.values():
            assert worker.state is not _S.EXITED
            assert not worker.leases or worker.was_ready, worker
            held.update(worker.leases)
            suspended = sum(lease.suspended for lease in worker.leases.values())
            assert worker.load.suspended == suspended, worker
            assert worker.load.active == len(worker.leases) - suspended, worker
            assert 0 <= worker.load.unknown <= worker.load.active, worker
        assert held == self._leases
        self._scheduler.check(held)
        assert self._ladder.keys() <= held.keys()
        assert len(self._workers) == 0 or self._spawned >= max(self._workers)
        if self._line:
            assert not self.stopping  # or it would wait for ever
            assert self.failure is None

    # -- private ----------------------------------------------------------------------------------

    def _retire(self, now: float) -> list[Action]:
        """Replace the workers that are worn, each when nothing more can come for it."""
        self._has_retiring = False
        actions: list[Action] = []
        pinned = self._scheduler.pinned_workers()
        for worker in self._workers.values():
            if worker.id in pinned:
                # It keeps a node's state: let it serve on until the run is over.
                worker.is_worn = worker.site in self._sites.leaving
            elif worker.state is _S.READY and worker.is_worn:
                worker.move(_E.RETIRE)
            if worker.state is _S.RETIRING and not worker.leases:
                actions += self.drain(worker, now)
        return [*actions, *self.start(now), *self.assign_line()]

    def _take_back(self, leases: list[Lease]) -> list[Action]:
        """What was sent ahead waits in line again, before those that it was sent before."""
        actions: list[Action] = []
        for lease in reversed(leases):
            del self._leases[lease.key]
            del self._workers[lease.worker].leases[lease.key]
            self._forget(lease)
            if self.stopping or lease.sent_ahead is None:
                actions.append(ReportCancelled(lease.key))
            elif self.failure is not None:
                actions.append(ReportLost(lease.key, self._never_started()))
            else:
                self._line.put_back(lease.sent_ahead)
        self._has_retiring = self._has_retiring or bool(leases)
        return [*actions, *self.assign_line()]

    def _give_up_overdue(self, lease: Lease, overrun: Overrun, now: float) -> list[Action]:
        lease.overrun = overrun
        self._ladder.begin(lease.key, lease.worker, lease.number, now)
        return [DumpStacks(lease.worker), SendCancel(lease.worker, lease.key), *self._climb(now)]

    def _assign(self, worker: WorkerRecord, invocation: Invocation) -> Assign:
        key = invocation.key
        lease = self._scheduler.begin(worker, invocation)
        if worker.load.active > 1:
            self._revoker.sent_ahead(lease, invocation)
        self._leases[key] = worker.leases[key] = lease
        if lease.timeout_s is None:
            lease.timeout_s = self.limits.timeout_s
        if lease.timeout_s is not None:
            self._times.begin(lease.timeout_s)
        if worker.invoked >= self._max_runs:
            worker.is_worn = self._has_retiring = True
        return Assign(worker.id, invocation)

    def _climb(self, now: float) -> list[Action]:
        actions: list[Action] = []
        for key, rung in self._ladder.climb(now):
            lease = self._leases[key]
            match rung:
                case Rung.INTERRUPT:
                    actions.append(Interrupt(lease.worker, lease.number))
                case Rung.TERMINATE:
                    actions += self.terminate(lease.worker, now)
                case Rung.ABANDON:
                    actions += self.given_up(key)
        return actions

    def _end_leases(self, worker: WorkerRecord, end: WorkerLoss, current: int) -> list[Action]:
        actions: list[Action] = []
        for key, lease in worker.leases.items():
            del self._leases[key]
            self._forget(lease)
            actions.append(report_end(lease, end, charged=lease.number == current))
        return actions

    def _forget(self, lease: Lease) -> None:
        self._scheduler.end(lease)
        if self._ladder:
            self._ladder.forget(lease.key)
        if lease.timeout_s is not None:
            self._times.end()

    def _replace(self, now: float) -> list[Action]:
        if not self.gives_up():
            # What the leases of the lost have claimed is free again.
            return [*self.start(now), *self._dismiss(), *self.assign_line()]
        lost: list[Action] = [ReportLost(key, self._never_started()) for key in self._line]
        self._line.clear()
        return lost
