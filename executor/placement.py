"""Which worker an invocation goes to: pure decisions on numbers.

A worker that runs nothing comes first: the one that holds most of what the invocation needs, then
the one with the fewest suspended bodies. If all are busy, an invocation may stand behind others only
if it is known to be brief, and where little work is outstanding: tiny bodies are so sent ahead many at a
time, and nothing stands behind a long one while another worker may soon be free. What has no place
waits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from protocol.messages import Digest

AHEAD_S: Final = 0.010
"""An invocation may stand behind this much outstanding work; a message takes far less to come."""

AHEAD_LIMIT: Final = 64
"""At most so many stand in a row, however small they are."""

AHEAD_BYTES: Final = 4 << 20
"""Nor more than what together is expected to make so much output, which nobody may yet have room for."""

STREAK: Final = 2
"""For each so many brief ends in a row, one more body of a code may stand behind others."""

CODES_LIMIT: Final = 10_000
"""Of so many codes it is known how long they take; then that is learned anew."""

_STREAK_LIMIT: Final = STREAK * AHEAD_LIMIT
_WEIGHT: Final = 0.2  # of the newest duration in the moving average
_NOTHING_HELD: Final[Mapping[int, int]] = MappingProxyType({})


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


def choose(
    loads: Iterable[tuple[int, Load]],
    depth: int = AHEAD_LIMIT,
    held_bytes: Mapping[int, int] = _NOTHING_HELD,
) -> int | None:
    """The worker for one more invocation, or None if it is better to wait. Linear in the workers.

    The invocation may be the ``depth``-th in a row at most. ``held_bytes`` tells, by worker, how much of
    what it needs is there already.

    >>> choose([(1, Load(active=1, unknown=1)), (2, Load(suspended=3)), (3, Load(suspended=1))])
    3
    >>> choose([(1, Load()), (2, Load())], held_bytes={2: 1 << 20})
    2
    """
    best: int | None = None
    best_rank = (math.inf, 0, 0)
    for worker, load in loads:
        if load.active == 0:
            if not load.suspended and not held_bytes:
                return worker
            rank = (-1.0, -held_bytes.get(worker, 0), load.suspended)
        elif load.active < depth and load.outstanding_s < AHEAD_S:
            rank = (load.known_s, load.active + load.suspended, 0)
        else:
            continue
        if rank < best_rank:
            best, best_rank = worker, rank
    return best


@dataclass(slots=True)
class _Seen:
    """Of the bodies of one code that have ended."""

    seconds: float
    streak: int = 0  # brief ends in a row, or nearly so
    output_bytes: int = 0  # of the latest


class Durations:
    """How long bodies take, by their code: exponentially weighted, so that it follows changes."""

    def __init__(self) -> None:
        self._seen: dict[Digest, _Seen] = {}

    def expected_s(self, code: Digest) -> float:
        """Infinite for what has not been seen to end."""
        seen = self._seen.get(code)
        return math.inf if seen is None else seen.seconds

    def depth(self, code: Digest) -> int:
        """How many may stand in a row with one of this code as the last.

        It grows with each brief end, and shrinks with each other: bodies whose durations vary are not
        sent far ahead, where they might stand behind one that takes long.
        """
        seen = self._seen.get(code)
        if seen is None or seen.seconds >= AHEAD_S:
            return 1
        depth = min(AHEAD_LIMIT, 1 + seen.streak // STREAK)
        size = seen.output_bytes
        return depth if depth * size <= AHEAD_BYTES else max(1, AHEAD_BYTES // size)

    def note(self, code: Digest, seconds: float, output_bytes: int = 0) -> None:
        """One has ended after so much stepping, with so much output."""
        seen = self._seen.get(code)
        if seen is None:
            if len(self._seen) >= CODES_LIMIT:
                self._seen.clear()
            seen = self._seen[code] = _Seen(seconds)
        seen.seconds += _WEIGHT * (seconds - seen.seconds)
        # One that took long may merely have been kept from the processor: it costs most, not all.
        seen.streak = min(seen.streak + 1, _STREAK_LIMIT) if seconds < AHEAD_S else seen.streak // 4
        seen.output_bytes = output_bytes
