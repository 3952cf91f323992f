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
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from executor.actions import (
    Action,
    Assign,
    DrainWorker,
    Interrupt,
    KillWorker,
    ReportCancelled,
    ReportLost,
    SpawnWorker,
    TerminateWorker,
)
from executor.errors import PoolBroken
from executor.host import Invocation, WorkerLoss
from executor.ladder import NOTHING, Ladder, Look, Rung, Stepping
from executor.lease import Lease
from executor.placement import Durations, Load, choose
from executor.worker_states import TRANSITIONS, WorkerEvent, WorkerState
from protocol.messages import AttemptKey, NodeId, RunId

__all__ = [
    "FAILED_STARTS_LIMIT",
    "START_S",
    "TRANSITIONS",
    "Action",
    "Assign",
    "DrainWorker",
    "Interrupt",
    "KillWorker",
    "PoolMachine",
    "ReportCancelled",
    "ReportLost",
    "SpawnWorker",
    "TerminateWorker",
    "WorkerEvent",
    "WorkerState",
]

FAILED_STARTS_LIMIT: Final = 3
START_S: Final = 60.0
"""A worker that has not said Hello by then is taken for one that never will."""


_S = WorkerState
_E = WorkerEvent


@dataclass(slots=True)
class _Worker:
    id: int
    start_deadline: float
    kill_deadline: float = math.inf  # of one that was terminated
    pid: int = 0
    state: WorkerState = WorkerState.STARTING
    was_ready: bool = False
    invoked: int = 0
    leases: dict[AttemptKey, Lease] = field(default_factory=dict)
    load: Load = field(default_factory=Load)


def _sees_nothing(_: int) -> Stepping:
    return NOTHING


