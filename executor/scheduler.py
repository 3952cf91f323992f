"""Which attempt runs next in a pool, and on which of its workers.

The rules are in ``line``, ``scheduling`` and ``placement``; here they are applied to workers and leases.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Final

from executor.host import Invocation
from executor.lease import Lease
from executor.line import Line
from executor.placement import Durations, choose
from executor.scheduling import ALONE, CPUS, Ledger, Totals
from executor.worker_states import WorkerRecord, WorkerState
from protocol.messages import AttemptKey, Digest, NodeId, RunId
from protocol.values import size_bytes

LARGE_CODE_BYTES: Final = 64 * 1024
"""Code from this size on is a reason to choose the worker that has it."""

LARGE_CODES_LIMIT: Final = 1000
"""So many of them are known of each worker; then that is learned anew."""

_NOTHING: Final[frozenset[str]] = frozenset()
_PROCESSORS: Final = frozenset({CPUS})


class Scheduler:
    """What waits in ``line``, and what those that run have claimed.

    ``workers`` are the pool's own, and so are ``totals``, which grow and shrink as agents come and go.
    """

    def __init__(self, workers: dict[int, WorkerRecord], totals: Totals, size: int) -> None:
        self.line = Line()
        self._workers = workers
        self._totals = totals
        self._size = size
        self._ledger = Ledger(totals)
        self._durations = Durations()
        self._pins: dict[tuple[RunId, NodeId], int] = {}
        # What waits lacks a resource, so others may go first.
        self._is_passable = False

    @property
    def totals(self) -> Totals:
        """The resources that attempts may claim."""
        return {CPUS: max(self._size, len(self._workers)), **self._totals}

    @property
    def free(self) -> Totals:
        """What of them nobody claims now."""
        named = {name: self._ledger.free(name) for name in self._totals if name != CPUS}
        return {CPUS: max(0.0, self._free_cpus()), **named}

    @property
    def is_saturated(self) -> bool:
        """Whether those that wait lack nothing but room in a worker."""
        return bool(self.line) and not self._is_passable

    def enter(self, invocation: Invocation) -> WorkerRecord | None:
        """Find a worker for a new invocation, before which nobody waits; else it stands in line."""
        if not self.line:
            worker = None if self._lacks(invocation) else self._place(invocation)
            if worker is not None:
                return worker
        elif invocation.pinned and not invocation.demand and (pinned := self._pinned_to(invocation)):
            return pinned
        self.line.add(invocation)
        return None

    def may_have_moved(self, invocation: Invocation) -> bool:
        """Whether one that has just entered the line may have a place though others wait."""
        return self._is_passable or self.line.first() is invocation

    def next(self) -> tuple[WorkerRecord, Invocation] | None:
        """Who in line can run now, and where. What lacks a resource keeps others that need it behind."""
        lacking: set[str] = set()
        while (invocation := self.line.first(lacking)) is not None:
            lacks = self._lacks(invocation)
            if not lacks:
                worker = self._place(invocation)
                if worker is not None:
                    return worker, invocation
                break
            lacking |= lacks
            if CPUS in lacks:
                break  # all need those
        self._is_passable = bool(lacking)
        return None

    def begin(self, worker: WorkerRecord, invocation: Invocation) -> Lease:
        """Lease an attempt to a worker."""
        code = invocation.code
        worker.invoked += 1
        expected_s = self._durations.expected_s(code.digest)
        if invocation.demand:
            expected_s = math.inf  # nothing may stand behind it
            self._ledger.claim(invocation.demand)
            worker.claiming += 1
        if size_bytes(code.payload) >= LARGE_CODE_BYTES:
            if len(worker.large_codes) >= LARGE_CODES_LIMIT:
                worker.large_codes.clear()
            worker.large_codes.add(code.digest)
        if invocation.pinned:
            self._pins[invocation.key.run, invocation.key.node] = worker.id
        return Lease(worker.id, worker.invoked, invocation, worker.load, expected_s)

    def end(self, lease: Lease) -> None:
        """A lease is over; what it has claimed is free again."""
        lease.end()
        if lease.demand:
            self._ledger.give_back(lease.demand)
            if lease.worker in self._workers:
                self._workers[lease.worker].claiming -= 1

    def note_end(self, code: Digest, seconds: float, output_bytes: int = 0) -> None:
        """A body of this code has ended, after so much stepping and with so much output."""
        self._durations.note(code, seconds, output_bytes)

    # -- pins ---------------------------------------------------------------------------------------

    def pinned_workers(self) -> set[int]:
        """The workers that keep a node's state."""
        return set(self._pins.values())

    def unpin(self, run: RunId) -> list[int]:
        """Forget the pins of a run: the workers that may keep state for it."""
        pinned = {pin: worker for pin, worker in self._pins.items() if pin[0] == run}
        for pin in pinned:
            del self._pins[pin]
        return sorted(set(pinned.values()))

    # -- checking -----------------------------------------------------------------------------------

    def check(self, leases: dict[AttemptKey, Lease]) -> None:
        """Assert the invariants."""
        for worker in self._workers.values():
            assert worker.claiming == sum(bool(lease.demand) for lease in worker.leases.values())
        self._ledger.check(lease.demand for lease in leases.values() if lease.demand)
        assert not leases.keys() & set(self.line)
        # Nothing waits that could run.
        assert self.next() is None

    # -- private ------------------------------------------------------------------------------------

    def _lacks(self, invocation: Invocation) -> frozenset[str]:
        if not invocation.demand:
            return _NOTHING
        if invocation.demand == ALONE:
            return _PROCESSORS if any(each.load.active for each in self._workers.values()) else _NOTHING
        return self._ledger.lacking(invocation.demand, self._free_cpus())

    def _free_cpus(self) -> float:
        workers = self._workers.values()
        cpus = self._totals.get(CPUS)
        if cpus is None:  # each worker brings one
            cpus = sum(worker.was_ready for worker in workers)
        return cpus - self._ledger.claimed_cpus - sum(worker.is_plainly_busy for worker in workers)

    def _place(self, invocation: Invocation) -> WorkerRecord | None:
        if invocation.pinned and (pinned := self._pinned_to(invocation)) is not None:
            return pinned
        code = invocation.code
        depth = 1 if invocation.demand else self._durations.depth(code.digest)
        loads = ((worker.id, worker.load) for worker in self._candidates(invocation) if worker.is_open)
        size = size_bytes(code.payload)
        if size < LARGE_CODE_BYTES:
            chosen = choose(loads, depth)
        else:
            chosen = choose(loads, depth, dict.fromkeys(self._holders(code.digest), size))
        return None if chosen is None else self._workers[chosen]

    def _candidates(self, invocation: Invocation) -> Iterable[WorkerRecord]:
        """Those whose processor is in use anyway, where none is left for one more."""
        workers = self._workers.values()
        if invocation.demand or (self._ledger.is_untouched and CPUS not in self._totals):
            return workers
        if self._free_cpus() >= 1:
            return workers
        return [worker for worker in workers if worker.is_plainly_busy]

    def _holders(self, code: Digest) -> Iterator[int]:
        return (worker.id for worker in self._workers.values() if code in worker.large_codes)

    def _pinned_to(self, invocation: Invocation) -> WorkerRecord | None:
        worker = self._workers.get(self._pins.get((invocation.key.run, invocation.key.node), 0))
        return worker if worker is not None and worker.state is WorkerState.READY else None
