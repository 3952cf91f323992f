"""Who works for a pool: its workers, from their spawning to their end."""

from __future__ import annotations

import math
from collections import Counter
from typing import Final

from executor.actions import (
    Action,
    DismissSite,
    DrainWorker,
    KillWorker,
    SpawnWorker,
    TerminateWorker,
)
from executor.errors import PoolBroken
from executor.host import WorkerLoss
from executor.lease import Lease
from executor.leavings import describe_ended, note_left
from executor.placement import Load
from executor.scheduling import Totals
from executor.sites import Sites
from executor.worker_states import WorkerEvent, WorkerRecord, WorkerState
from protocol.client_messages import WorkerStatus
from protocol.messages import LeftRunning

START_S: Final = 60.0
"""A worker that has not said Hello by then is late."""

LATE_START_S: Final = 10.0
"""So long it may still take: nobody may have greeted it, the pool's owner being busy elsewhere."""

STARTING_LIMIT: Final = 64
"""So many workers of a site are started at once. Each is an order and a report of the zygote's, which
waits where too many are under way, as the pool does: both would wait for ever."""

PARTED_S: Final = 1.0
"""So long a worker may live on that has ended its connection."""

_S: Final = WorkerState
_E: Final = WorkerEvent


class Roster:
    """The workers that have not ended, and the sites that they belong to.

    ``grace_s``: how long one may take that was told to end.
    """

    def __init__(self, size: int, grace_s: float, totals: Totals) -> None:
        self.failure: PoolBroken | None = None
        self.stopping = False
        self._grace_s = grace_s
        self._sites = Sites(size, totals)
        self._workers: dict[int, WorkerRecord] = {}
        self._spawned = 0

    # -- from spawning to the end -------------------------------------------------------------------

    def start(self, now: float) -> list[Action]:
        """Spawn what is missing to the size of each site; of many, some until those have come."""
        actions: list[Action] = []
        if self.stopping or self.failure is not None:
            return actions
        found = Counter((worker.site, worker.state) for worker in self._workers.values())
        for site, size in self._sites.sizes.items():
            starting = found[site, _S.STARTING]
            missing = size - starting - found[site, _S.READY]
            for _ in range(min(missing, STARTING_LIMIT - starting)):
                self._spawned += 1
                self._workers[self._spawned] = WorkerRecord(self._spawned, now + START_S, site)
                actions.append(SpawnWorker(self._spawned))
        return actions

    def kill(self, worker: int | None) -> list[Action]:
        """Give a worker up: it broke the protocol, or does not answer."""
        known = None if worker is None else self._workers.get(worker)
        if known is None or (known.state is _S.KILLED and known.deadline == math.inf):
            return []
        known.move(_E.KILL)
        return [KillWorker(known.id)]

    def give_up_late(self, now: float) -> list[Action]:
        """Kill those that have not left their state in time; one that starts has a second chance."""
        actions: list[Action] = []
        for worker in self._workers.values():
            if worker.deadline > now:
                continue
            if worker.state is _S.STARTING and not worker.is_late:
                worker.is_late = True
                worker.deadline = now + LATE_START_S
            else:
                actions += self.kill(worker.id)
        return actions

    def parted(self, worker: int, now: float) -> None:
        """A worker has ended its connection, which mostly is the first that is seen of its end."""
        known = self._workers[worker]
        if known.state is not _S.KILLED:
            known.deadline = min(known.deadline, now + PARTED_S)

    def terminate(self, worker: int, now: float) -> list[Action]:
        """Give a worker up, by SIGTERM first."""
        known = self._workers[worker]
        if known.state is _S.KILLED:
            return []
        known.move(_E.KILL, now + self._grace_s)
        return [TerminateWorker(known.id)]

    def drain(self, worker: WorkerRecord, now: float) -> list[Action]:
        """Let a worker end when it has done what it has."""
        worker.move(_E.DRAIN, now + self._grace_s)
        return [DrainWorker(worker.id)]

    def gives_up(self) -> bool:
        """Whether no worker comes up here; ``failure`` says so from then on."""
        if self.failure is None and self._sites.is_broken:
            starts = self._sites.local_starts
            self.failure = PoolBroken(tuple(starts.statuses), starts.output)
        return self.failure is not None

    # -- looking ------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """How many workers there are to be."""
        return self._sites.size

    def site_of(self, worker: int) -> int:
        """Where a worker that has not ended was started, or is to be."""
        return self._workers[worker].site

    def state(self, worker: int) -> WorkerState:
        known = self._workers.get(worker)
        return WorkerState.EXITED if known is None else known.state

    def load_of(self, worker: int) -> Load:
        """How busy a live worker is, as placement sees it."""
        return self._workers[worker].load

    def statuses(self) -> list[WorkerStatus]:
        """All workers, for people to see."""
        return [
            WorkerStatus(
                each.id, each.pid, each.state.value, each.site, each.load.active, each.load.suspended
            )
            for each in self._workers.values()
        ]

    def started(self, worker: int, pid: int) -> None:
        """The worker's process exists."""
        if worker in self._workers:
            self._workers[worker].pid = pid

    def left_running(self, worker: int, message: LeftRunning) -> str | None:
        """A worker says what a body has left there: something to say of it, if there is."""
        known = self._workers.get(worker)
        return None if known is None else note_left(known, message)

    def ended_with(self, worker: int, left: dict[int, str], current: int) -> str | None:
        """What was killed with a worker, which was stepping ``current``: something to say of it."""
        known = self._workers.get(worker)
        return None if known is None or not left else describe_ended(known, left, current)

    def worker_of(self, pid: int) -> int | None:
        """Which live worker a process is, if any."""
        return next((each.id for each in self._workers.values() if each.pid == pid), None)

    @property
    def starting(self) -> bool:
        """Whether some worker may still become ready, or has greeted before its process was reported."""
        return any(
            worker.state is WorkerState.STARTING
            or (worker.state is WorkerState.READY and not worker.pid)
            for worker in self._workers.values()
        )

    @property
    def ending(self) -> bool:
        """Whether some worker was told to end and has not."""
        return any(
            worker.state in (WorkerState.DRAINING, WorkerState.KILLED)
            for worker in self._workers.values()
        )

    def lease_numbered(self, worker: int, number: int) -> Lease | None:
        """The lease of the attempt that has this number in its worker's page."""
        known = self._workers.get(worker)
        return None if known is None else known.lease_numbered(number)

    def _workers_at(self, site: int) -> list[WorkerRecord]:
        return [worker for worker in self._workers.values() if worker.site == site]

    def _dismiss(self) -> list[Action]:
        """Sites that leave and have no workers any more are done with."""
        done = [site for site in self._sites.leaving if not self._workers_at(site)]
        return [DismissSite(site, self._sites.leaving.pop(site)) for site in done]

    def _never_started(self) -> WorkerLoss:
        statuses = self._sites.local_starts.statuses
        last = statuses[-1] if statuses else None
        return WorkerLoss(self._spawned, 0, last, charged=False)