class PoolMachine:
    """The state of one pool of ``size`` workers. Nothing here blocks, and no clock is read.

    ``grace_s`` is how long each step of the ladder may take that makes a cancelled attempt end;
    ``look`` gives what a worker's page says.
    """

    def __init__(self, size: int, *, grace_s: float = 5.0, look: Look = _sees_nothing) -> None:
        self.grace_s = grace_s
        self.failure: PoolBroken | None = None
        self.stopping = False
        self.dropped = 0
        """Counts reports about attempts that the reporting worker does not hold."""
        self._size = size
        self._workers: dict[int, _Worker] = {}
        self._spawned = 0
        self._failed_starts: list[int | None] = []
        self._leases: dict[AttemptKey, Lease] = {}
        self._line: OrderedDict[AttemptKey, Invocation] = OrderedDict()
        self._pins: dict[tuple[RunId, NodeId], int] = {}
        self._ladder = Ladder(grace_s, look)
        self._stop_deadline = math.inf
        self._durations = Durations()

    # -- workers ----------------------------------------------------------------------------------

    def start(self, now: float) -> list[Action]:
        """Spawn what is missing to the pool's size."""
        actions: list[Action] = []
        if self.stopping or self.failure is not None:
            return actions
        alive = sum(worker.state is not _S.KILLED for worker in self._workers.values())
        for _ in range(self._size - alive):
            self._spawned += 1
            self._workers[self._spawned] = _Worker(self._spawned, now + START_S)
            actions.append(SpawnWorker(self._spawned))
        return actions

    def state(self, worker: int) -> WorkerState:
        known = self._workers.get(worker)
        return WorkerState.EXITED if known is None else known.state

    def load_of(self, worker: int) -> Load:
        """How busy a live worker is, as placement sees it."""
        return self._workers[worker].load

    def started(self, worker: int, pid: int) -> None:
        """The worker's process exists."""
        if worker in self._workers:
            self._workers[worker].pid = pid

    def greeted(self, worker: int) -> list[Action]:
        """A worker has said Hello and proved who it is."""
        known = self._workers[worker]
        self._move(known, _E.HELLO)
        if known.state is not _S.READY:
            return []
        known.was_ready = True
        self._failed_starts.clear()
        return self.assign_line()

    def worker_of(self, pid: int) -> int | None:
        """Which live worker a process is, if any."""
        return next((each.id for each in self._workers.values() if each.pid == pid), None)

    def kill(self, worker: int | None) -> list[Action]:
        """Give a worker up: it broke the protocol, or does not answer."""
        known = None if worker is None else self._workers.get(worker)
        if known is None or (known.state is _S.KILLED and known.kill_deadline == math.inf):
            return []
        self._move(known, _E.KILL)
        known.kill_deadline = math.inf
        return [KillWorker(known.id)]

    def terminate(self, worker: int, now: float) -> list[Action]:
        """Give a worker up, by SIGTERM first."""
        known = self._workers[worker]
        if known.state is _S.KILLED:
            return []
        self._move(known, _E.KILL)
        known.kill_deadline = now + self.grace_s
        return [TerminateWorker(known.id)]

    def exited(self, worker: int, status: int | None, current: int, now: float) -> list[Action]:
        """A worker's process has ended, or none was made; ``current``: what its page says it stepped."""
        known = self._workers.pop(worker, None)
        if known is None:
            return []
        by_us = known.state is _S.KILLED
        self._move(known, _E.EXIT)
        actions = self._end_leases(known, None if by_us else status, current)
        if not known.was_ready:
            self._failed_starts.append(status)
        return [*actions, *self._replace(now)]

    def zygote_ended(self, status: int | None, now: float) -> list[Action]:
        """All workers have ended with the process they were forked from; none is to blame (F33)."""
        actions: list[Action] = []
        started = any(worker.was_ready for worker in self._workers.values())
        for worker in list(self._workers.values()):
            del self._workers[worker.id]
            self._move(worker, _E.EXIT)
            actions += self._end_leases(worker, None, 0)
        if not started:
            self._failed_starts.append(status)
        return [*actions, *self._replace(now)]

    def stop(self, now: float) -> list[Action]:
        """Let workers finish; what waits is given up. Those still there after the grace are killed."""
        self.stopping = True
        self._stop_deadline = now + self.grace_s
        actions: list[Action] = [ReportCancelled(key) for key in self._line]
        self._line.clear()
        for worker in self._workers.values():
            if worker.state is _S.READY:
                self._move(worker, _E.DRAIN)
                actions.append(DrainWorker(worker.id))
        return actions

    @property
    def starting(self) -> bool:
        """Whether some worker may still become ready."""
        return any(worker.state is _S.STARTING for worker in self._workers.values())

    @property
    def ending(self) -> bool:
        """Whether some worker was told to end and has not."""
        return any(worker.state in (_S.DRAINING, _S.KILLED) for worker in self._workers.values())

    # -- time -------------------------------------------------------------------------------------

    def next_deadline(self) -> float:
        """When :meth:`expire` should be called; infinite if there is nothing to wait for."""
        return min(self._ladder.next_deadline(), *map(self._deadline, self._workers.values()), math.inf)

    def expire(self, now: float) -> list[Action]:
        """Deal with attempts and workers that are late. Early and repeated calls change nothing."""
        actions = self._climb(now)
        late = [worker.id for worker in self._workers.values() if self._deadline(worker) <= now]
        return [*actions, *(action for worker_id in late for action in self.kill(worker_id))]

    # -- work -------------------------------------------------------------------------------------

    def invoke(self, invocation: Invocation) -> list[Action]:
        """Find a worker for an attempt, or let it wait in line."""
        if self.failure is not None:
            return [ReportLost(invocation.key, self._never_started())]
        if not self._line:
            worker = self._place(invocation)
            if worker is not None:
                return [self._assign(worker, invocation)]
        elif invocation.pinned and (worker := self._pinned_to(invocation)) is not None:
            return [self._assign(worker, invocation)]
        self._line[invocation.key] = invocation
        return []

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

    def is_in_line(self, key: AttemptKey) -> bool:
        return key in self._line

    def attempts(self) -> list[AttemptKey]:
        """All that have not ended."""
        return [*self._leases, *self._line]

    def cancel(self, key: AttemptKey, now: float) -> tuple[int | None, list[Action]]:
        """Recall an attempt; interrupt it if it runs, and end its worker if nothing else helps."""
        lease = self._leases.get(key)
        if lease is not None and not lease.cancelled:
            lease.cancelled = True
            self._ladder.begin(key, lease.worker, lease.number, now)
        return self.recall(key)

    def recall(self, key: AttemptKey) -> tuple[int | None, list[Action]]:
        """Give an attempt up: the worker to send Cancel to, if any, and what else is to be done."""
        if self._line.pop(key, None) is not None:
            return None, [ReportCancelled(key)]
        lease = self._leases.get(key)
        return None if lease is None else lease.worker, []

    def release(self, run: RunId) -> list[int]:
        """The run is over: forgets its pins; the workers that may keep state for it."""
        pinned = {pin: worker for pin, worker in self._pins.items() if pin[0] == run}
        for pin in pinned:
            del self._pins[pin]
        return sorted({worker for worker in pinned.values() if self.state(worker) is _S.READY})

    def ended(self, key: AttemptKey, seconds: float | None) -> list[Action]:
        """A leased attempt has ended after this much stepping (None: it was cancelled)."""
        lease = self._leases.pop(key)
        lease.end()
        del self._workers[lease.worker].leases[key]
        if self._ladder:
            self._ladder.forget(key)
        if seconds is not None:
            self._durations.note(lease.code, seconds)
        return self.assign_line() if self._line else []

    def assign_line(self) -> list[Action]:
        """Some worker may have room: send it what waits."""
        actions: list[Action] = []
        while self._line:
            worker = self._place(next(iter(self._line.values())))
            if worker is None:
                break
            _, invocation = self._line.popitem(last=False)
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
        assert not held.keys() & self._line.keys()
        assert self._ladder.keys() <= held.keys()
        assert len(self._workers) == 0 or self._spawned >= max(self._workers)
        if self._line:
            # Nothing waits while a worker runs nothing, and nothing waits for ever.
            assert not self.stopping
            assert self.failure is None
            assert all(worker.load.active for worker in self._ready())

    # -- private ----------------------------------------------------------------------------------

    def _move(self, worker: _Worker, event: WorkerEvent) -> None:
        worker.state = TRANSITIONS[worker.state, event]

    def _deadline(self, worker: _Worker) -> float:
        if worker.state is _S.STARTING:
            return worker.start_deadline
        return self._stop_deadline if worker.state is _S.DRAINING else worker.kill_deadline

    def _ready(self) -> list[_Worker]:
        return [worker for worker in self._workers.values() if worker.state is _S.READY]

    def _place(self, invocation: Invocation) -> _Worker | None:
        if invocation.pinned and (pinned := self._pinned_to(invocation)) is not None:
            return pinned
        chosen = choose(
            (worker.id, worker.load) for worker in self._workers.values() if worker.state is _S.READY
        )
        return None if chosen is None else self._workers[chosen]

    def _pinned_to(self, invocation: Invocation) -> _Worker | None:
        worker = self._workers.get(self._pins.get((invocation.key.run, invocation.key.node), 0))
        return worker if worker is not None and worker.state is _S.READY else None

    def _assign(self, worker: _Worker, invocation: Invocation) -> Assign:
        key = invocation.key
        worker.invoked += 1
        expected_s = self._durations.expected_s(invocation.code.digest)
        lease = Lease(worker.id, worker.invoked, invocation, worker.load, expected_s)
        self._leases[key] = worker.leases[key] = lease
        if invocation.pinned:
            self._pins[key.run, key.node] = worker.id
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
                    actions += [ReportCancelled(key), *self.ended(key, None)]
        return actions

    def _end_leases(self, worker: _Worker, status: int | None, current: int) -> list[Action]:
        actions: list[Action] = []
        for key, lease in worker.leases.items():
            del self._leases[key]
            self._ladder.forget(key)
            if lease.cancelled:
                actions.append(ReportCancelled(key))
            else:
                charged = lease.number == current
                loss = WorkerLoss(worker.id, worker.pid, status, charged=charged)
                actions.append(ReportLost(key, loss))
        return actions

    def _replace(self, now: float) -> list[Action]:
        if len(self._failed_starts) < FAILED_STARTS_LIMIT:
            return self.start(now)
        if self.failure is None:
            self.failure = PoolBroken(tuple(self._failed_starts))
        lost: list[Action] = [ReportLost(key, self._never_started()) for key in self._line]
        self._line.clear()
        return lost

    def _never_started(self) -> WorkerLoss:
        last = self._failed_starts[-1] if self._failed_starts else None
        return WorkerLoss(self._spawned, 0, last, charged=False)
