"""Timers: a heap of deadlines, cancelled in O(1), equal deadlines in the order they were set.

Theory of operation. The heap holds ``(deadline, order)``; what a timer does stands in a dict by its
order. Cancelling removes it from the dict alone and leaves a dead entry in the heap; when a timer is
added and more than half of the heap is dead it is rebuilt, so a cancel costs O(1) amortized and memory
stays bounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final

_SPARE: Final = 64  # dead entries that are not worth a rebuild


class Timers:
    """A set of deadlines, each with a callback; knows no clock."""

    def __init__(self) -> None:
        self.heap: list[tuple[float, int]] = []  # always this list; the loop looks at its head
        self._live: dict[int, Callable[[], object]] = {}
        self._orders = count()

    def __len__(self) -> int:
        return len(self._live)

    def add(self, deadline: float, callback: Callable[[], object]) -> int:
        """Call ``callback`` once ``deadline`` has come; returns the number that cancels it."""
        if deadline != deadline:  # noqa: PLR0124 - NaN, which no order puts anywhere
            raise ValueError("a deadline must be a number, not NaN")
        if len(self.heap) > 2 * len(self._live) + _SPARE:
            self.heap[:] = [entry for entry in self.heap if entry[1] in self._live]
            heapify(self.heap)
        order = next(self._orders)
        heappush(self.heap, (deadline, order))
        self._live[order] = callback
        return order

    def discard(self, order: int) -> None:
        """Cancel a timer; one that has fired or was cancelled is ignored."""
        self._live.pop(order, None)

    def next_deadline(self) -> float:
        """The earliest deadline, inf if there is none."""
        heap = self.heap
        while heap and heap[0][1] not in self._live:
            heappop(heap)
        return heap[0][0] if heap else math.inf

    def fire(self, now: float) -> None:
        """Call all whose deadline is not after ``now``, in order.

        A callback may add and discard timers; one that it adds for ``now`` fires too.
        """
        while self.heap and self.heap[0][0] <= now:
            callback = self._live.pop(heappop(self.heap)[1], None)
            if callback is not None:
                callback()

    def clear(self) -> None:
        """Cancel all."""
        self.heap.clear()
        self._live.clear()
