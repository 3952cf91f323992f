"""Writes what a hub reports as messages, with as few of them as say the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from executor.host import WorkerLoss
from protocol.framing import Session
from protocol.messages import (
    AttemptKey,
    Cancelled,
    CancelStream,
    CancelThrown,
    Chunk,
    Completed,
    ErrorReport,
    Failed,
    FromCoordinator,
    FromWorker,
    Missing,
    Read,
    Wait,
)
from protocol.values import Value, size_bytes

HELD_BYTES: Final = 64 * 1024
"""Chunks of one attempt are held back up to this much, to leave as one message."""


class Reporter:
    """A hub's ``Reports`` that writes into a session.

    Successive chunks of an attempt become one range, and successive reads of a stream one count.
    Both are held back until ``write_held``, which belongs before each flush.

    Invariant: what is held back of an attempt is written before anything else about it.
    """

    def __init__(
        self,
        session: Session[FromWorker, FromCoordinator],
        on_end: Callable[[AttemptKey], None],
    ) -> None:
        self._session = session
        self._on_end = on_end
        self._chunks: dict[AttemptKey, _Range] = {}
        self._reads: dict[AttemptKey, dict[int, int]] = {}  # by port

    def write_held(self) -> None:
        """Write all that was held back."""
        for key in list(self._reads):
            self._write_reads(key)
        for key in list(self._chunks):
            self._write_chunks(key)

    def chunks(self, key: AttemptKey, first: int, count: int, width: int, values: list[Value]) -> None:
        held = self._chunks.get(key)
        if held is not None and held.width != width:
            self._write_chunks(key)
            held = None
        if held is None:
            held = self._chunks[key] = _Range(first, width)
        held.count += count
        held.values += values
        held.bytes += sum(map(size_bytes, values))
        if held.bytes >= HELD_BYTES:
            self._write_chunks(key)

    def read(self, key: AttemptKey, port: int, upto: int) -> None:
        self._reads.setdefault(key, {})[port] = upto

    def wait(self, key: AttemptKey, port: int, chunk: int, resting_on: int) -> None:
        self._write(key, Wait(key, port, chunk, resting_on))

    def cancel_stream(self, key: AttemptKey, port: int) -> None:
        self._write(key, CancelStream(key, port))

    def cancel_thrown(self, key: AttemptKey, merged: int, emitted: int) -> None:
        self._write(key, CancelThrown(key, merged, emitted))

    def completed(
        self,
        key: AttemptKey,
        emitted: int,
        seconds: float,
        outputs: list[Value],
        missing: Missing | None,
        state: Value | None = None,
    ) -> None:
        self._write_of(key)
        attached = [self._session.attach(value) for value in outputs]
        kept = None if state is None else self._session.attach(state)
        self._end(key, Completed(key, emitted, seconds, attached, missing, kept))

    def failed(
        self, key: AttemptKey, emitted: int, seconds: float, error: ErrorReport, cause: Value | None
    ) -> None:
        self._write_of(key)
        attached = None if cause is None else self._session.attach(cause)
        self._end(key, Failed(key, emitted, seconds, error, attached))

    def cancelled(self, key: AttemptKey) -> None:
        self._write_of(key)
        self._end(key, Cancelled(key))

    def lost(self, key: AttemptKey, loss: WorkerLoss) -> None:
        raise AssertionError(f"a hub loses nothing: {key}, {loss}")

    def _end(self, key: AttemptKey, message: FromWorker) -> None:
        self._session.add(message)
        self._on_end(key)

    def _write(self, key: AttemptKey, message: FromWorker) -> None:
        self._write_of(key)
        self._session.add(message)

    def _write_of(self, key: AttemptKey) -> None:
        if key in self._reads:
            self._write_reads(key)
        if key in self._chunks:
            self._write_chunks(key)

    def _write_reads(self, key: AttemptKey) -> None:
        for port, upto in self._reads.pop(key).items():
            self._session.add(Read(key, port, upto))

    def _write_chunks(self, key: AttemptKey) -> None:
        held = self._chunks.pop(key)
        values = [self._session.attach(value) for value in held.values]
        self._session.add(Chunk(key, held.first, held.count, held.width, values))


class _Range:
    """Successive chunks of one attempt."""

    __slots__ = ("bytes", "count", "first", "values", "width")

    def __init__(self, first: int, width: int) -> None:
        self.first = first
        self.width = width
        self.count = 0
        self.bytes = 0
        self.values: list[Value] = []
