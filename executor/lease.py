"""A worker's claim on an attempt, and whether the attempt's body wants the worker's time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from executor.host import Invocation
from executor.placement import Load
from protocol.messages import Digest

if TYPE_CHECKING:
    from executor.watching import Overrun


class Lease:
    """What was sent to an attempt and what it has said, as far as that decides whether it can go on.

    A body is *suspended* while it waits for a chunk that was not sent, or has emitted all it may. The
    methods that can suspend it say whether they did: its worker then has room. An active body counts in
    the worker's load by the time it is expected to take, a suspended one by its number alone.
    """

    __slots__ = (
        "_cancels_pending",
        "_credit",
        "_delivered",
        "_emitted",
        "_ended",
        "_load",
        "_reads",
        "_waiting_ports",
        "cancelled",
        "code",
        "demand",
        "expected_s",
        "key",
        "memory_hard_bytes",
        "name",
        "number",
        "overrun",
        "sent_ahead",
        "suspended",
        "timeout_s",
        "worker",
    )

    def __init__(
        self, worker: int, number: int, invocation: Invocation, load: Load, expected_s: float
    ) -> None:
        self.worker = worker
        self.number = number
        """What names the attempt in its worker's page."""
        self.key = invocation.key
        self.name = invocation.name
        """Its node's."""
        self.code: Digest = invocation.code.digest
        self.demand = invocation.demand
        self.timeout_s = invocation.timeout_s
        """How long its body may compute."""
        self.memory_hard_bytes = invocation.memory_hard_bytes
        """How large its worker may be while it computes; None: as the pool has it."""
        self.cancelled = False
        """Whether it was told to end by its run; set by who tells it."""
        self.overrun: Overrun | None = None
        """Which limit it broke, for which it was told to end."""
        self.sent_ahead: Invocation | None = None
        """What stands in a row behind others, to be sent elsewhere if it is taken back; None from the
        moment on that it is recalled."""
        self.suspended = False
        self.expected_s = expected_s
        self._load = load
        self._credit = invocation.credit
        self._emitted = 0
        self._cancels_pending = 0  # thrown at the generator and not answered yet
        self._waiting_ports: set[int] = set()
        self._reads = False  # suspended in reads of these
        # Made when the first chunk is sent: most bodies read no stream.
        self._delivered: dict[int, int] | None = None
        self._ended: list[int] | None = None
        load.begin(expected_s)

    @property
    def is_ending(self) -> bool:
        """Whether it was told to end, for whatever reason."""
        return self.cancelled or self.overrun is not None

    @property
    def priority(self) -> float:
        """That of what stands behind others."""
        return 0.0 if self.sent_ahead is None else self.sent_ahead.priority

    def turns_out_long(self) -> None:
        """It takes longer than was expected, and how long is not known: let nothing stand behind it."""
        if not self.suspended:
            self._load.end(self.expected_s)
            self._load.begin(math.inf)
        self.expected_s = math.inf

    def end(self) -> None:
        """The attempt is over; the lease counts no more."""
        if self.suspended:
            self._load.suspended -= 1
        else:
            self._load.end(self.expected_s)

    # -- what is sent to it -------------------------------------------------------------------------

    def deliver(self, port: int, upto: int) -> None:
        """The first ``upto`` chunks of a port's stream are on their way."""
        if self._delivered is None:
            self._delivered = {}
        self._delivered[port] = upto
        self._wake(port)

    def end_stream(self, port: int) -> None:
        if self._ended is None:
            self._ended = []
        self._ended.append(port)
        self._wake(port)

    def produce(self, upto: int) -> None:
        self._credit = max(self._credit, upto)
        if self._emitted < self._credit and not self._reads:
            self._resume()

    def throw_cancel(self) -> None:
        """A generator at the gate goes on for it; one that reads is thrown at after the read."""
        self._cancels_pending += 1
        if not self._reads:
            self._resume()

    # -- what it says ---------------------------------------------------------------------------------

    def waits(self, port: int, chunk: int, resting_on: int = 1) -> bool:
        """It waits for a chunk; void if that, or the stream's end, is on its way.

        It is suspended if ``resting_on`` of its waits have not ended, and also if other tasks of it go
        on in some event loop (0): what they await may depend on who stands in line behind it.
        """
        if self._ended is not None and port in self._ended:
            return False
        if self._delivered is not None and self._delivered.get(port, 0) > chunk:
            return False
        self._waiting_ports.add(port)
        self._reads = resting_on in (0, len(self._waiting_ports))
        return self._reads and self._suspend()

    def emits(self, upto: int) -> bool:
        """It has emitted ``upto`` chunks."""
        self._emitted = upto
        return self._rests_at_gate()

    def answers_cancel(self, merged: int) -> bool:
        """It has been thrown at, once for ``merged`` cancels, and lives on."""
        self._cancels_pending -= merged
        return self._rests_at_gate()

    # -- private --------------------------------------------------------------------------------------

    def _rests_at_gate(self) -> bool:
        return self._emitted >= self._credit and not self._cancels_pending and self._suspend()

    def _suspend(self) -> bool:
        if self.suspended:
            return False
        self.suspended = True
        self._load.end(self.expected_s)
        self._load.suspended += 1
        return True

    def _resume(self) -> None:
        if self.suspended:
            self.suspended = False
            self._load.suspended -= 1
            self._load.begin(self.expected_s)

    def _wake(self, port: int) -> None:
        if port in self._waiting_ports:
            self._waiting_ports.discard(port)
            self._reads = False
            self._resume()
