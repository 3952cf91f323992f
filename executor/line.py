"""Who is next: attempts that wait for a worker, by priority, and the runs in turn.

So one run with a million small bodies delays another of the same priority by one body, not by a
million. Within a run, ``scheduling.rank_of`` decides.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from heapq import heappop, heappush
from typing import TypeAlias

from executor.host import Demand, Invocation
from executor.scheduling import Rank, rank_of
from protocol.messages import AttemptKey, RunId

_Queue: TypeAlias = list[tuple[Rank, AttemptKey]]


class Line:
    """Invocations in the order in which they are to be served; iterating gives their keys."""

    def __init__(self) -> None:
        self._waiting: dict[AttemptKey, Invocation] = {}
        # Heaps, one for each run and demand, so that what lacks a resource can be passed by. They may
        # hold keys that wait no more, but not at the top.
        self._queues: dict[tuple[RunId, Demand], _Queue] = {}
        self._turns: dict[RunId, int] = {}  # of the runs that wait: the least is served next
        self._counter = itertools.count()
        self._before_all = itertools.count(-1, -1)

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def __contains__(self, key: AttemptKey) -> bool:
        return key in self._waiting

    def __iter__(self) -> Iterator[AttemptKey]:
        return iter(self._waiting)

    def add(self, invocation: Invocation) -> None:
        """Let one wait, behind those of its run that rank as it does."""
        self._add(invocation, next(self._counter))

    def put_back(self, invocation: Invocation) -> None:
        """Let one wait that was served before all that are here, before those that rank as it does."""
        self._add(invocation, next(self._before_all))

    def _add(self, invocation: Invocation, arrival: int) -> None:
        key = invocation.key
        name = key.run, invocation.demand
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = []
            self._turns.setdefault(key.run, arrival)
        heappush(queue, (rank_of(invocation, arrival), key))
        self._waiting[key] = invocation

    def first(self, lacking: Collection[str] = ()) -> Invocation | None:
        """The one to be served next of those that need nothing of what is ``lacking``."""
        if len(self._queues) == 1 and not lacking:
            [queue] = self._queues.values()
            return self._waiting[queue[0][1]]
        best: AttemptKey | None = None
        best_rank: tuple[float, int, Rank] | None = None
        for (run, demand), queue in self._queues.items():
            if lacking and any(name in lacking for name, _ in demand):
                continue
            rank, key = queue[0]
            full_rank = rank[0], self._turns[run], rank
            if best_rank is None or full_rank < best_rank:
                best, best_rank = key, full_rank
        return None if best is None else self._waiting[best]

    def take(self, invocation: Invocation) -> None:
        """Serve one; its run stands behind the others then."""
        self.remove(invocation.key)
        if invocation.key.run in self._turns:
            self._turns[invocation.key.run] = next(self._counter)

    def remove(self, key: AttemptKey) -> bool:
        """Serve it no more; False if it does not wait here."""
        invocation = self._waiting.pop(key, None)
        if invocation is None:
            return False
        name = key.run, invocation.demand
        queue = self._queues[name]
        while queue and queue[0][1] not in self._waiting:
            heappop(queue)
        if not queue:
            del self._queues[name]
            if not any(run == key.run for run, _ in self._queues):
                del self._turns[key.run]
        return True

    def clear(self) -> None:
        self._waiting.clear()
        self._queues.clear()
        self._turns.clear()
