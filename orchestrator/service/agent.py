"""A process that brings workers to a coordinator: ``orchestrator worker ENDPOINT``.

Theory of operation. It joins as a client and starts workers when the coordinator orders them, from a
zygote of its own; the workers connect by themselves. It runs no user code. When it leaves, the
coordinator gives its workers nothing new and dismisses it when they have ended. When the coordinator or
this process ends for whatever reason, the zygote ends the workers.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

import msgspec

from executor.nursery import Nursery
from executor.orders import Exited, NotStarted, Setup, Started, ZygoteReport, current_setup
from executor.sizing import checked_size, usable_cores
from orchestrator.service.errors import AgentFailed, RequestRejected, require_linux
from orchestrator.service.link import ServiceLink
from orchestrator.service.signals import ending_signals_noted, interrupt, on_ending_signals
from protocol.client_messages import (
    Confirmed,
    Dismissed,
    Join,
    Leave,
    Rejected,
    SpawnWorker,
    ToClient,
    WorkerEnded,
    WorkerNotStarted,
    WorkerStarted,
)
from protocol.framing import Envelope

_JOIN: Final = 1  # the only request
_MODES: Final = (os.O_RDWR, os.O_WRONLY, os.O_WRONLY)  # of a worker's page and its two pipes


def bring_workers(
    endpoint: str,
    workers: int | None,
    say: Callable[[str], None],
    resources: Mapping[str, float] | None = None,
) -> None:
    """Serve a coordinator with so many worker processes (default: one per usable processor).

    ``resources`` may be claimed by bodies, beside the coordinator's own, until it leaves.

    It returns when it has left: SIGINT and SIGTERM let it finish what runs, a second one ends it at
    once. ``say`` is told in sentences what happens. Call it in the main thread.

    Raises:
        NobodyListens, VersionMismatch, EndpointError, InsecureTransport: as ``ServiceLink`` does.
        CoordinatorLost: the coordinator has ended.
        AgentFailed: no worker comes up here.
        RequestRejected: the coordinator does not want it.
        KeyboardInterrupt: the second signal.
    """
    require_linux()
    size = checked_size(workers)
    with on_ending_signals(interrupt):
        agent = _Agent(endpoint, size, resources or {})
        try:
            agent.join()
            with ending_signals_noted() as signals:  # orders arrive now: none may be torn
                say(f"serving {agent.endpoint} (pid {agent.coordinator}); workers: {size}")
                agent.serve(signals, say)
        finally:
            with on_ending_signals(signal.SIG_IGN):  # it does not take long
                agent.close()


class _Agent:
    def __init__(self, endpoint: str, size: int, resources: Mapping[str, float]) -> None:
        self._link = ServiceLink(endpoint, self._hear)
        self.endpoint = self._link.endpoint
        self.coordinator = self._link.pid
        self._size = size
        self._resources = resources
        self._answer: Confirmed | Rejected | None = None
        self._dismissal: Dismissed | None = None
        welcome = self._link.welcome
        try:
            setup = _setup(welcome.worker_endpoint, welcome.sys_path)
            self._nursery = Nursery(setup, max(1, usable_cores() // size))
        except BaseException:
            self._link.close()
            raise

    def join(self) -> None:
        self._link.session.add(Join(_JOIN, self._size, dict(self._resources)))
        self._link.wait_until(lambda: self._answer is not None)
        if isinstance(self._answer, Rejected):
            raise RequestRejected(self._answer.reason)

    def serve(self, signals: int, say: Callable[[str], None]) -> None:
        """Do what the coordinator orders until it dismisses us; leave at the first of ``signals``."""
        channel = self._nursery.channel.fileno()
        is_leaving = False
        while self._dismissal is None:
            ready = self._link.pump(others=[channel, signals])
            if channel in ready:
                self._hear_zygote()
            if signals in ready:
                os.read(signals, 1)
                if is_leaving:
                    raise KeyboardInterrupt
                is_leaving = True
                say("leaving when what runs here has ended (Ctrl-C again: at once)")
                self._link.session.add(Leave())
        if self._dismissal.reason:
            raise AgentFailed(f"the coordinator dismissed these workers: {self._dismissal.reason}")

    def close(self) -> None:
        """End the workers that are left, and disconnect."""
        try:
            self._nursery.end()
        finally:
            self._link.close()

    def _hear(self, message: ToClient, _: Envelope[ToClient]) -> None:
        match message:
            case Confirmed() | Rejected():
                self._answer = message
            case SpawnWorker():
                self._spawn(message)
            case Dismissed():
                self._dismissal = message
            case _:
                raise self._link.lost(f"sent an agent a {type(message).__name__}")

    def _spawn(self, order: SpawnWorker) -> None:
        opened: list[int] = []
        try:
            for theirs, mode in zip(order.descriptors, _MODES, strict=True):
                opened.append(os.open(f"/proc/{self.coordinator}/fd/{theirs}", mode | os.O_CLOEXEC))
            self._nursery.spawn(order.worker, order.token, *opened)
        except (OSError, ValueError) as error:
            problem = f"what the coordinator shares with it cannot be had: {error}"
            self._link.session.add(WorkerNotStarted(order.worker, problem))
        finally:
            for descriptor in opened:
                os.close(descriptor)

    def _hear_zygote(self) -> None:
        with suppress(BlockingIOError):
            while True:
                heard = self._nursery.receive()
                if heard is None:
                    raise AgentFailed("the process that workers are forked from has ended")
                report, descriptors = heard
                for descriptor in descriptors:
                    os.close(descriptor)  # the coordinator opens its own
                self._link.session.add(_told(report))


def _told(report: ZygoteReport) -> WorkerStarted | WorkerNotStarted | WorkerEnded:
    match report:
        case Started(worker, pid):
            return WorkerStarted(worker, pid)
        case NotStarted(worker, reason):
            return WorkerNotStarted(worker, reason)
        case Exited(worker, _, status, peak_kib, left):
            return WorkerEnded(worker, status, peak_kib, left)


def _setup(endpoint: str, sys_path: list[str]) -> Setup:
    """What our workers start with: modules are looked for where the coordinator's own workers do."""
    return msgspec.structs.replace(current_setup(endpoint, ""), sys_path=sys_path)
