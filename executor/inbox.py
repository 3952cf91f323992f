"""What workers say, carried to the pool's machine and to the run that hears the reports."""

from __future__ import annotations

from collections.abc import Callable
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
    """Reads envelopes of greeted workers. ``reports`` is whoever listens now, or nobody."""

    def __init__(self, machine: PoolMachine) -> None:
        self.reports: Reports | None = None
        self._machine = machine
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

    def take(self, worker: int, envelope: _Envelope) -> list[Action]:
        """Report what an envelope says; returns what follows from it for the pool.

        What it says of attempts that the worker does not hold is dropped (FAULTS F21).

        Raises:
            ProtocolError: it says what a greeted worker never does.
        """
        actions: list[Action] = []
        for message in envelope.messages:
            if isinstance(message, Goodbye):
                continue  # its exit follows
            if isinstance(message, Hello):
                raise ProtocolError("a second Hello")
            lease = self._machine.leased_to(worker, message.key)
            if lease is not None:
                actions += self._handlers[type(message)](message, envelope, lease)
        return actions

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
            self.reports.wait(message.key, message.port, message.chunk)
        suspended = lease.waits(message.port, message.chunk)
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
