"""The agents of a service: clients that bring workers to its pool."""

from __future__ import annotations

import logging

from executor.joinable import JoinablePool
from executor.orders import Exited
from orchestrator.service.session import Client
from protocol.client_messages import (
    Confirmed,
    Dismissed,
    Join,
    Leave,
    Rejected,
    SpawnWorker,
    WorkerEnded,
    WorkerNotStarted,
    WorkerStarted,
)

log = logging.getLogger(__name__)


class Agents:
    """Carries what agents say to the pool, and what the pool orders to them."""

    def __init__(self, pool: JoinablePool) -> None:
        self._pool = pool
        self._sites: dict[Client, int] = {}

    def join(self, client: Client, message: Join) -> None:
        if client in self._sites:
            client.write(Rejected(message.request, "this agent has joined already"))
            return
        try:
            orders = _Orders(client, self._sites)
            self._sites[client] = self._pool.join(orders, message.workers, message.resources)
        except (OSError, ValueError, TypeError) as error:
            client.write(Rejected(message.request, str(error)))
            return
        log.info("process %d joins; workers: %d", client.pid, message.workers)
        client.write(Confirmed(message.request))

    def leave(self, client: Client, _: Leave) -> None:
        site = self._sites.get(client)
        if site is not None:
            log.info("process %d leaves", client.pid)
            self._pool.leave(site)

    def report(self, client: Client, report: WorkerStarted | WorkerNotStarted | WorkerEnded) -> None:
        """Hear what an agent's zygote has said."""
        site = self._sites.get(client)
        if site is None:
            return
        match report:
            case WorkerStarted(worker, pid):
                self._pool.worker_started(site, worker, pid)
            case WorkerNotStarted(worker, reason):
                self._pool.worker_not_started(site, worker, reason)
            case WorkerEnded(worker, status, peak_kib, left):
                self._pool.worker_ended(site, Exited(worker, 0, status, peak_kib, left))

    def client_gone(self, client: Client) -> None:
        site = self._sites.pop(client, None)
        if site is not None:
            log.info("process %d is gone, and with it its workers", client.pid)
            self._pool.agent_gone(site)


class _Orders:
    """One agent, as the pool orders workers of it."""

    def __init__(self, client: Client, sites: dict[Client, int]) -> None:
        self.pid = client.pid
        self._client = client
        self._sites = sites

    def spawn(self, worker: int, token: bytes, descriptors: list[int]) -> None:
        self._client.write(SpawnWorker(worker, token, descriptors))

    def dismiss(self, reason: str) -> None:
        self._sites.pop(self._client, None)
        self._client.write(Dismissed(reason))
