"""How an attempt is made to end, by ever harder means: pure decisions on what workers' pages say.

Theory of operation. An attempt that was told to end and is still being stepped is *interrupted*, and
again from time to time, as the exception may get lost in the body. If that does not end it within the
grace, its worker is *terminated*. An attempt that does not answer though its worker steps another one
is *abandoned*: it stands in line there and will find itself cancelled. One that does not answer
though its worker steps nothing has a worker that is stuck.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from protocol.messages import AttemptKey

TICK_S: Final = 0.01
"""An interrupt that was not taken by then is sent again."""

PAUSES: Final = 4
"""How many interrupts a body gets within the grace: its ``finally`` blocks are left alone between."""


class Stepping(NamedTuple):
    """What a worker's page says: numbers of attempts, 0 for none.

    ``number`` is being stepped; ``target`` is to be interrupted and has not been. ``since``: when it
    would have begun, had it been stepped without a break. ``begun``: the last one that has begun.
    """

    number: int
    target: int
    since: float = 0.0
    begun: int = 0


NOTHING: Final = Stepping(0, 0)
Look: TypeAlias = Callable[[int], Stepping]
"""Gives what the page of a worker says now."""


def see_nothing(_: int) -> Stepping:
    """The look of a pool without workers."""
    return NOTHING


class Rung(enum.Enum):
    INTERRUPT = "interrupt"
    TERMINATE = "terminate"  # the worker, with all it holds
    ABANDON = "abandon"  # wait no longer for its answer


class Ladder:
    """All attempts of a pool that were told to end and have not answered."""

    def __init__(self, grace_s: float, look: Look) -> None:
        self._grace_s = grace_s
        self._pause_s = grace_s / PAUSES
        self._look = look
        self._climbers: dict[AttemptKey, _Climber] = {}
        self._next_look = math.inf

    def __bool__(self) -> bool:
        return bool(self._climbers)

    def keys(self) -> set[AttemptKey]:
        return set(self._climbers)

    def begin(self, key: AttemptKey, worker: int, number: int, now: float) -> None:
        """An attempt was told to end; ``number`` names it in its worker's page."""
        # One that rests is closed by its worker: its finally blocks get time undisturbed.
        is_stepped = self._look(worker).number == number
        first = now if is_stepped else now + self._pause_s
        self._climbers[key] = _Climber(worker, number, now, first, first)
        self._next_look = min(self._next_look, first)

    def forget(self, key: AttemptKey) -> None:
        """It has ended."""
        self._climbers.pop(key, None)

    def next_deadline(self) -> float:
        return self._next_look if self._climbers else math.inf

    def climb(self, now: float) -> list[tuple[AttemptKey, Rung]]:
        """What is to be done now. Calling it early or again changes nothing."""
        if now < self._next_look:
            return []
        steps = []
        for key, climber in self._climbers.items():
            if climber.look_at <= now:
                rung = self._climb_one(climber, now)
                if rung is not None:
                    steps.append((key, rung))
        self._next_look = min((each.look_at for each in self._climbers.values()), default=math.inf)
        return steps

    def _climb_one(self, climber: _Climber, now: float) -> Rung | None:
        seen = self._look(climber.worker)
        if seen.number != climber.number:
            return self._miss(climber, seen, now)
        climber.stepped_since = min(climber.stepped_since, now)
        patience = climber.stepped_since + self._grace_s
        if now >= patience:
            climber.look_at = math.inf
            return Rung.TERMINATE
        was_taken = seen.target != climber.number
        if was_taken and now < climber.interrupt_at:
            climber.look_at = min(climber.interrupt_at, patience)
            return None
        if was_taken:
            climber.interrupt_at = now + self._pause_s
        climber.look_at = min(now + TICK_S, patience)
        return Rung.INTERRUPT

    def _miss(self, climber: _Climber, seen: Stepping, now: float) -> Rung | None:
        patience = climber.begun + self._grace_s
        if now < patience:
            climber.look_at = min(now + self._pause_s, patience)
            return None
        climber.look_at = math.inf
        return Rung.ABANDON if seen.number else Rung.TERMINATE


@dataclass(slots=True)
class _Climber:
    worker: int
    number: int
    begun: float
    interrupt_at: float
    look_at: float
    stepped_since: float = math.inf  # when it was first seen to be stepped
