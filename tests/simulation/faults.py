"""Which faults a schedule meets: drawn by its seed, at kill points and at moments (FAULTS, 2 and 3)."""

from __future__ import annotations

import enum
import random
from collections import Counter
from dataclasses import dataclass
from typing import Final


class KillPoint(enum.IntEnum):
    SPAWNED = 0
    HELLO_SENT = 1
    READY = 2
    INVOKE_RECEIVED = 3
    MARKED = 4
    IN_BODY = 5
    CHUNK_COMPUTED = 6
    CHUNK_SENT = 7
    IN_THROW = 8
    RESULT_COMPUTED = 9
    SEGMENT_CREATED = 10
    RESULT_HALF_WRITTEN = 11
    RESULT_SENT = 12
    STATE_SNAPSHOT = 13
    DRAINING = 14
    REVOKED = 15  # has said what it gives back


class Moment(enum.Enum):
    """What may happen to the system at any time."""

    KILL = "a worker is killed"
    STOP_SHORT = "a worker is stopped and goes on"
    STOP_LONG = "a worker is stopped for long"
    DISCONNECT = "a connection breaks"
    PARTITION = "a worker cannot be reached for a while"
    CUT = "a worker cannot be reached any more"
    LOSE = "an envelope is lost"
    DUPLICATE = "an envelope comes twice"
    REPLAY = "an envelope of an earlier worker comes"
    STALE_REPORT = "a worker speaks of an attempt it does not hold"
    GARBAGE = "a worker sends what is no envelope"
    SWELL = "a worker holds more memory than is good"
    SWELL_MUCH = "a worker holds more memory than it may"
    NO_MEMORY = "the kernel kills a worker because memory ran out"
    ZYGOTE = "the zygote is killed"


class Flaw(enum.Enum):
    """How the next worker comes into being, or the next body behaves."""

    NOT_STARTED = "the system makes no process"
    MUTE = "it never says Hello"
    STRANGER = "it does not prove who it is"
    HANGS = "a body never ends"
    STUBBORN = "a body never ends, interrupted or not"
    DEAF = "a body never ends and its worker ignores SIGTERM"


STATUSES: Final = (-9, -9, -9, -11, -6, 0, 3)
"""How a worker ends at a kill point: by SIGKILL mostly, by a fault, by os._exit (F1-F3)."""


@dataclass
class Faults:
    """The plan of one schedule, and what has become of it."""

    points: dict[KillPoint, list[int]]  # at which passings a worker ends, the next one last
    moments: list[Moment]
    flaws: list[Flaw]
    happened: Counter[str]
    passed: Counter[KillPoint]
    healed: bool = False

    @classmethod
    def draw(cls, dice: random.Random) -> Faults:
        points: dict[KillPoint, list[int]] = {}
        moments, flaws = [], []
        for _ in range(dice.randint(3, 6)):
            kind = dice.random()
            if kind < 0.5:
                point = KillPoint(dice.randrange(len(KillPoint)))
                points.setdefault(point, []).append(dice.randint(1, 3))
            elif kind < 0.85:
                moments.append(dice.choice(_MOMENTS))
            else:
                flaws.append(dice.choice(_FLAWS))
        for passings in points.values():
            passings.sort(reverse=True)
        return cls(points, moments, flaws, Counter(), Counter())

    def note(self, what: enum.Enum) -> None:
        self.happened[what.name] += 1

    @property
    def total(self) -> int:
        return sum(self.happened.values())

    def is_due(self, point: KillPoint) -> bool:
        """Whether the worker that passes here ends here."""
        self.passed[point] += 1
        planned = self.points.get(point)
        if not planned or self.healed or self.passed[point] < planned[-1]:
            return False
        planned.pop()
        self.note(point)
        return True

    def flaw(self, kinds: tuple[Flaw, ...]) -> Flaw | None:
        """What is wrong with the worker or body that begins now."""
        if self.healed:
            return None
        found = next((flaw for flaw in self.flaws if flaw in kinds), None)
        if found is not None:
            self.flaws.remove(found)
            self.note(found)
        return found


_MOMENTS: Final = tuple(Moment)
_FLAWS: Final = tuple(Flaw)
