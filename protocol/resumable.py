"""A session that goes on over successive connections: what a link and a delivery do together.

Theory of operation. On a new connection each side first sends a *greeting*, a bare envelope that says
what it has taken; the side that connects begins. Who has heard the greeting sends again what the other
has not, and goes on from there. What is written while there is no connection waits in the outbox. A
gap means that the network has lost something, and ends the connection: the next one brings it again.
No socket and no clock is known here; the driver connects, disconnects and sends.

    side that connects: CONNECT -> greeting ->          accept: RESEND -> :side that listens
                        accept: RESEND <- greeting, unacknowledged <-
                        unacknowledged ->
"""

from __future__ import annotations

from typing import Generic, TypeVar

from protocol.framing import Envelope, Parts, Session
from protocol.link import Link, LinkAction, LinkEvent

Out = TypeVar("Out")
In = TypeVar("In")


class ResumableSession(Generic[Out, In]):
    """One side. ``session`` is written to as ever, and needs a delivery that resends.

    What its methods return is for the driver to do; what they want sent leaves with ``flush``.
    """

    def __init__(self, session: Session[Out, In], link: Link, *, connects: bool) -> None:
        assert session.delivery.resending is not None
        self.session = session
        self.link = link
        self._connects = connects
        self._output: list[Parts] = []

    def greeting(self) -> Parts:
        """The first envelope on a new connection, from the side that connects."""
        self._seal()
        # The peer has at least what it has acknowledged, so this number cannot show it a gap.
        return self.session.bare(self.session.delivery.acknowledged)

    def accept(self, parts: Parts, now: float) -> list[LinkAction]:
        """Take the peer's greeting, the first envelope on a new connection.

        Raises:
            ProtocolError: it is none, or not of this session.
        """
        delivery = self.session.delivery
        stale = delivery.stale
        self.session.read(parts, now)
        return [] if delivery.stale > stale else self.handle(LinkEvent.CONNECTED, now)

    def read(self, parts: Parts, now: float) -> Envelope[In] | None:
        """Take what the peer has sent; None if it brings nothing new.

        Raises:
            MissingEnvelopes: something was lost: tell ``handle`` that the connection broke.
            ProtocolError: the peer cannot be talked with.
        """
        delivery = self.session.delivery
        stale = delivery.stale
        envelope = self.session.read(parts, now)
        if delivery.stale == stale:
            self.link.handle(LinkEvent.HEARD, now)
        return envelope

    def flush(self, now: float) -> list[Parts]:
        """What is to be sent on the present connection, in order."""
        sealed = self.session.take()  # in the outbox too: without a connection it waits there
        output, self._output = self._output, []
        if not self.link.is_up:
            return []
        output += sealed
        if output:
            self.link.sent(now)
        return output

    # -- news and time ----------------------------------------------------------------------------

    def handle(self, event: LinkEvent, now: float) -> list[LinkAction]:
        """What the driver is to do because something happened to the connection or the peer."""
        return self._carry_out(self.link.handle(event, now))

    def next_deadline(self) -> float:
        """When :meth:`expire` should be called."""
        deadline = self.link.next_deadline()
        return min(deadline, self.session.delivery.next_deadline()) if self.link.is_up else deadline

    def expire(self, now: float) -> list[LinkAction]:
        """Do what is due. Calling it early or again changes nothing."""
        actions = self._carry_out(self.link.expire(now))
        if self.link.is_up and self.session.delivery.next_deadline() <= now:
            self._beat()
        return actions

    def check(self) -> None:
        """Assert the invariants."""
        self.link.check()
        self.session.delivery.check()

    # -- private ----------------------------------------------------------------------------------

    def _carry_out(self, actions: list[LinkAction]) -> list[LinkAction]:
        left: list[LinkAction] = []
        for action in actions:
            if action is LinkAction.RESEND:
                self._resend()
            elif action is LinkAction.BEAT:
                self._beat()
            else:
                left.append(action)
        return left

    def _resend(self) -> None:
        self._output = [] if self._connects else [self.greeting()]
        self._seal()
        self._output += self.session.delivery.unacknowledged()

    def _beat(self) -> None:
        sealed = self.session.take()
        self._output += sealed or [self.session.bare(self.session.delivery.sent)]

    def _seal(self) -> None:
        # What was written is now numbered, and in the outbox.
        self.session.take()
