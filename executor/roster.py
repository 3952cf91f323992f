"""Who works for a pool: its workers by number, and what is asked about them."""

from __future__ import annotations

from executor.placement import Load
from executor.sites import Sites
from executor.worker_states import WorkerRecord, WorkerState
from protocol.client_messages import WorkerStatus
from protocol.messages import AttemptKey


class Roster:
    """The workers that have not ended, and the sites that they belong to."""

    def __init__(self, size: int) -> None:
        self._sites = Sites(size)
        self._workers: dict[int, WorkerRecord] = {}

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

    def worker_of(self, pid: int) -> int | None:
        """Which live worker a process is, if any."""
        return next((each.id for each in self._workers.values() if each.pid == pid), None)

    @property
    def starting(self) -> bool:
        """Whether some worker may still become ready."""
        return any(worker.state is WorkerState.STARTING for worker in self._workers.values())

    @property
    def ending(self) -> bool:
        """Whether some worker was told to end and has not."""
        return any(
            worker.state in (WorkerState.DRAINING, WorkerState.KILLED)
            for worker in self._workers.values()
        )

    def key_of(self, worker: int, number: int) -> AttemptKey | None:
        """Which attempt has this number in its worker's page."""
        known = self._workers.get(worker)
        lease = None if known is None else known.lease_numbered(number)
        return None if lease is None else lease.key

    def _workers_at(self, site: int) -> list[WorkerRecord]:
        return [worker for worker in self._workers.values() if worker.site == site]
