"""Connections between workers and their coordinator: each keeps the order, none keeps a promise.

Theory of operation. What is sent on a connection comes after a delay that chance decides, behind what
was sent before it, unless the connection ends first. An envelope may be lost or come twice. At both
ends stands a real ``ResumableSession``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from protocol.errors import MissingEnvelopes, ProtocolError
from protocol.framing import Envelope, Parts
from protocol.link import LinkAction, LinkEvent
from protocol.resumable import ResumableSession
from tests.simulation.world import Violation, World

DELAY_S = 0.004
NOTICE_S = 0.05
"""How long it may take until a side notices that a connection has ended."""


class Wire:
    """One direction of a connection."""

    def __init__(self, world: World, arrive: Callable[[Parts], None], name: str) -> None:
        self._world = world
        self._arrive = arrive
        self._free_at = 0.0
        self.name = name
        self.is_open = True
        self.loses = 0  # the next so many envelopes
        self.doubles = 0

    def send(self, parts: Parts) -> None:
        if not self.is_open:
            return
        if self.loses:
            self.loses -= 1
            self._world.note(f"{self.name} loses")
            return
        for _ in range(2 if self.doubles else 1):
            self._free_at = max(self._free_at, self._world.now + self._world.random.random() * DELAY_S)
            self._world.at(self._free_at, lambda: self._come(parts))
        self.doubles = max(0, self.doubles - 1)

    def _come(self, parts: Parts) -> None:
        if self.is_open:
            self._world.note(f"{self.name} {len(parts)} {len(parts[0])}")
            self._arrive(parts)


class End:
    """One end of a session: pumps a ``ResumableSession`` over whatever connection there is."""

    def __init__(
        self,
        world: World,
        name: str,
        session: ResumableSession[Any, Any],
        on_envelope: Callable[[Envelope[Any], Parts], None],
    ) -> None:
        self.world = world
        self.name = name
        self.session = session
        self.on_envelope = on_envelope
        self.on_connect: Callable[[], None] = lambda: None
        self.on_lost: Callable[[], None] = lambda: None
        self.on_garbage: Callable[[], None] = lambda: None
        self.wire: Wire | None = None
        self.other: End | None = None
        self.has_begun = False
        self.is_over = True  # until it begins
        self._paused: list[Callable[[], None]] | None = None  # what waits until it goes on
        self._greeted = False
        self._armed = float("inf")

    def begin(self) -> None:
        self.has_begun = True
        self.is_over = False
        self.do(self.session.link.begin())
        self.pump()

    def attach(self, wire: Wire) -> None:
        self.wire = wire
        self._greeted = False

    def take(self, parts: Parts, wire: Wire) -> None:
        """Something came on the connection whose other direction is ``wire``."""
        if self._paused is not None:
            self._paused.append(lambda: self.take(parts, wire))
            return
        if self.is_over or wire is not self.wire:
            return
        try:
            if not self._greeted:
                self._greeted = True
                self.do(self.session.accept(parts, self.world.now))
            else:
                envelope = self.session.read(parts, self.world.now)
                if envelope is not None:
                    self.on_envelope(envelope, parts)
        except MissingEnvelopes:
            self.world.note(f"{self.name} misses envelopes")
            self.tell(LinkEvent.BROKE)
        except ProtocolError:
            self.on_garbage()
        self.pump()

    def pause(self) -> None:
        """Its process was stopped: it neither sends nor hears, and the system keeps what comes."""
        if self._paused is None:
            self._paused = []

    def go_on(self) -> None:
        paused, self._paused = self._paused, None
        for do in paused or ():
            do()
        self._ring()

    def tell(self, event: LinkEvent) -> None:
        if self._paused is not None:
            self._paused.append(lambda: self.tell(event))
            return
        if not self.is_over:
            self.do(self.session.handle(event, self.world.now))
            self.pump()

    def end(self) -> None:
        """This side is no more."""
        self.is_over = True
        if self.wire is not None:
            self.wire.is_open = False

    def pump(self) -> None:
        """Send what is to be sent, and see that time is told of."""
        if self.is_over or self._paused is not None:
            return
        for parts in self.session.flush(self.world.now):
            if self.wire is not None:
                self.wire.send(parts)
        due = self.session.next_deadline()
        if due < self._armed:
            self._armed = due
            self.world.at(due, self._ring)

    def check(self) -> None:
        self.session.check()
        resending = self.session.session.delivery.resending
        assert resending is not None
        if self.session.session.delivery.outbox_bytes > 2 * resending.outbox_bytes:
            raise Violation(f"{self.name}: an outbox grows beyond its bound (P6)")

    def do(self, actions: list[LinkAction]) -> None:
        for action in actions:
            self.world.note(f"{self.name} {action.name}")
            if action is LinkAction.CONNECT:
                self.on_connect()
            elif action is LinkAction.DISCONNECT:
                self._disconnect()
            elif action is LinkAction.END_LEASES:
                self.on_lost()

    def _disconnect(self) -> None:
        wire, self.wire = self.wire, None
        if wire is None:
            return
        wire.is_open = False
        other = self.other
        if other is not None and other.wire is not None:
            theirs = other.wire
            self.world.soon(lambda: other.broke(theirs), NOTICE_S)

    def broke(self, wire: Wire) -> None:
        """The connection to which ``wire`` belongs has ended, as this side now notices."""
        if self.wire is wire:
            wire.is_open = False
            self.tell(LinkEvent.BROKE)

    def _ring(self) -> None:
        if self.is_over or self._paused is not None:
            return
        self._armed = float("inf")
        self.do(self.session.expire(self.world.now))
        self.pump()


def connect(world: World, worker: End, coordinator: End) -> None:
    """Make a connection: ``worker`` greets on it."""
    for end in (worker, coordinator):
        if end.wire is not None:
            end.wire.is_open = False
    # What comes on one direction counts only while the other one is the present one.
    up = Wire(world, lambda parts: coordinator.take(parts, down), f"{worker.name} >")
    down = Wire(world, lambda parts: worker.take(parts, up), f"{worker.name} <")
    worker.attach(up)
    coordinator.attach(down)
    up.send(worker.session.greeting())


def break_connection(world: World, worker: End, coordinator: End) -> None:
    """What is under way is gone; each side notices when it does."""
    for end in (worker, coordinator):
        wire = end.wire
        if wire is not None:
            wire.is_open = False
            world.soon(lambda end=end, wire=wire: end.broke(wire), NOTICE_S)  # type: ignore[misc]
