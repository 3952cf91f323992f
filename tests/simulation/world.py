"""A world of its own: one clock, one source of chance, and a log that two equal worlds share."""

from __future__ import annotations

import heapq
import random
import zlib
from collections.abc import Callable
from itertools import count


class Violation(AssertionError):
    """Something happened that FAULTS says never does."""


class World:
    """Time passes only from event to event. ``trace`` keeps the log's lines, for a reader."""

    def __init__(self, seed: int, *, trace: bool = False) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.steps = 0
        self.log_hash = 0
        self.touched = True  # whether something was said to the pool, so that it is to be looked after
        self.lines: list[str] | None = [] if trace else None
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def at(self, when: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._events, (max(when, self.now), next(self._order), do))

    def after(self, delay_s: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + delay_s, next(self._order), do))

    def soon(self, do: Callable[[], None], most_s: float = 0.01) -> None:
        """After a moment that chance decides."""
        self.after(self.random.random() * most_s, do)

    @property
    def next_event(self) -> float:
        return self._events[0][0] if self._events else float("inf")

    def step(self) -> None:
        when, _, do = heapq.heappop(self._events)
        self.now = when
        self.steps += 1
        do()

    def note(self, line: str) -> None:
        self.log_hash = zlib.crc32(f"{self.now:.6f} {line}".encode(), self.log_hash)
        if self.lines is not None:
            self.lines.append(f"{self.now:10.6f} {line}")
