"""When work that was sent ahead is taken back from a worker, and what of it: pure decisions.

Theory of operation. Brief bodies are sent ahead, many in a row. Where one of them turns out long, or
something of a higher priority comes, its worker is asked for those it has not begun (``Revoke``). It
says between two steps which they are (``Revoked``), and gets nothing new until then. While a body
computes on and on its worker cannot answer. But it begins nothing past the *fence* in its page, and says
there what it began last: all beyond that is taken back without its word.

    pool    fence, Revoke ----- SETTLE_S ----> reads what was begun: the rest is taken back
    worker  -------- a long step -------------------------------------> Revoked: and so are these
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from executor.actions import SendRevoke
from executor.host import Invocation
from executor.ladder import Look
from executor.lease import Lease
from executor.placement import AHEAD_S
from executor.worker_states import WorkerRecord
from protocol.messages import UNLIMITED, AttemptKey, StreamInput

LATE_S: Final = AHEAD_S
"""A body that computes for as long as all in a row were expected to holds up those behind it."""

WORTH_S: Final = 0.002
"""Less work than this in the way of a higher priority is sooner done than taken back."""

SETTLE_S: Final = 0.001
"""After this time a worker sees the fence, and the pool what the worker began before it saw that.

Each of them stores its own cell and then loads the other's; a processor keeps a store to itself for some
hundred nanoseconds. Should one ever keep it longer, a body runs twice, and what the first one reports is
dropped, as its lease is over.
"""


@dataclass(slots=True)
class Revocation:
    """What a worker was asked for and has not answered; ``settle_at``: when to read its page."""

    leases: list[Lease]
    settle_at: float


class Revoker:
    """Decides for the ``workers`` of a pool, whose records keep what they were asked for."""

    def __init__(self, workers: dict[int, WorkerRecord], look: Look) -> None:
        self._workers = workers
        self._look = look
        self._look_at = 0.0
        self._lowest = -math.inf  # priority of all that stands behind others; a high number
        self._is_challenged = False

    def sent_ahead(self, lease: Lease, invocation: Invocation) -> None:
        """A lease stands behind others."""
        lease.sent_ahead = invocation
        self._lowest = max(self._lowest, invocation.priority)

    def comes(self, priority: float) -> None:
        """Something new is to be run."""
        if priority < self._lowest:
            self._is_challenged = True

    def next_deadline(self) -> float:
        """When to ask what is ``due`` and ``settled``."""
        if self._is_challenged:
            return 0.0
        earliest = math.inf
        for worker in self._workers.values():
            if worker.revocation is not None:
                earliest = min(earliest, worker.revocation.settle_at)
            elif worker.load.active > 1 and len(self._workers) > 1:  # somebody may take what is late
                earliest = min(earliest, self._look_at)
        return earliest

    def due(self, waiting: Invocation | None, now: float) -> list[SendRevoke]:
        """Whom to ask, and for what. ``waiting`` is the first in line, if any."""
        asked = []
        if self._is_challenged:
            self._is_challenged = False
            asked += self._make_way(waiting, now)
        if now >= self._look_at:
            self._look_at = now + LATE_S
            if sum(worker.is_open for worker in self._workers.values()) > 1:
                asked += self._relieve(now)
        return asked

    def settled(self, now: float) -> list[Lease]:
        """What was certainly not begun by workers that have not answered, and never will be."""
        leases = []
        for worker in self._workers.values():
            asked = worker.revocation
            if asked is not None and asked.settle_at <= now:
                asked.settle_at = math.inf
                begun = self._look(worker.id).begun
                leases += [each for each in _still_held(worker, asked) if each.number > begun]
        # Of those that are told to end the worker says how they have ended.
        return [lease for lease in leases if not lease.is_ending]

    def answered(self, worker: WorkerRecord, keys: list[AttemptKey]) -> list[Lease]:
        """What a worker gives back by its answer."""
        asked, worker.revocation = worker.revocation, None
        if asked is None:
            return []
        given = set(keys)
        return [lease for lease in _still_held(worker, asked) if lease.key in given]

    # -- private ------------------------------------------------------------------------------------

    def _relieve(self, now: float) -> list[SendRevoke]:
        """Ask those whose body takes longer than all there were expected to."""
        asked = []
        for worker in self._workers.values():
            if worker.load.active > 1 and worker.revocation is None:
                seen = self._look(worker.id)
                lease = worker.lease_numbered(seen.number)
                if lease is None:
                    continue
                if now < seen.since + LATE_S:
                    self._look_at = min(self._look_at, seen.since + LATE_S)
                    continue
                lease.turns_out_long()
                asked += _ask(worker, _revocable(worker, seen.begun), now)
        return asked

    def _make_way(self, waiting: Invocation | None, now: float) -> list[SendRevoke]:
        """Ask for what would begin before something of a higher priority.

        That may stand behind it; or it waits, and then one worker is to make room.
        """
        asked = []
        self._lowest = -math.inf
        for worker in self._workers.values():
            if worker.load.active < 2 or worker.revocation is not None:
                continue
            highest = math.inf if waiting is None else waiting.priority
            behind = _revocable(worker, self._look(worker.id).begun)
            in_the_way: list[Lease] = []
            for lease in reversed(behind):
                self._lowest = max(self._lowest, lease.priority)
                highest = min(highest, lease.priority)
                if lease.priority > highest:
                    in_the_way.append(lease)
            if sum(lease.expected_s for lease in in_the_way) >= WORTH_S:
                waiting = None
                asked += _ask(worker, in_the_way[::-1], now)
        return asked


def _ask(worker: WorkerRecord, leases: list[Lease], now: float) -> list[SendRevoke]:
    if not leases:
        return []
    worker.revocation = Revocation(leases, now + SETTLE_S)
    return [SendRevoke(worker.id, tuple(lease.key for lease in leases), leases[0].number)]


def _still_held(worker: WorkerRecord, asked: Revocation) -> list[Lease]:
    return [lease for lease in asked.leases if worker.leases.get(lease.key) is lease]


def _revocable(worker: WorkerRecord, begun: int) -> list[Lease]:
    """What stands behind others, of which nothing was said to the worker since it was sent."""
    return [
        lease
        for lease in worker.leases.values()
        if lease.number > begun
        and not lease.is_ending
        and (sent := lease.sent_ahead) is not None
        and not sent.pinned
        # Nobody reads what it may yield, and it reads no stream: it is told nothing but to end.
        and sent.credit == UNLIMITED
        and not any(isinstance(each, StreamInput) for each in sent.inputs)
    ]
