"""Link: whether the peer at the other end of a session is there, and when to try again.

Theory of operation. Each side *beats*: it sends at least something every ``beat_s``. A peer that has
not been heard for a while is *suspect*: it keeps what it has and gets no new work. A connection that
breaks is made again, by the side that connects, after a *back-off* that doubles with each failure; the
session goes on over the next one. A peer not heard for ``lost_after_s``, with or without a connection,
is lost: its session is over, and its leases with it. It is the driver that carries out the actions
and that tells what happens; late and repeated news change nothing.

    CONNECTING --connected--> LIVE <--heard/missed--> SUSPECT
        ^ |                   |  |                      |
        | +-broke--> BROKEN <-+  +--drain--> DRAINING --+--> CLOSED (ended in order)
        +---retry------+-------------- silent, refused -----> LOST
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


class LinkState(enum.Enum):
    CONNECTING = "connecting"
    """A connection is being made; the peer has not said anything on it."""
    LIVE = "live"
    SUSPECT = "suspect"
    """The peer is silent for longer than it should be."""
    BROKEN = "broken"
    """There is no connection; the session waits for the next one."""
    DRAINING = "draining"
    """The peer ends what it has begun and gets nothing new."""
    CLOSED = "closed"
    """Over: the peer has said that it is done."""
    LOST = "lost"
    """Over: whatever the peer still does is of no effect."""


class LinkEvent(enum.Enum):
    CONNECTED = "connected"
    """The peer has greeted us on a connection, the first or another one."""
    HEARD = "heard"
    """Something else has come from the peer."""
    BROKE = "broke"
    """The connection ended, or could not be made."""
    REFUSED = "refused"
    """The peer knows nothing of this session, or will not have it."""
    DRAIN = "drain"
    """We want the peer to end in order."""
    ENDED = "ended"
    """The peer has said that it is done."""
    # The machine's own, when time passes:
    MISSED = "missed"
    SILENT = "silent"
    RETRY = "retry"


_S = LinkState
_E = LinkEvent

# Every transition is here; nothing else assigns a LinkState.
TRANSITIONS: Final = MappingProxyType(
    {
        (_S.CONNECTING, _E.CONNECTED): _S.LIVE,
        (_S.CONNECTING, _E.HEARD): _S.CONNECTING,  # by an older connection
        (_S.CONNECTING, _E.BROKE): _S.BROKEN,
        (_S.CONNECTING, _E.REFUSED): _S.LOST,
        (_S.CONNECTING, _E.DRAIN): _S.LOST,  # nobody can be asked, so nobody is waited for
        (_S.CONNECTING, _E.ENDED): _S.CLOSED,
        (_S.CONNECTING, _E.MISSED): _S.BROKEN,
        (_S.CONNECTING, _E.SILENT): _S.LOST,
        # It came back before we had noticed that it was away.
        (_S.LIVE, _E.CONNECTED): _S.LIVE,
        (_S.LIVE, _E.HEARD): _S.LIVE,
        (_S.LIVE, _E.BROKE): _S.BROKEN,
        (_S.LIVE, _E.REFUSED): _S.LOST,
        (_S.LIVE, _E.DRAIN): _S.DRAINING,
        (_S.LIVE, _E.ENDED): _S.CLOSED,
        (_S.LIVE, _E.MISSED): _S.SUSPECT,
        (_S.SUSPECT, _E.CONNECTED): _S.LIVE,
        (_S.SUSPECT, _E.HEARD): _S.LIVE,
        (_S.SUSPECT, _E.BROKE): _S.BROKEN,
        (_S.SUSPECT, _E.REFUSED): _S.LOST,
        (_S.SUSPECT, _E.DRAIN): _S.DRAINING,
        (_S.SUSPECT, _E.ENDED): _S.CLOSED,
        (_S.SUSPECT, _E.SILENT): _S.LOST,
        (_S.BROKEN, _E.CONNECTED): _S.LIVE,  # the peer is the one that connects
        (_S.BROKEN, _E.HEARD): _S.BROKEN,
        (_S.BROKEN, _E.BROKE): _S.BROKEN,
        (_S.BROKEN, _E.REFUSED): _S.LOST,
        (_S.BROKEN, _E.DRAIN): _S.LOST,
        (_S.BROKEN, _E.ENDED): _S.CLOSED,
        (_S.BROKEN, _E.SILENT): _S.LOST,
        (_S.BROKEN, _E.RETRY): _S.CONNECTING,
        (_S.DRAINING, _E.CONNECTED): _S.DRAINING,
        (_S.DRAINING, _E.HEARD): _S.DRAINING,
        (_S.DRAINING, _E.BROKE): _S.LOST,  # who was about to end is not waited for
        (_S.DRAINING, _E.REFUSED): _S.LOST,
        (_S.DRAINING, _E.DRAIN): _S.DRAINING,
        (_S.DRAINING, _E.ENDED): _S.CLOSED,
        (_S.DRAINING, _E.SILENT): _S.LOST,
        # What is over stays over, whatever the network still brings.
        (_S.CLOSED, _E.CONNECTED): _S.CLOSED,
        (_S.CLOSED, _E.HEARD): _S.CLOSED,
        (_S.CLOSED, _E.BROKE): _S.CLOSED,
        (_S.CLOSED, _E.REFUSED): _S.CLOSED,
        (_S.CLOSED, _E.DRAIN): _S.CLOSED,
        (_S.CLOSED, _E.ENDED): _S.CLOSED,
        (_S.LOST, _E.CONNECTED): _S.LOST,
        (_S.LOST, _E.HEARD): _S.LOST,
        (_S.LOST, _E.BROKE): _S.LOST,
        (_S.LOST, _E.REFUSED): _S.LOST,
        (_S.LOST, _E.DRAIN): _S.LOST,
        (_S.LOST, _E.ENDED): _S.LOST,
    }
)

UP: Final = (_S.LIVE, _S.SUSPECT, _S.DRAINING)
"""There is a connection on which both have greeted."""

OVER: Final = (_S.CLOSED, _S.LOST)


class LinkAction(enum.Enum):
    CONNECT = "connect"
    """Make a connection and greet on it."""
    DISCONNECT = "disconnect"
    """Drop the connection, or the attempt to make one."""
    RESEND = "resend"
    """The peer has greeted: greet it, if it began, and send again what it has not acknowledged."""
    BEAT = "beat"
    """Send something, however empty."""
    END_LEASES = "end leases"
    """Whatever the peer holds is lost; it must be fenced before any of it runs elsewhere."""


@dataclass(frozen=True, slots=True)
class Liveness:
    """The times of a link. The defaults are for another host (FAULTS F29)."""

    beat_s: float = 2.0
    suspect_after_s: float = 10.0
    lost_after_s: float = 30.0
    connect_s: float = 5.0
    """How long the peer's greeting may take on a new connection."""
    retry_s: float = 0.1
    """The first back-off; each failure doubles it."""
    retry_limit_s: float = 30.0


