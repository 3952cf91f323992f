"""What simulated workers run: bodies of a few kinds, and what each must come to."""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from protocol.messages import AttemptKey
from tests.simulation.faults import Flaw

LARGE: Final = bytes(20_000)
BRIEF_S: Final = 0.001
LONG_S: Final = 0.2


class Kind(enum.IntEnum):
    """What a body does; its code's payload says it, and how much."""

    VALUE = 0
    LARGE = 1  # returns what needs a segment
    STATEFUL = 2  # pinned
    FAILS = 3
    PRODUCER = 4
    CONSUMER = 5
    POISON = 6  # ends its worker whenever it runs
    BRIEF = 7  # many come at once and are sent ahead; now and then one takes long


@dataclass
class Body:
    key: AttemptKey
    kind: Kind
    chunks: int
    credit: int
    emitted: int = 0
    taken: int = 0
    count: int | None = None  # of the stream it reads, once that has ended
    buffer: deque[bytes] = field(default_factory=deque)
    received: int = 0
    total: int = 0
    cancels: int = 0
    rests: bool = False
    queued: bool = False
    has_begun: bool = False
    flaw: Flaw | None = None
    seconds: float = 0.0  # of all its steps


class SimulatedPage:
    """``executor.page.Page`` without memory that is shared."""

    def __init__(self, descriptor: int) -> None:
        self.cells = [0] * 8
        self.times = [0.0] * 8
        self.fence_seen_from = 0.0  # a worker may have looked just before the fence was there

    def trace(self) -> str:
        return ""

    def close(self) -> None: ...


def chunk_of(node: int, number: int) -> bytes:
    return b"%d.%d" % (node, number)


def result_of(kind: Kind, node: int, total: int = 0) -> bytes:
    return b"%d=%d" % (node, total) + (LARGE if kind is Kind.LARGE else b"")
