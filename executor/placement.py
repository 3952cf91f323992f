"""Which worker an invocation goes to: pure decisions on numbers.

A worker that runs nothing comes first, the one with the fewest suspended bodies before others. If all
are busy, an invocation may stand behind others only where little work is outstanding: tiny bodies are
so sent ahead many at a time, and nothing stands behind a long one while another worker may soon
be free. What has no place waits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from protocol.messages import Digest

AHEAD_S: Final = 0.010
"""An invocation may stand behind this much outstanding work; a message takes far less to come."""

AHEAD_LIMIT: Final = 64
"""At most so many stand in a row, however small they are."""

_WEIGHT: Final = 0.2  # of the newest duration in the moving average


@dataclass(slots=True)
class Load:
    """What a worker has to do. ``active`` bodies want its time, ``suspended`` ones wait for others."""

    active: int = 0
    suspended: int = 0
    known_s: float = 0.0  # the active bodies' expected time, as far as it is known
    unknown: int = 0  # active bodies of which nothing is known

    @property
    def outstanding_s(self) -> float:
        return math.inf if self.unknown else self.known_s

    def begin(self, expected_s: float) -> None:
        """One more body is active."""
        self.active += 1
        if expected_s < math.inf:
            self.known_s += expected_s
        else:
            self.unknown += 1

    def end(self, expected_s: float) -> None:
        """A body that began with this expectation is active no longer."""
        self.active -= 1
        if expected_s < math.inf:
            self.known_s -= expected_s
        else:
            self.unknown -= 1
        if not self.active:
            self.known_s = 0.0  # sums of floats drift


def choose(loads: Iterable[tuple[int, Load]]) -> int | None:
    """The worker for one more invocation, or None if it is better to wait. Linear in the workers.

    >>> choose([(1, Load(active=1, unknown=1)), (2, Load(suspended=3)), (3, Load(suspended=1))])
    3
    """
    best: int | None = None
    best_rank = (math.inf, 0)
    for worker, load in loads:
        if load.active == 0:
            rank = (-1.0, load.suspended)
            if load.suspended == 0:
                return worker
        elif load.active < AHEAD_LIMIT and load.outstanding_s < AHEAD_S:
            rank = (load.known_s, load.active + load.suspended)
        else:
            continue
        if rank < best_rank:
            best, best_rank = worker, rank
    return best


class Durations:
    """How long bodies take, by their code: exponentially weighted, so that it follows changes."""

    def __init__(self) -> None:
        self._seconds: dict[Digest, float] = {}

    def expected_s(self, code: Digest) -> float:
        """Infinite for what has not been seen to end."""
        return self._seconds.get(code, math.inf)

    def note(self, code: Digest, seconds: float) -> None:
        known = self._seconds.get(code)
        self._seconds[code] = seconds if known is None else known + _WEIGHT * (seconds - known)
