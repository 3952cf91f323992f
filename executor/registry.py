"""What becomes of a pool's workers: started, ended, buried."""

from __future__ import annotations

import logging
import math
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, assert_never

from executor.actions import Action, KillWorker, SpawnWorker
from executor.orders import Exited, NotStarted, Started, ZygoteReport
from executor.pool_machine import PoolMachine
from executor.reception import Reception
from executor.resources import Resources
from executor.worker_states import WorkerState

log = logging.getLogger(__name__)

STATUS_S: Final = 1.0
"""How long after a death the zygote may take to say how it came."""


class Registry:
    """Hears of births and deaths and tells the machine.

    ``do`` carries out what follows; ``on_burial`` is told who is gone.
    """

    def __init__(
        self,
        resources: Resources,
        machine: PoolMachine,
        reception: Reception,
        do: Callable[[Sequence[Action]], None],
        on_burial: Callable[[int], object],
    ) -> None:
        self._resources = resources
        self._peers = resources.peers
        self._machine = machine
        self._reception = reception
        self._do = do
        self._on_burial = on_burial
        self._dying: dict[int, float] = {}  # worker -> until when its exit status may come

    def hear_zygote(self, now: float) -> None:
        """Take the zygote's reports."""
        nursery = self._resources.nursery
        while nursery is not None:
            try:
                heard = nursery.receive()
            except BlockingIOError:
                return
            if heard is None:
                self._zygote_ended(now)
                return
            report, descriptors = heard
            self.note(report, descriptors, now)

    def note(self, report: ZygoteReport, descriptors: list[int], now: float) -> None:
        """A worker was started, or not, or has ended."""
        match report:
            case Started(worker, pid):
                self._resources.watch(descriptors[0], worker)
                self._machine.started(worker, pid)
                if self._machine.state(worker) is WorkerState.KILLED:
                    self._resources.send_signal(KillWorker(worker))
            case NotStarted(worker, reason):
                log.error("worker %d could not be started: %s", worker, reason)
                self._exited(worker, None, now)
            case Exited(worker, pid, status, peak_kib, left):
                log.debug("worker %d (pid %d): status %d, peak %d KiB", worker, pid, status, peak_kib)
                self._tell_left(worker, left, now)
                self._exited(worker, status, now, peak_kib * 1024)
            case _:
                assert_never(report)

    def note_death(self, pidfd: int, now: float) -> None:
        """The kernel says that a process has ended."""
        worker = self._resources.noticed(pidfd)
        if worker in self._peers:
            self._dying[worker] = now + STATUS_S  # the zygote will say how it came

    def next_deadline(self) -> float:
        return min(self._dying.values(), default=math.inf)

    def expire(self, now: float) -> None:
        """Wait no longer for the status of those that are dead."""
        for worker, deadline in list(self._dying.items()):
            if deadline <= now:
                self._exited(worker, None, now)

    def bury(self, worker: int) -> None:
        """Show what it printed last and give back what it had."""
        self._reception.read_output(worker)
        self._dying.pop(worker, None)
        self._on_burial(worker)
        self._reception.forget(self._resources.bury(worker))

    def _tell_left(self, worker: int, left: dict[int, str], now: float) -> None:
        if left and worker in self._peers:
            self._reception.listen_to_all(now)  # it may have said whose they are
            warning = self._machine.ended_with(worker, left, self._peers[worker].current)
            if warning is not None:
                log.warning(warning)

    def _exited(self, worker: int, status: int | None, now: float, peak_bytes: int = 0) -> None:
        if worker in self._peers:
            self._reception.listen_to_all(now)  # what it said before counts
            self._reception.read_output(worker)
            current = (peer := self._peers[worker]).current
            evidence = replace(
                peer.evidence(current),
                peak_bytes=peak_bytes,
                out_of_memory=self._ran_out_of_memory(worker, status),
            )
            self.bury(worker)
            self._do(self._machine.exited(worker, status, current, now, evidence))

    def _ran_out_of_memory(self, worker: int, status: int | None) -> bool:
        by_us = self._machine.state(worker) is WorkerState.KILLED
        return status == -signal.SIGKILL and not by_us and self._resources.oom.explains_kill()

    def _zygote_ended(self, now: float) -> None:
        self._reception.listen_to_all(now)
        for worker in list(self._peers):
            self.bury(worker)
        status = self._resources.end_nursery()
        output = self._reception.take_zygote_output()
        actions = self._machine.zygote_ended(status, now, output=output)
        while any(isinstance(action, SpawnWorker) for action in actions):
            try:
                self._resources.start_nursery()
                break
            except OSError:
                log.exception("no process for workers to be forked from could be started")
                actions = [each for each in actions if not isinstance(each, SpawnWorker)]
                actions += self._machine.zygote_ended(None, now)
        self._do(actions)