class Link:
    """One side of a link. ``connects``: this side makes the connections, and waits for none.

    ``draw`` gives numbers from 0 to 1, such as the ``random`` of a seeded generator: a back-off lasts
    between half of its length and all of it, so that many peers do not come back at the same moment.
    """

    def __init__(
        self, liveness: Liveness, draw: Callable[[], float], now: float, *, connects: bool
    ) -> None:
        self.state = _S.CONNECTING if connects else _S.BROKEN
        self._liveness = liveness
        self._draw = draw
        self._connects = connects
        self._failures = 0
        self._heard_at = now
        self._sent_at = now
        # When the connection that is being made is given up, or the next one is to be made.
        self._connect_at = now + liveness.connect_s if connects else math.inf

    @property
    def is_up(self) -> bool:
        return self.state in UP

    @property
    def takes_work(self) -> bool:
        """Whether new work may be given to the peer."""
        return self.state is _S.LIVE

    def begin(self) -> list[LinkAction]:
        """What is to be done first."""
        return [LinkAction.CONNECT] if self.state is _S.CONNECTING else []

    def sent(self, now: float) -> None:
        """Something was sent to the peer: it need not be told by a beat."""
        self._sent_at = now

    def handle(self, event: LinkEvent, now: float) -> list[LinkAction]:
        """What is to be done because something happened."""
        before = self.state
        after = self.state = TRANSITIONS[before, event]
        if before in OVER:
            return []
        if event in (_E.HEARD, _E.CONNECTED, _E.ENDED):
            self._heard_at = max(self._heard_at, now)
        if event is _E.CONNECTED:
            self._failures = 0
            self._sent_at = now
            return [LinkAction.RESEND]
        if after is before:
            return []
        return self._enter(after, now)

    # -- time -------------------------------------------------------------------------------------

    def next_deadline(self) -> float:
        """When :meth:`expire` should be called; infinite once all is over."""
        if self.state in OVER:
            return math.inf
        beat = self._sent_at + self._liveness.beat_s if self.is_up else math.inf
        return min(beat, self._due()[0])

    def expire(self, now: float) -> list[LinkAction]:
        """Do what is due. Calling it early or again changes nothing."""
        actions: list[LinkAction] = []
        while self.state not in OVER:
            deadline, event = self._due()
            if deadline > now:
                break
            actions += self.handle(event, now)
        if self.is_up and self._sent_at + self._liveness.beat_s <= now:
            self._sent_at = now
            actions.append(LinkAction.BEAT)
        return actions

    # -- checking ---------------------------------------------------------------------------------

    def check(self) -> None:
        """Assert the invariants."""
        if self.state is _S.CONNECTING:
            assert self._connects
        # Something is always due until all is over: nobody waits for ever.
        assert (self.next_deadline() < math.inf) is (self.state not in OVER)

    # -- private ----------------------------------------------------------------------------------

    def _due(self) -> tuple[float, LinkEvent]:
        """The next event that time brings, and when."""
        times = self._liveness
        if self.state is _S.LIVE:
            return self._heard_at + times.suspect_after_s, _E.MISSED
        silent = self._heard_at + times.lost_after_s, _E.SILENT
        if self.state in (_S.CONNECTING, _S.BROKEN) and self._connect_at < silent[0]:
            return self._connect_at, _E.MISSED if self.state is _S.CONNECTING else _E.RETRY
        return silent

    def _enter(self, after: LinkState, now: float) -> list[LinkAction]:
        """What a change of state asks for."""
        match after:
            case _S.LOST:
                return [LinkAction.DISCONNECT, LinkAction.END_LEASES]
            case _S.CLOSED:
                return [LinkAction.DISCONNECT]
            case _S.CONNECTING:
                self._connect_at = now + self._liveness.connect_s
                return [LinkAction.CONNECT]
            case _S.BROKEN:
                self._connect_at = now + self._back_off_s() if self._connects else math.inf
                return [LinkAction.DISCONNECT]
            case _:
                return []

    def _back_off_s(self) -> float:
        times = self._liveness
        delay = min(times.retry_limit_s, times.retry_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return delay * (0.5 + 0.5 * self._draw())
