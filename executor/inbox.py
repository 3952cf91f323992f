"""What workers say, carried to the pool's machine and to the run that each message is about."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeAlias, assert_never

from executor.actions import Action
from executor.host import Reports, WorkerLoss
from protocol.errors import ProtocolError
from protocol.framing import Envelope
from protocol.messages import (
    AttemptKey,
    Cancelled,
    CancelStream,
    CancelThrown,
    Chunk,
    Completed,
    ErrorReport,
    Failed,
    FromWorker,
    Goodbye,
    Hello,
    LeftRunning,
    Missing,
    Read,
    Revoked,
    RunId,
    Wait,
)
from protocol.values import Value, size_bytes

log = logging.getLogger(__name__)

_Envelope: TypeAlias = Envelope[FromWorker]
_OF_WORKER: Final = (Hello, Goodbye, LeftRunning, Revoked)  # not of one attempt that it holds


class Lease(Protocol):
    """A worker's claim on an attempt; each verb says whether the body gives its place up by this."""

    @property
    def is_ending(self) -> bool: ...

    def emits(self, upto: int, /) -> bool: ...

    def waits(self, port: int, chunk: int, resting_on: int, /) -> bool: ...

    def answers_cancel(self, merged: int, /) -> bool: ...


class Leases(Protocol):
    """Who holds what; answers with what is to be done."""

    def leased_to(self, worker: int, key: AttemptKey, /) -> Lease | None: ...

    def left_running(self, worker: int, message: LeftRunning, /) -> str | None: ...

    def assign_line(self) -> list[Action]: ...

    def ended(
        self, key: AttemptKey, seconds: float | None, output_bytes: int = 0, /
    ) -> list[Action]: ...

    def given_up(self, key: AttemptKey, /) -> list[Action]:
        """It was told to end and has done so, which is reported as part of what is to be done."""

    def given_back(self, worker: int, keys: list[AttemptKey], /) -> list[Action]:
        """A worker has not begun these and never will."""


class Inbox:
    """Reads envelopes of greeted workers. ``reports`` holds who listens, by run.

    ``do`` carries out what follows from a message for the pool.
    """

    def __init__(self, machine: Leases, do: Callable[[Sequence[Action]], None]) -> None:
        self.reports: dict[RunId, Reports] = {}
        self._machine = machine
        self._do = do
        self._handlers: dict[type, Callable[[Any, _Envelope, Lease, Reports], list[Action]]] = {
            Chunk: self._chunk,
            Read: self._read,
            Wait: self._wait,
            CancelStream: self._cancel_stream,
            CancelThrown: self._cancel_thrown,
            Completed: self._completed,
            Failed: self._failed,
            Cancelled: self._cancelled,
        }

    def reports_of(self, run: RunId) -> Reports:
        """Whoever hears of a run; one that takes no notice where nobody listens any more."""
        return self.reports.get(run, _NOBODY)

    def take(self, worker: int, envelope: _Envelope) -> None:
        """Report what an envelope says, and do what follows from it.

        What follows from one message is done before the next is reported: an attempt that was leased
        must be sent before anything that the next report has to say to it.

        What it says of attempts that the worker does not hold is dropped (FAULTS F21).

        Raises:
            ProtocolError: it says what a greeted worker never does.
        """
        for message in envelope.messages:
            if isinstance(message, _OF_WORKER):
                self._take_of_worker(worker, message)
                continue
            lease = self._machine.leased_to(worker, message.key)
            if lease is not None:
                reports = self.reports.get(message.key.run, _NOBODY)
                self._do(self._handlers[type(message)](message, envelope, lease, reports))

    def _take_of_worker(self, worker: int, message: Hello | Goodbye | LeftRunning | Revoked) -> None:
        match message:
            case Hello():
                raise ProtocolError("a second Hello")
            case Goodbye():
                pass  # its exit follows
            case LeftRunning():
                if (warning := self._machine.left_running(worker, message)) is not None:
                    log.warning(warning)
            case Revoked():
                self._do(self._machine.given_back(worker, message.keys))
            case _:
                assert_never(message)

    def _chunk(
        self, message: Chunk, envelope: _Envelope, lease: Lease, reports: Reports
    ) -> list[Action]:
        values = [envelope.value(wire) for wire in message.values]
        reports.chunks(message.key, message.first, message.count, message.width, values)
        suspended = lease.emits(message.first + message.count)
        return self._machine.assign_line() if suspended else []

    def _read(self, message: Read, _: _Envelope, __: Lease, reports: Reports) -> list[Action]:
        reports.read(message.key, message.port, message.upto)
        return []

    def _wait(self, message: Wait, _: _Envelope, lease: Lease, reports: Reports) -> list[Action]:
        reports.wait(message.key, message.port, message.chunk, message.resting_on)
        suspended = lease.waits(message.port, message.chunk, message.resting_on)
        return self._machine.assign_line() if suspended else []

    def _cancel_stream(
        self, message: CancelStream, _: _Envelope, __: Lease, reports: Reports
    ) -> list[Action]:
        reports.cancel_stream(message.key, message.port)
        return []

    def _cancel_thrown(
        self, message: CancelThrown, _: _Envelope, lease: Lease, reports: Reports
    ) -> list[Action]:
        reports.cancel_thrown(message.key, message.merged, message.emitted)
        suspended = lease.answers_cancel(message.merged)
        return self._machine.assign_line() if suspended else []

    def _completed(
        self, message: Completed, envelope: _Envelope, _: Lease, reports: Reports
    ) -> list[Action]:
        outputs = [envelope.value(wire) for wire in message.outputs]
        state = None if message.state is None else envelope.value(message.state)
        reports.completed(message.key, message.emitted, message.seconds, outputs, message.missing, state)
        return self._machine.ended(message.key, message.seconds, sum(map(size_bytes, outputs)))

    def _failed(
        self, message: Failed, envelope: _Envelope, lease: Lease, reports: Reports
    ) -> list[Action]:
        if lease.is_ending:
            return self._machine.given_up(
                message.key
            )  # it was interrupted, or failed while it was closed
        cause = None if message.cause is None else envelope.value(message.cause)
        reports.failed(message.key, message.emitted, message.seconds, message.error, cause)
        return self._machine.ended(message.key, message.seconds)

    def _cancelled(self, message: Cancelled, _: _Envelope, __: Lease, ___: Reports) -> list[Action]:
        return self._machine.given_up(message.key)


class _Nobody:
    """Takes no notice: the run has been detached."""

    def chunks(
        self, key: AttemptKey, first: int, count: int, width: int, values: list[Value]
    ) -> None: ...

    def read(self, key: AttemptKey, port: int, upto: int) -> None: ...

    def wait(self, key: AttemptKey, port: int, chunk: int, resting_on: int) -> None: ...

    def cancel_stream(self, key: AttemptKey, port: int) -> None: ...

    def cancel_thrown(self, key: AttemptKey, merged: int, emitted: int) -> None: ...

    def completed(
        self,
        key: AttemptKey,
        emitted: int,
        seconds: float,
        outputs: list[Value],
        missing: Missing | None,
        state: Value | None = None,
    ) -> None: ...

    def failed(
        self, key: AttemptKey, emitted: int, seconds: float, error: ErrorReport, cause: Value | None
    ) -> None: ...

    def cancelled(self, key: AttemptKey) -> None: ...

    def lost(self, key: AttemptKey, loss: WorkerLoss) -> None: ...


_NOBODY: Final[Reports] = _Nobody()
