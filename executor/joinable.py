"""A pool that agents join: each brings worker processes that it starts, and takes them away again.

Theory of operation. An *agent* is another process of this user on this host with a zygote of its own.
The pool orders each worker of it with a token and a page, as from its own zygote; the worker connects to
the pool by itself and proves itself like any other. The agent reports what its zygote reports. The pool
watches the workers' processes, which the kernel names, so what an agent says late loses nothing. When an
agent is gone so are its workers: its zygote sees to that.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol, Unpack

from executor.limits import LimitOptions
from executor.orders import Exited, NotStarted, Started
from executor.output import Print
from executor.pool import Pool
from executor.resources import reserve_descriptors
from executor.scheduling import CPUS, MEMORY, checked_resources
from executor.sites import LOCAL
from executor.sizing import checked_size
from protocol.client_messages import WorkerStatus

log = logging.getLogger(__name__)


class Agent(Protocol):
    """Who starts workers elsewhere.

    ``descriptors`` are of this process: a page, and pipes for standard output and error.
    """

    pid: int

    def spawn(self, worker: int, token: bytes, descriptors: list[int]) -> None: ...

    def dismiss(self, reason: str) -> None: ...


@dataclass(slots=True)
class _Site:
    agent: Agent
    size: int
    ordered: dict[int, list[int]] = field(default_factory=dict)  # descriptors of workers to be started

    def close(self, worker: int) -> bool:
        """Give back what a worker was ordered with; False if it has been already."""
        descriptors = self.ordered.pop(worker, None)
        for descriptor in descriptors or ():
            os.close(descriptor)
        return descriptors is not None


class JoinablePool(Pool):
    """A pool of ``workers`` processes of its own, maybe none, and those that agents bring.

    ``show`` is given what workers print, wherever they are.
    """

    def __init__(
        self,
        workers: int | None,
        show: Print,
        resources: Mapping[str, float] | None = None,
        **limits: Unpack[LimitOptions],
    ) -> None:
        self._sites: dict[int, _Site] = {}
        super().__init__(workers, show=show, resources=resources, **limits)

    @staticmethod
    def _checked_size(workers: int | None) -> int:
        return 0 if workers == 0 else checked_size(workers)

    # -- agents ------------------------------------------------------------------------------------

    def join(self, agent: Agent, workers: int, resources: Mapping[str, float] | None = None) -> int:
        """Order so many workers of an agent, now and as they end; the number of its site.

        ``resources`` are added to the pool's until the agent leaves; bodies of any worker claim them.

        Raises:
            TypeError, ValueError: the number is not a positive one, or the resources make no sense.
            OSError: this process may not have descriptors enough.
        """
        size = checked_size(workers)
        brought = checked_resources(resources)
        if not brought.keys().isdisjoint((CPUS, MEMORY)):
            raise ValueError(f"{CPUS} and {MEMORY} are this host's: the coordinator counts them itself")
        reserve_descriptors(self.workers + size)
        site, actions = self._machine.join(size, monotonic(), brought)
        self._sites[site] = _Site(agent, size)
        self.workers = self._machine.size
        self._do(actions)
        return site

    def leave(self, site: int) -> None:
        """Let an agent's workers finish what they run; it is dismissed when they have ended."""
        self._do(self._machine.leave(site, monotonic()))
        self.workers = self._machine.size

    def agent_gone(self, site: int) -> None:
        """An agent has ended, and with it its workers; nothing happens if it was dismissed."""
        gone = self._sites.pop(site, None)
        if gone is None:
            return
        now = monotonic()
        self._reception.listen_to_all(now)  # what they said before counts
        for worker in [each for each in self._peers if self._machine.site_of(each) == site]:
            self._registry.bury(worker)
        for worker in list(gone.ordered):
            gone.close(worker)
        self._do(self._machine.zygote_ended(None, now, site=site))
        self.workers = self._machine.size

    def worker_started(self, site: int, worker: int, pid: int) -> None:
        """An agent reports that a worker which was ordered of it exists."""
        if self._was_ordered(site, worker):
            try:
                pidfd = os.pidfd_open(pid)
            except ProcessLookupError:  # its end will be reported next, and blamed by its pid
                self._machine.started(worker, pid)
                return
            self._registry.note(Started(worker, pid), [pidfd], monotonic())

    def worker_not_started(self, site: int, worker: int, reason: str) -> None:
        """An agent reports that it could not start a worker."""
        if self._was_ordered(site, worker):
            self._registry.note(NotStarted(worker, reason), [], monotonic())

    def worker_ended(self, site: int, ended: Exited) -> None:
        """An agent reports how a worker of its ended."""
        if ended.worker in self._peers and self._machine.site_of(ended.worker) == site:
            self._registry.note(ended, [], monotonic())

    def statuses(self) -> list[WorkerStatus]:
        """Its workers, how busy each is, and the pids of the agents that brought them."""
        return [self._with_agent(status) for status in super().statuses()]

    def _with_agent(self, status: WorkerStatus) -> WorkerStatus:
        site = self._sites.get(status.agent)  # the machine names the site
        agent = 0 if site is None else site.agent.pid
        return WorkerStatus(
            status.worker, status.pid, status.state, agent, status.running, status.suspended
        )

    # -- as a pool -----------------------------------------------------------------------------------

    def close(self) -> None:
        """As any pool does; agents notice by themselves that it is over."""
        self._forget_agents()
        super().close()

    def kill(self) -> None:
        """As any pool does; agents notice by themselves that it is over."""
        self._forget_agents()
        super().kill()

    def _forget_agents(self) -> None:
        for site in list(self._sites):
            self.agent_gone(site)

    def _order(self, worker: int) -> None:
        number = self._machine.site_of(worker)
        if number == LOCAL:
            super()._order(worker)
            return
        site = self._sites[number]
        # The agent opens them through our descriptors, which are therefore kept until it has.
        token, site.ordered[worker] = self._resources.prepare(worker)
        site.agent.spawn(worker, token, site.ordered[worker])

    def _dismiss(self, site: int, *, failed: bool) -> None:
        gone = self._sites.pop(site, None)
        if gone is not None:
            self.workers = self._machine.size
            gone.agent.dismiss("none of its workers came up" if failed else "")

    def _was_ordered(self, site: int, worker: int) -> bool:
        """Whether a report is about a worker that was ordered of this agent, the first one."""
        known = self._sites.get(site)
        return known is not None and known.close(worker)
