"""Signals at any moment: only a body's own code is interrupted, and only the one meant (F6, P9)."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from executor.body import Interrupted, Stream
from executor.code import BodyCode
from executor.codec import BY_REFERENCE, PICKLED, Codec
from executor.host import Code, Invocation
from executor.hub import Hub
from executor.interrupting import listen
from executor.page import CURRENT, TARGET
from executor.reporter import Reporter
from protocol.framing import coordinator_session, worker_session
from protocol.messages import (
    AttemptKey,
    Chunk,
    Completed,
    Digest,
    Failed,
    NodeId,
    Read,
    RunId,
    StreamInput,
)
from protocol.values import Local

CHUNKS = 20


def fold(chunks: Stream[int]) -> Iterator[int]:
    total = 0
    for chunk in chunks:
        total += sum(range(chunk))
        yield total


class Bench:
    """A hub as a worker has it, with a session to a coordinator that checks what arrives."""

    def __init__(self) -> None:
        self.cells = memoryview(bytearray(16)).cast("q")
        self.session = worker_session()
        self.coordinator = coordinator_session()
        self.live: set[AttemptKey] = set()
        self.reporter = Reporter(self.session, self.live.discard)
        codec = Codec(PICKLED.dumps, BY_REFERENCE.loads, PICKLED.dump_exception)
        self.hub = Hub(codec, mark=self.mark, on_take=lambda _: self.flush())
        self.hub.attach(self.reporter)
        self.ends: dict[AttemptKey, Any] = {}
        self.emitted: dict[AttemptKey, int] = {}
        self.read: dict[AttemptKey, int] = {}
        self.interrupted = 0
        listen(self.cells, self.hub.gate)

    def mark(self, key: AttemptKey | None) -> None:
        self.cells[CURRENT] = 0 if key is None else key.node + 1

    def invoke(self, node: int) -> None:
        key = AttemptKey(RunId(1), NodeId(node), 0)
        self.live.add(key)
        code = Code(Digest(b"fold"), Local(BodyCode(fold)))
        self.hub.invoke(Invocation(key, code, [StreamInput()], send_chunks=False))
        self.hub.deliver(key, 0, 0, [Local(10)] * CHUNKS)
        self.hub.end_stream(key, 0, CHUNKS)

    def flush(self) -> None:
        """What an interrupt in our own code would tear: envelopes count, ranges follow one another."""
        self.reporter.write_held()
        for parts in self.session.take():
            envelope = self.coordinator.read(parts)
            assert envelope is not None
            for message in envelope.messages:
                self.take(message)

    def take(self, message: Any) -> None:
        match message:
            case Chunk(key, first, count):
                assert first == self.emitted.get(key, 0)
                self.emitted[key] = first + count
            case Read(key, _, upto):
                assert upto > self.read.get(key, 0)
                self.read[key] = upto
            case Completed(key, emitted):
                assert emitted == self.emitted[key] == self.read[key] == CHUNKS
                self.ends[key] = message
            case Failed(key, emitted, _, error):
                assert error.type_name == "Interrupted", error.traceback
                assert emitted == self.emitted.get(key, 0)
                self.ends[key] = message
            case _:
                raise AssertionError(message)


@pytest.fixture
def restored() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM)}
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in before.items():
        signal.signal(number, handler)


def test_ten_thousand_signals_at_any_moment_tear_nothing_and_hit_only_their_target(
    restored: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One that comes in a finalizer is lost there, as Python has it: the next one does not.
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    bench = Bench()
    handler: Any = signal.getsignal(signal.SIGUSR1)
    signals = hits = 0
    victim = 0

    def fire(number: int, frame: Any) -> None:
        nonlocal signals, hits
        signals += 1
        bench.cells[TARGET] = victim + 1
        try:
            handler(number, frame)
        except Interrupted:
            hits += 1
            assert bench.cells[CURRENT] == victim + 1
            raise

    before = signal.signal(signal.SIGALRM, fire)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.00005, 0.00005)
        node = 0
        give_up = time.monotonic() + 20
        while signals < 10_000 and time.monotonic() < give_up:
            victim = node + 1
            for _ in range(3):
                bench.invoke(node)
                node += 1
            while bench.hub.step():
                pass
            bench.flush()
            assert not bench.live
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    failed = [key for key, end in bench.ends.items() if isinstance(end, Failed)]
    assert len(bench.ends) == node
    assert all(key.node % 3 == 1 for key in failed)
    assert 0 < len(failed) <= hits <= signals


def test_a_signal_between_steps_or_for_another_attempt_is_lost_without_harm(restored: None) -> None:
    bench = Bench()
    signal.raise_signal(signal.SIGUSR1)
    bench.cells[TARGET] = 1
    signal.raise_signal(signal.SIGUSR1)
    assert bench.cells[TARGET] == 1  # not taken
    bench.hub.gate.is_open = True
    bench.cells[CURRENT] = 2
    signal.raise_signal(signal.SIGUSR1)
    bench.cells[CURRENT] = 1
    with pytest.raises(Interrupted):
        signal.raise_signal(signal.SIGUSR1)
    assert bench.cells[TARGET] == 0
