"""What workers say, carried to the pool's machine and to the run that hears the reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from executor.host import Reports
from executor.lease import Lease
from executor.pool_machine import Action, PoolMachine
from protocol.framing import Envelope, ProtocolError
from protocol.messages import (
    Cancelled,
    CancelStream,
    CancelThrown,
    Chunk,
    Completed,
    Failed,
    FromWorker,
    Goodbye,
    Hello,
    Read,
    Wait,
)

_Envelope: TypeAlias = Envelope[FromWorker]


class Inbox:
    """Reads envelopes of greeted workers. ``reports`` is whoever listens now, or nobody.

    ``do`` carries out what follows from a message for the pool.
    """

    def __init__(self, machine: PoolMachine, do: Callable[[Sequence[Action]], None]) -> None:
        self.reports: Reports | None = None
        self._machine = machine
        self._do = do
        self._handlers: dict[type, Callable[[Any, _Envelope, Lease], list[Action]]] = {
            Chunk: self._chunk,
            Read: self._read,
            Wait: self._wait,
            CancelStream: self._cancel_stream,
            CancelThrown: self._cancel_thrown,
            Completed: self._completed,
            Failed: self._failed,
            Cancelled: self._cancelled,
        }

    def take(self, worker: int, envelope: _Envelope) -> None:
        """Report what an envelope says, and do what follows from it.

        What follows from one message is done before the next is reported: an attempt that was leased
        must be sent before anything that the next report has to say to it.

        What it says of attempts that the worker does not hold is dropped (FAULTS F21).

        Raises:
            ProtocolError: it says what a greeted worker never does.
        """
        for message in envelope.messages:
            if isinstance(message, Goodbye):
                continue  # its exit follows
            if isinstance(message, Hello):
                raise ProtocolError("a second Hello")
            lease = self._machine.leased_to(worker, message.key)
            if lease is not None:
                self._do(self._handlers[type(message)](message, envelope, lease))

    def _chunk(self, message: Chunk, envelope: _Envelope, lease: Lease) -> list[Action]:
        if self.reports is not None:
            values = [envelope.value(wire) for wire in message.values]
            self.reports.chunks(message.key, message.first, message.count, message.width, values)
        suspended = lease.emits(message.first + message.count)
        return self._machine.assign_line() if suspended else []

    def _read(self, message: Read, _: _Envelope, __: Lease) -> list[Action]:
        if self.reports is not None:
            self.reports.read(message.key, message.port, message.upto)
        return []

    def _wait(self, message: Wait, _: _Envelope, lease: Lease) -> list[Action]:
        if self.reports is not None:
            self.reports.wait(message.key, message.port, message.chunk, message.resting_on)
        suspended = lease.waits(message.port, message.chunk, message.resting_on)
        return self._machine.assign_line() if suspended else []

    def _cancel_stream(self, message: CancelStream, _: _Envelope, __: Lease) -> list[Action]:
        if self.reports is not None:
            self.reports.cancel_stream(message.key, message.port)
        return []

    def _cancel_thrown(self, message: CancelThrown, _: _Envelope, lease: Lease) -> list[Action]:
        if self.reports is not None:
            self.reports.cancel_thrown(message.key, message.merged, message.emitted)
        suspended = lease.answers_cancel(message.merged)
        return self._machine.assign_line() if suspended else []

    def _completed(self, message: Completed, envelope: _Envelope, _: Lease) -> list[Action]:
        if self.reports is not None:
            outputs = [envelope.value(wire) for wire in message.outputs]
            self.reports.completed(
                message.key, message.emitted, message.seconds, outputs, message.missing
            )
        return self._machine.ended(message.key, message.seconds)

    def _failed(self, message: Failed, envelope: _Envelope, _: Lease) -> list[Action]:
        if self.reports is not None:
            cause = None if message.cause is None else envelope.value(message.cause)
            self.reports.failed(message.key, message.emitted, message.seconds, message.error, cause)
        return self._machine.ended(message.key, message.seconds)

    def _cancelled(self, message: Cancelled, _: _Envelope, __: Lease) -> list[Action]:
        if self.reports is not None:
            self.reports.cancelled(message.key)
        return self._machine.ended(message.key, None)
