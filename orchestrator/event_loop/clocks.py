"""Clocks: what time it is, and how long the poller may sleep.

The loop asks its clock for the time and for permission to sleep, so a test can give it a clock on
which an hour passes in no time.
"""

from __future__ import annotations

import math
from time import monotonic
from typing import Final, Protocol

LONGEST_WAIT_S: Final = 86_400.0  # what a selector surely takes; the loop then asks again


class Clock(Protocol):
    """A clock for an event loop. All its times are seconds from the same, arbitrary origin."""

    def now(self) -> float:
        """The time. Never decreases."""

    def patience_s(self, deadline: float) -> float | None:
        """How long the poller may sleep before ``deadline`` (inf: there is none); None: for ever."""

    def on_idle(self, deadline: float) -> None:
        """The poller found nothing and nothing can happen before ``deadline``."""


class MonotonicClock:
    """Real time, untouched by changes of the system's date."""

    def __init__(self) -> None:
        self.now = monotonic  # the function itself: one call less for each look at the clock

    def patience_s(self, deadline: float) -> float | None:
        if deadline == math.inf:
            return None
        return min(max(deadline - self.now(), 0.0), LONGEST_WAIT_S)

    def on_idle(self, deadline: float) -> None:
        pass


class VirtualClock:
    """Time that stands still while anything can run, then jumps to the next deadline.

    Programs that sleep run at once and always alike. Descriptors are still real: the clock jumps only
    when none is ready, so a test that waits for another process *and* for a deadline sees the deadline.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._now = start

    def now(self) -> float:
        return self._now

    def patience_s(self, deadline: float) -> float | None:
        return None if deadline == math.inf else 0.0

    def on_idle(self, deadline: float) -> None:
        if deadline != math.inf:
            self._now = max(self._now, deadline)
