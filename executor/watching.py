"""When to look after workers, and what is wrong with them: pure decisions on what is seen there.

Theory of operation. Two clocks run. While some leased attempt may only take so long, pages are looked at
four times within the shortest such time: whoever is found computing is looked at again when its time is
up, so nobody is found late. While some worker is busy, its process is examined twice a second: how
much memory it holds, and whether it has been stopped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from executor.host import LossReason
from executor.ladder import TICK_S, Look
from executor.lease import Lease
from executor.limits import Limits
from executor.worker_states import WorkerRecord, WorkerState

EXAMINE_S: Final = 0.5
_LOOKS: Final = 4  # within the shortest time that an attempt may take


@dataclass(frozen=True, slots=True)
class Vitals:
    """What the system says of a worker's process."""

    resident_bytes: int
    is_stopped: bool


@dataclass(frozen=True, slots=True)
class Overrun:
    """A limit, in seconds or bytes, and what was found instead."""

    reason: LossReason
    limit: float
    found: float


class TimeWatch:
    """Finds attempts that compute for longer than they may; waiting for streams does not count."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._timed = 0
        self._shortest_s = math.inf
        self._look_at = 0.0

    def begin(self, timeout_s: float) -> None:
        """An attempt was leased that may take so long."""
        self._timed += 1
        if timeout_s < self._shortest_s:
            self._shortest_s = timeout_s
            self._look_at = 0.0

    def end(self) -> None:
        """Such an attempt has ended."""
        self._timed -= 1
        if not self._timed:
            self._shortest_s = math.inf

    def next_deadline(self) -> float:
        return self._look_at if self._timed else math.inf

    def overdue(self, workers: Iterable[WorkerRecord], now: float) -> list[tuple[Lease, Overrun]]:
        """Who has computed for too long. Calling it early or again finds nobody twice."""
        if not self._timed or now < self._look_at:
            return []
        found = []
        next_look = now + max(TICK_S, self._shortest_s / _LOOKS)
        for worker in workers:
            seen = self._look(worker.id)
            lease = worker.lease_numbered(seen.number)
            if lease is None or lease.is_ending or lease.timeout_s is None:
                continue
            due = seen.since + lease.timeout_s  # compared as it is announced: sums are rounded
            if now >= due:
                found.append((lease, Overrun(LossReason.TIMEOUT, lease.timeout_s, now - seen.since)))
            else:
                next_look = min(next_look, due)
        self._look_at = next_look
        return found


def overrun_of(
    worker: WorkerRecord, running: Lease | None, vitals: Vitals, limits: Limits, now: float
) -> Overrun | None:
    """Why a worker, which runs this, must be killed, if it must. Notes in it what else was seen."""
    if not vitals.is_stopped:
        worker.stopped_since = math.inf
    elif worker.state is WorkerState.READY:
        worker.stopped_since = min(worker.stopped_since, now)
        stopped_s = now - worker.stopped_since
        if stopped_s >= limits.unresponsive_after_s:
            return Overrun(LossReason.UNRESPONSIVE, limits.unresponsive_after_s, stopped_s)
    hard, soft = limits.memory_hard_bytes, limits.memory_soft_bytes
    if running is not None and running.memory_hard_bytes is not None:
        hard = running.memory_hard_bytes
    if hard is not None and vitals.resident_bytes > hard:
        return Overrun(LossReason.MEMORY, hard, vitals.resident_bytes)
    if soft is not None and vitals.resident_bytes > soft:
        worker.is_worn = True
    return None
