"""A simulated worker process: one thread, bodies of four kinds, and an end at any kill point.

It speaks through the real ``Reporter`` and the real worker's session, and keeps its page as the real
worker does; time in a body is an event of the world.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any, Final

from executor.page import BEGUN, CURRENT, FENCE, SINCE, TARGET
from executor.reporter import Reporter
from executor.watching import EXAMINE_S
from protocol.delivery import Epoch, Resending
from protocol.framing import Envelope, Parts, worker_session
from protocol.link import Link, Liveness
from protocol.messages import (
    PROTOCOL_VERSION,
    AttemptKey,
    Cancel,
    Chunk,
    Completed,
    Define,
    Deliver,
    Digest,
    Drain,
    EndStream,
    ErrorReport,
    Failed,
    Fault,
    Forget,
    FromCoordinator,
    Goodbye,
    Hello,
    Invoke,
    LeftRunning,
    Produce,
    Release,
    Revoke,
    Revoked,
    ThrowCancel,
    Welcome,
)
from protocol.resumable import ResumableSession
from tests.simulation.bodies import BRIEF_S, LONG_S, Body, Kind, SimulatedPage, chunk_of, result_of
from tests.simulation.faults import STATUSES, Faults, Flaw, KillPoint
from tests.simulation.network import End
from tests.simulation.world import Violation, World

RESENDING: Final = Resending(outbox_bytes=64 * 1024, acknowledge_s=0.2)
LIVENESS: Final = Liveness(
    beat_s=1.0, suspect_after_s=3.0, lost_after_s=8.0, connect_s=1.0, retry_s=0.05, retry_limit_s=1.0
)


class _Ended(Exception):
    """The process ended in the middle of what it did."""


class Process:
    """One worker. ``on_end`` is called once; ``begins_step`` before each step of a body."""

    def __init__(
        self,
        world: World,
        faults: Faults,
        worker: int,
        token: bytes,
        page: SimulatedPage,
        begins_step: Callable[[Process, AttemptKey], None],
    ) -> None:
        self.world = world
        self.faults = faults
        self.worker = worker
        self.pid = 1000 + worker
        self._page = page
        self.cells = page.cells
        self.times = page.times
        self.begins_step = begins_step
        self.on_end: Callable[[], None] = lambda: None
        self.status: int | None = None
        self.stepped: AttemptKey | None = None  # the truth that the page tells
        self.stopped = False
        self.stopped_at = 0.0
        self._resumed_at = -inf
        self.resident_bytes = 0
        self.flaw = faults.flaw((Flaw.NOT_STARTED, Flaw.MUTE, Flaw.STRANGER))
        self._pending_end: int | None = None
        self._ignores_term = False
        session = worker_session(Epoch(worker), RESENDING)
        session.add(
            Hello(
                PROTOCOL_VERSION,
                "3.11",
                worker,
                self.pid,
                b"" if self.flaw is Flaw.STRANGER else token,
            )
        )
        link = Link(LIVENESS, world.random.random, world.now, connects=True)
        resumable = ResumableSession(session, link, connects=True)
        self.end = End(world, f"w{worker}", resumable, self._keep)
        self.end.on_lost = lambda: self.die(1)  # its coordinator is gone, so it ends
        self.end.on_garbage = lambda: self.die(1)
        self._session = session
        self._reporter = Reporter(session, self._forget)
        self._codes: dict[Digest, tuple[Kind, int]] = {}
        self._numbers: dict[AttemptKey, int] = {}
        self._invoked = 0
        self._bodies: dict[AttemptKey, Body] = {}
        self._ready: deque[Body] = deque()
        self._fenced: list[Body] = []
        self._inbox: deque[tuple[FromCoordinator, Envelope[FromCoordinator]]] = deque()
        self._busy = False
        self._greeted = False
        self._said_hello = False
        self._slowness = world.random.choice((0.001, 0.01, 0.1, 0.5))
        self._handlers: dict[type, Callable[[Any, Envelope[FromCoordinator]], None]] = {
            Welcome: self._welcome,
            Define: self._define,
            Invoke: self._invoke,
            Deliver: self._deliver,
            EndStream: self._end_stream,
            Produce: self._produce,
            ThrowCancel: self._throw_cancel,
            Cancel: self._cancel,
            Release: lambda *_: None,
            Drain: self._drain,
            Revoke: self._revoke,
            Forget: lambda *_: self._codes.clear(),
        }

    @property
    def is_alive(self) -> bool:
        return self.status is None

    def begin(self) -> None:
        """The process exists."""
        if not self.is_alive or self._passes(KillPoint.SPAWNED):
            return
        if self.flaw is not Flaw.MUTE:
            self.end.begin()

    def connected(self) -> None:
        """The coordinator has greeted: Hello, and what else was written, is on its way."""
        if not self._said_hello:
            self._said_hello = True
            self._passes(KillPoint.HELLO_SENT)

    # -- signals ----------------------------------------------------------------------------------

    def die(self, status: int) -> None:
        if self.is_alive:
            self.status = status
            self.world.note(f"w{self.worker} ends with {status} in {self.stepped}")
            self.end.end()
            self.on_end()

    def stop(self) -> None:
        self.stopped = True
        if self.world.now > self._resumed_at + EXAMINE_S:  # else the pool may not have seen it run
            self.stopped_at = self.world.now
        self.end.pause()

    def resume(self) -> None:
        if self.is_alive and self.stopped:
            self.stopped = False
            self._resumed_at = self.world.now
            if self._pending_end is not None:
                self.die(self._pending_end)
                return
            self.end.go_on()
            self.turn()

    def terminate(self) -> None:
        if self.stopped:
            self._pending_end = -15
        elif not self._ignores_term:
            self.die(-15)

    def interrupt(self) -> None:
        """SIGUSR1: the body that is stepped and meant ends, unless it is stubborn."""
        if self.stopped or not self.is_alive or self.stepped is None:
            return
        if self.cells[TARGET] != self.cells[CURRENT]:
            return
        self.cells[TARGET] = 0
        body = self._bodies.get(self.stepped)
        if body is not None and body.flaw not in (Flaw.STUBBORN, Flaw.DEAF):
            self._end_by(body, "Interrupted")
            self._unmark()
            self._busy = False
            self.turn()

    # -- the loop -----------------------------------------------------------------------------------

    def turn(self) -> None:
        """Take what has come and begin the next step, unless one is under way."""
        if self._busy or self.stopped or not self.is_alive:
            return
        try:
            while self._inbox:
                message, envelope = self._inbox.popleft()
                self._handlers[type(message)](message, envelope)
            self._begin_step()
        except _Ended:
            pass

    def _begin_step(self) -> None:
        while self._ready:
            body = self._ready.popleft()
            body.queued = False
            if self._bodies.get(body.key) is not body:  # it may have come back after it was taken back
                continue
            if not body.has_begun and not self._may_begin(body):
                continue
            self.begins_step(self, body.key)
            self.stepped = body.key
            self.times[SINCE] = self.world.now - body.seconds
            self.cells[CURRENT] = self._numbers[body.key]
            self._pass(KillPoint.MARKED)
            self._busy = True
            if body.flaw is Flaw.DEAF:
                self._ignores_term = True
            if body.flaw is None:
                duration_s = self._duration_of(body)
                body.seconds += duration_s
                self.world.after(duration_s, partial(self._finish_step, body))
            return
        self._flush()

    def _duration_of(self, body: Body) -> float:
        dice = self.world.random
        if body.kind is Kind.BRIEF:
            return LONG_S if dice.random() < 0.02 else BRIEF_S * dice.random()
        return self._slowness * dice.random()

    def _may_begin(self, body: Body) -> bool:
        number = self.cells[BEGUN] = self._numbers[body.key]
        is_seen = self.world.now >= self._page.fence_seen_from
        if is_seen and self.cells[FENCE] and number >= self.cells[FENCE]:
            self._fenced.append(body)
            return False
        body.has_begun = True
        return True

    def _finish_step(self, body: Body) -> None:
        if not self.is_alive or self.stepped != body.key:
            return
        if self.stopped:
            self.world.after(0.1, lambda: self._finish_step(body))
            return
        try:
            self._pass(KillPoint.IN_BODY)
            self._steps[body.kind](self, body)
            self._unmark()
            self._busy = False
            if not self._ready or self.world.random.random() < 0.5:
                self._flush()
        except _Ended:
            return
        self.turn()

    def _unmark(self) -> None:
        self.stepped = None
        self.cells[CURRENT] = 0

    def _flush(self) -> None:
        self._reporter.write_held()
        says = self._session.has_output
        ends, chunks = self._says_end, self._says_chunk
        self._says_end = self._says_chunk = False
        if ends and says and self._due(KillPoint.RESULT_HALF_WRITTEN):
            self._session.take()  # it dies with it
            self.die(self.world.random.choice(STATUSES))
            raise _Ended
        self.end.pump()
        if chunks:
            self._pass(KillPoint.CHUNK_SENT)
        if ends:
            self._pass(KillPoint.RESULT_SENT)

    _says_end = False
    _says_chunk = False

    # -- steps of bodies ----------------------------------------------------------------------------

    def _step_value(self, body: Body) -> None:
        self._complete(body, 0)

    def _step_failure(self, body: Body) -> None:
        self._end_by(body, "ValueError")

    def _step_poison(self, body: Body) -> None:
        self.die(self.world.random.choice(STATUSES))
        raise _Ended

    def _step_producer(self, body: Body) -> None:
        if body.cancels and body.emitted:
            self._pass(KillPoint.IN_THROW)
            thrown, body.cancels = body.cancels, 0
            if body.chunks % 2:
                self._complete(body, body.emitted)
                return
            self._reporter.cancel_thrown(body.key, thrown, body.emitted)
            self._go_on(body)
        elif body.emitted == body.chunks:
            self._complete(body, body.emitted)
        else:
            self._pass(KillPoint.CHUNK_COMPUTED)
            value = chunk_of(body.key.node, body.emitted)
            self._reporter.chunks(body.key, body.emitted, 1, 1, [value])
            self._says_chunk = True
            body.emitted += 1
            self._go_on(body)

    def _go_on(self, body: Body) -> None:
        if body.emitted < body.credit or body.cancels:
            self._make_ready(body)
        else:
            body.rests = True

    def _step_consumer(self, body: Body) -> None:
        if body.buffer:
            body.total += len(body.buffer.popleft())
            body.taken += 1
            self._reporter.read(body.key, 0, body.taken)
            self._make_ready(body)
        elif body.count is not None and body.taken >= body.count:
            self._complete(body, body.total)
        else:
            self._reporter.wait(body.key, 0, body.taken, 1)
            body.rests = True

    _steps: Final = {
        Kind.VALUE: _step_value,
        Kind.LARGE: _step_value,
        Kind.STATEFUL: _step_value,
        Kind.FAILS: _step_failure,
        Kind.PRODUCER: _step_producer,
        Kind.CONSUMER: _step_consumer,
        Kind.POISON: _step_poison,
        Kind.BRIEF: _step_value,
    }

    def _complete(self, body: Body, total: int) -> None:
        self._pass(KillPoint.RESULT_COMPUTED)
        if body.kind is Kind.LARGE:
            self._pass(KillPoint.SEGMENT_CREATED)
        if body.kind is Kind.STATEFUL:
            self._pass(KillPoint.STATE_SNAPSHOT)
        value = result_of(body.kind, body.key.node, total)
        del self._bodies[body.key]
        seconds = body.seconds if body.kind is Kind.BRIEF else self._slowness
        self._reporter.completed(body.key, body.emitted, seconds, [value], None)
        self._says_end = True

    def _end_by(self, body: Body, name: str) -> None:
        del self._bodies[body.key]
        error = ErrorReport(Fault.BODY, name, "", "", self.pid)
        self._reporter.failed(body.key, body.emitted, self._slowness, error, None)
        self._says_end = True

    def _make_ready(self, body: Body) -> None:
        body.rests = False
        if not body.queued:
            body.queued = True
            self._ready.append(body)

    # -- messages -----------------------------------------------------------------------------------

    def _keep(self, envelope: Envelope[FromCoordinator], _: Parts) -> None:
        # Its input and output go on while a body computes, as ZeroMQ's thread does them.
        self._inbox.extend((message, envelope) for message in envelope.messages)
        self.turn()

    def _welcome(self, _: Welcome, __: Envelope[FromCoordinator]) -> None:
        if self._greeted:
            raise Violation(f"w{self.worker} was welcomed twice")
        if self.flaw is Flaw.STRANGER:
            raise Violation(f"w{self.worker} was welcomed without a proof")
        self._greeted = True
        self._pass(KillPoint.READY)

    def _define(self, message: Define, envelope: Envelope[FromCoordinator]) -> None:
        payload = envelope.value(message.payload)
        assert isinstance(payload, bytes)
        self._codes[message.digest] = Kind(payload[0]), payload[1]

    def _invoke(self, message: Invoke, _: Envelope[FromCoordinator]) -> None:
        self._pass(KillPoint.INVOKE_RECEIVED)
        if message.key in self._numbers:
            raise Violation(f"{message.key} was sent twice to w{self.worker}")
        self._invoked += 1
        self._numbers[message.key] = self._invoked
        kind, chunks = self._codes[message.code]
        body = Body(message.key, kind, chunks, message.credit)
        if kind is Kind.VALUE:
            body.flaw = self.faults.flaw((Flaw.HANGS, Flaw.STUBBORN, Flaw.DEAF))
        self._bodies[message.key] = body
        self._make_ready(body)

    def _deliver(self, message: Deliver, envelope: Envelope[FromCoordinator]) -> None:
        body = self._bodies.get(message.key)
        if body is None:
            return
        if message.first != body.received:
            raise Violation(f"{message.key} got chunk {message.first} after {body.received} (P1)")
        for number, wire in enumerate(message.values, message.first):
            value = envelope.value(wire)
            assert isinstance(value, bytes)
            if not value.endswith(b".%d" % number):
                raise Violation(f"{message.key} got {value!r} as chunk {number}")
            body.buffer.append(value)
            body.received += 1
        self._wake(body)

    def _end_stream(self, message: EndStream, _: Envelope[FromCoordinator]) -> None:
        body = self._bodies.get(message.key)
        if body is not None:
            body.count = message.count
            self._wake(body)

    def _produce(self, message: Produce, _: Envelope[FromCoordinator]) -> None:
        body = self._bodies.get(message.key)
        if body is not None:
            body.credit = max(body.credit, message.upto)
            if body.emitted < body.credit:
                self._wake(body)

    def _throw_cancel(self, message: ThrowCancel, _: Envelope[FromCoordinator]) -> None:
        body = self._bodies.get(message.key)
        if body is not None:
            body.cancels += 1
            self._wake(body)

    def _cancel(self, message: Cancel, _: Envelope[FromCoordinator]) -> None:
        body = self._bodies.pop(message.key, None)
        if body is not None:
            self._reporter.cancelled(message.key)
            self._says_end = True

    def _revoke(self, message: Revoke, _: Envelope[FromCoordinator]) -> None:
        self.cells[FENCE] = 0
        unbegun = [
            key
            for key in message.keys
            if (body := self._bodies.get(key)) is not None and not body.has_begun
        ]
        for key in unbegun:
            del self._bodies[key], self._numbers[key]
        self._ready.extendleft(reversed(self._fenced))
        self._fenced.clear()
        self._session.add(Revoked(unbegun))
        self._pass(KillPoint.REVOKED)

    def _drain(self, _: Drain, __: Envelope[FromCoordinator]) -> None:
        self._pass(KillPoint.DRAINING)
        self._session.add(Goodbye())
        self.end.pump()
        self.die(0)
        raise _Ended

    def _wake(self, body: Body) -> None:
        if body.rests:
            self._make_ready(body)

    def _forget(self, key: AttemptKey) -> None:
        del self._numbers[key]

    # -- faults -------------------------------------------------------------------------------------

    def _due(self, point: KillPoint) -> bool:
        return self.is_alive and self.faults.is_due(point)

    def _passes(self, point: KillPoint) -> bool:
        """Whether it ends here."""
        if self._due(point):
            self.world.note(f"w{self.worker} at {point.name}")
            self.die(self.world.random.choice(STATUSES))
            return True
        return False

    def _pass(self, point: KillPoint) -> None:
        if self._passes(point):
            raise _Ended

    def lie(self, key: AttemptKey) -> None:
        """Say of an attempt what is not so: it was never here, or is no more."""
        if key not in self._numbers:
            self._session.add(Completed(key, 0, 0.0, [b"a lie"]))
            self._session.add(Chunk(key, 0, 1, 1, [b"a lie"]))
            self._session.add(Failed(key, 0, 0.0, ErrorReport(Fault.BODY, "Lie", "", "")))
            self._session.add(LeftRunning(key, [1], ["a lie"]))
            self.end.pump()
