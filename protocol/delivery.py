"""Delivery: the numbers, acknowledgements and unacknowledged envelopes of one side of a session.

Theory of operation. Each side numbers its envelopes from 1 and says with each how many of the other's it
has taken. What the peer has not acknowledged is kept in the *outbox* and goes out again on the next
connection; the receiver drops what it has taken before and refuses a gap. A *bare* envelope carries no
message: it repeats the last number, so that it shows a loss, and is itself neither kept nor
acknowledged. It goes when nothing else went for a while. A peer that restarts begins a session with
another *epoch*; what an earlier one left in the network is dropped. No clock is read here, and what an
envelope is made of is not known.

A transport that loses nothing while its peer lives needs no outbox: then none is kept, and nobody
acknowledges for its sake.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Final, Generic, NewType, TypeVar

from protocol.errors import MissingEnvelopes, ProtocolError

E = TypeVar("E")

Epoch = NewType("Epoch", int)
"""Names one session among all that a peer's successive processes have had; from 0 to 2**63 - 1."""

OUTBOX_BYTES: Final = 64 << 20
"""How much may be under way to a peer over a network before its writer should wait."""

ACKNOWLEDGE_S: Final = 0.05
"""How long an acknowledgement may wait for an envelope to ride on."""


@dataclass(frozen=True, slots=True)
class Resending:
    """That a session outlives its connections, and at what cost.

    ``outbox_bytes`` bounds what is kept; an envelope that is written in spite of it is kept too.
    """

    outbox_bytes: int = OUTBOX_BYTES
    acknowledge_s: float = ACKNOWLEDGE_S


class Delivery(Generic[E]):
    """One side of a session. Without ``resending`` it numbers and checks, and keeps nothing."""

    __slots__ = (
        "_acknowledge_at",
        "_outbox",
        "_owed_bytes",
        "acknowledged",
        "duplicates",
        "epoch",
        "outbox_bytes",
        "received",
        "resending",
        "sent",
        "stale",
    )

    def __init__(self, epoch: Epoch, resending: Resending | None = None) -> None:
        self.epoch = epoch
        self.resending = resending
        self.sent = 0
        self.received = 0
        self.acknowledged = 0
        """How many of those that were sent the peer says it has."""
        self.duplicates = 0
        """Counts envelopes that had been taken before; they were dropped."""
        self.stale = 0
        """Counts envelopes of other epochs; they were dropped."""
        self.outbox_bytes = 0
        self._outbox: deque[tuple[E, int]] = deque()  # with their sizes; empty without resending
        self._owed_bytes = 0  # taken since the peer was last told how much was
        self._acknowledge_at = math.inf

    # -- sending ----------------------------------------------------------------------------------

    @property
    def has_credit(self) -> bool:
        """Whether the outbox has room. Who writes on without it makes the outbox grow."""
        return self.resending is None or self.outbox_bytes < self.resending.outbox_bytes

    def next_number(self) -> int:
        """The number of the envelope that goes now and acknowledges all that was ``received``."""
        self.sent += 1
        if self.resending is not None:
            self.told()
        return self.sent

    def told(self) -> None:
        """An envelope, maybe a bare one, goes now and acknowledges all that was ``received``."""
        self._owed_bytes = 0
        self._acknowledge_at = math.inf

    def keep(self, envelope: E, size_bytes: int) -> None:
        """Keep the envelope that was just numbered until it is acknowledged."""
        if self.resending is not None:
            self._outbox.append((envelope, size_bytes))
            self.outbox_bytes += size_bytes

    def unacknowledged(self) -> list[E]:
        """What a new connection has to carry first, in order."""
        return [envelope for envelope, _ in self._outbox]

    # -- receiving --------------------------------------------------------------------------------

    def take(
        self,
        epoch: int,
        number: int,
        acknowledged: int,
        bare: bool = False,
        size_bytes: int = 0,
        now: float = 0.0,
    ) -> bool:
        """Whether an envelope is the next one and is now taken; otherwise it is to be dropped.

        Raises:
            MissingEnvelopes: those before it have not come; nothing was taken.
            ProtocolError: it acknowledges what was never sent; nothing was taken.
        """
        if epoch != self.epoch:
            self.stale += 1
            return False
        received = self.received
        if number > received and (bare or number != received + 1):
            raise MissingEnvelopes(number, received)
        if acknowledged > self.sent:
            raise ProtocolError(f"{acknowledged} envelopes are acknowledged, and {self.sent} were sent")
        if acknowledged > self.acknowledged:  # else one sent again, which knew less
            if self.resending is not None:
                self._free(acknowledged)
            self.acknowledged = acknowledged
        if bare:
            return False
        if self.resending is not None:
            self._owe(self.resending, size_bytes, now)
        if number <= received:
            self.duplicates += 1
            return False
        self.received = number
        return True

    # -- time -------------------------------------------------------------------------------------

    def next_deadline(self) -> float:
        """When an acknowledgement has waited long enough; infinite if none waits."""
        return self._acknowledge_at

    # -- checking ---------------------------------------------------------------------------------

    def check(self) -> None:
        """Assert the invariants."""
        assert 0 <= self.acknowledged <= self.sent
        assert self.received >= 0
        # The outbox holds what has consecutive numbers up to the last one.
        kept = 0 if self.resending is None else self.sent - self.acknowledged
        assert len(self._outbox) == kept, (len(self._outbox), kept)
        assert self.outbox_bytes == sum(size for _, size in self._outbox)

    # -- private ----------------------------------------------------------------------------------

    def _free(self, acknowledged: int) -> None:
        for _ in range(acknowledged - self.acknowledged):
            _, size = self._outbox.popleft()
            self.outbox_bytes -= size

    def _owe(self, resending: Resending, size_bytes: int, now: float) -> None:
        """The peer keeps an envelope until it hears that it was taken, be it for the second time."""
        self._owed_bytes += size_bytes
        # A writer that waits for room must hear in time that it has some.
        urgent = self._owed_bytes >= resending.outbox_bytes // 4
        due = now if urgent else now + resending.acknowledge_s
        self._acknowledge_at = min(self._acknowledge_at, due)
