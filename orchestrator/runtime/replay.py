"""A generator that runs again: what it yields a second time is compared and suppressed (FAULTS P1, P2).

Theory of operation. Its readers have had the first ``upto`` chunks of the run, so a further attempt must
yield the same ones before it may go on. They are compared with the run's log: as bytes, and where those
differ as objects, which a worker does (equal objects may be pickled differently). Until its answer is
there, the end of the attempt is put off. Cancels that earlier attempts were thrown are thrown again at
the same chunks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from executor.code import BodyCode, Imported
from executor.host import Code
from orchestrator.runtime.chunk_log import ChunkLog
from protocol.messages import AttemptKey, Digest
from protocol.serialization import dumps
from protocol.values import Local, Value

COMPARISON: Final = Code(
    Digest(b"compares values."), dumps(BodyCode(Imported("executor.fold", "are_equal")))
)
"""The body that compares two chunks in a worker."""

EQUAL: Final = dumps(True)
"""What it gives, where they are."""

COMPARING: Final = -2
"""The ``element`` of an attempt that compares; it is none of a map."""


class Comparison(NamedTuple):
    """Two values of a chunk that may be equal although their bytes are not."""

    chunk: int
    before: Value
    now: Value


class Replay:
    """One further attempt of a generator, from its start until it has yielded ``upto`` chunks again."""

    def __init__(self, upto: int, throws: Sequence[int], log: ChunkLog | None) -> None:
        self.upto = upto
        self.throws = deque(throws)
        """At how many chunks StreamCancelled was thrown before, and has to be again."""
        self.came = 0
        self.answers_awaited = 0
        self.comparing: dict[AttemptKey, Comparison] = {}
        """What workers compare, by the attempts that do."""
        self.differing: list[int] = []
        """The chunks that were found to be others than before."""
        self.postponed: deque[Callable[[], None]] = deque()
        self._log = log

    @property
    def is_over(self) -> bool:
        return self.came >= self.upto and not self.throws and not self.answers_awaited

    @property
    def credit(self) -> int:
        """How many chunks the attempt may yield before something has to be done."""
        return self.throws[0] if self.throws else self.upto

    def compare(self, width: int, values: list[Value]) -> list[Comparison]:
        """The next rows of ``width`` have come: what of them differs."""
        differing: list[Comparison] = []
        rows = len(values) // width if values else 0
        for row in range(rows):
            chunk = self.came + row
            for output in range(self._log.width if self._log is not None else 0):
                assert self._log is not None
                (before,) = self._log.read(chunk, chunk + 1, output)
                now = values[row * width + output]
                if not _are_same(before, now):
                    differing.append(Comparison(chunk, before, now))
        return differing


def _are_same(one: Value, other: Value) -> bool:
    if isinstance(one, Local) or isinstance(other, Local):
        return one is other
    if isinstance(one, bytes) or isinstance(other, bytes):
        return one == other
    return len(one) == len(other) and all(bytes(a) == bytes(b) for a, b in zip(one, other, strict=True))
