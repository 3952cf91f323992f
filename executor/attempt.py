"""One body in a hub: its streams, its credit and how far it has come."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn

from executor.accumulation import Accumulator, ChunkFold
from executor.body import NOT_READY, Interrupted, Stream, StreamPort, UpstreamFailed
from executor.body_task import BodyTask
from executor.code import LoadedCode
from executor.host import Broken, Invocation
from executor.life_cycle import Body, Step
from protocol.messages import DefaultInput, StreamInput
from protocol.serialization import DeserializationError
from protocol.values import Value, size_bytes

if TYPE_CHECKING:
    from executor.hub import Hub

log = logging.getLogger(__name__)

_OPENED: Final = DefaultInput()
TRIM_BYTES: Final = 16 << 20
"""When so much was freed it is worth the time to give it back to the system."""


class Attempt:
    """One body in this hub, from its Invoke to its last report."""

    __slots__ = (
        "accumulator",
        "at_gate",
        "awaits",
        "body",
        "cancel_thrown",
        "cancels_pending",
        "code",
        "credit",
        "emitted",
        "ended",
        "hub",
        "invocation",
        "key",
        "ports",
        "queued",
        "reading_children",
        "rest_is_known",
        "seconds",
        "streams_ended",
        "task",
        "unwound",
        "waiting",
    )

    accumulator: Accumulator | ChunkFold
    code: LoadedCode

    def __init__(self, hub: Hub, invocation: Invocation) -> None:
        self.hub = hub
        self.invocation = invocation
        self.key = invocation.key
        self.credit = invocation.credit
        self.body: Body | None = None
        self.emitted = 0
        self.seconds = 0.0
        self.queued = False
        self.ended = False
        # At most one of these holds while the body rests.
        self.at_gate = False
        self.waiting: Port | None = None
        self.awaits = False  # something of the event loop's, in its task
        # The task of an async body, where the host has an event loop; what follows its unwinding.
        self.task: BodyTask | None = None
        self.unwound: Callable[[], None] | None = None
        # Tasks that it spawned and that wait for a chunk; and whether the coordinator has heard that the
        # whole body rests, and nothing of it was woken since.
        self.reading_children = 0
        self.rest_is_known = False
        self.streams_ended = False
        self.cancels_pending = 0
        self.cancel_thrown = False
        # Ports exist before the body does: chunks may come while it waits for its turn.
        self.ports = {
            index: Port(self, index)
            for index, given in enumerate(invocation.inputs)
            if isinstance(given, StreamInput)
        }

    @property
    def rests_at_yield(self) -> bool:
        """Whether StreamCancelled can be thrown: the body has begun, and is not inside a read."""
        return self.body is not None and not self.body.is_blocked

    def arguments(self) -> tuple[tuple[object, ...], dict[str, object]]:
        args: list[object] = []
        kwargs: dict[str, object] = {}
        shape = self.code.shape
        inputs = self.invocation.inputs
        loads = self.hub.codec.loads
        # Each is forgotten at once, so that no two copies of all inputs are there at a time; the last
        # first, as memory is given back most easily from its end.
        freed_bytes = 0
        for index in reversed(range(len(inputs))):
            port = shape.port(index)
            given = inputs[index]
            argument: object
            if isinstance(given, StreamInput):
                argument = Stream[Any](self.ports[index])
            elif isinstance(given, DefaultInput):
                argument = port.default
            else:
                argument = loads(given)
            if self.hub.consumes_inputs:
                inputs[index] = _OPENED
                if isinstance(given, tuple):  # frames; what is small came with the message
                    freed_bytes = _trimmed(freed_bytes + size_bytes(given))
            if port.keyword_only:
                kwargs[port.name] = argument
            else:
                args.append(argument)
        args.reverse()
        return tuple(args), kwargs

    def step(self, advance: Callable[..., Step], *args: object) -> Step:
        """A step of the body, as the task that it is, if any."""
        step = self.hub.gate.step
        return step(advance, *args) if self.task is None else self.task.step(step, advance, *args)

    # -- waiting for chunks -----------------------------------------------------------------------

    def report_wait(self, port: Port) -> None:
        """Say that a task of the body waits for the port's next chunk."""
        resting_on = 1
        if self.reading_children:
            resting_on = self._waiting_ports() if self.waiting is not None else 0
            self.rest_is_known = resting_on > 0
        self.hub.reports.wait(self.key, port.index, port.taken, resting_on)

    def child_rests(self) -> None:
        """A spawned task has gone as far as it can: the body may rest again, if another moved it."""
        if self.reading_children and not self.rest_is_known and self.waiting is not None:
            self.report_wait(self.waiting)

    def note_readers(self, change: int) -> None:
        """So many more spawned tasks wait for a chunk."""
        self.reading_children += change
        self.hub.reading_children += change

    def report_rest(self) -> bool:
        """None of its tasks can go on without a chunk: say that, if it is news."""
        if self.rest_is_known or not self.reading_children or self.streams_ended:
            return False
        self.rest_is_known = True
        port = next(port for port in self.ports.values() if port.awaited_by_child)
        self.hub.reports.wait(self.key, port.index, port.taken, self._waiting_ports())
        return True

    def end_streams(self) -> None:
        """The run of the body is over: its handles are dead (rule 48)."""
        self.streams_ended = True
        if self.reading_children:
            for port in self.ports.values():
                port.wake_children()

    def _waiting_ports(self) -> int:
        return sum(port is self.waiting or port.awaited_by_child for port in self.ports.values())

    # -- ending -----------------------------------------------------------------------------------

    def close(self) -> None:
        if self.body is None:
            return
        error = self.hub.gate.close(self.body)
        if error is not None and not isinstance(error, Interrupted):
            self.complain(error)

    def complain(self, error: BaseException) -> None:
        """The body was given up, and did not end as it must: nobody waits for it, so it is logged."""
        body: Any = self.code.body
        code = getattr(getattr(body, "call", body), "__code__", None)
        place = f"{code.co_filename}:{code.co_firstlineno}" if code is not None else "no place"
        log.error(
            "node %r (%s), run %d: when its body was closed, because nobody reads on or the run ended, "
            "it raised %r",
            self.invocation.name,
            place,
            self.key.generation,
            error,
        )


class Port(StreamPort):
    """The chunks of one stream that have come for one attempt."""

    __slots__ = (
        "_attempt",
        "_buffer",
        "_received",
        "_wakes",
        "broken",
        "closed",
        "end",
        "index",
        "taken",
    )

    def __init__(self, attempt: Attempt, index: int) -> None:
        self._attempt = attempt
        self._buffer: deque[Value] = deque()
        self._received = 0
        self._wakes: list[Callable[[], object]] = []  # of spawned tasks that wait for a chunk
        self.index = index
        self.taken = 0
        self.end: int | None = None
        self.broken: Broken | None = None
        self.closed = False

    def receive(self, first: int, values: list[Value]) -> bool:
        assert first == self._received, (first, self._received)
        self._received += len(values)
        if self.closed:
            return False
        self._buffer.extend(values)
        return True

    def take(self) -> object:
        attempt = self._attempt
        if attempt.streams_ended:
            raise RuntimeError("this stream belongs to a run that has ended")
        buffer = self._buffer
        if not buffer:
            if self.closed:
                raise StopIteration
            if self.end is not None and self.taken >= self.end:
                self._raise_end()
            return NOT_READY
        hub = attempt.hub
        gate = hub.gate
        was_open = gate.is_open
        gate.is_open = False  # an interrupt would tear what is written here
        value = buffer.popleft()
        self.taken += 1
        hub.reports.read(attempt.key, self.index, self.taken)
        hub.on_take(not buffer)
        gate.is_open = was_open
        return hub.codec.loads(value)

    def _raise_end(self) -> NoReturn:
        if self.broken is None:
            raise StopIteration
        failure, cause = self.broken.failure, self.broken.cause
        error = UpstreamFailed(failure.node, failure.reason)
        if cause is not None:
            with suppress(DeserializationError):  # the sentence says it too
                error.__cause__ = self._attempt.hub.codec.loads(cause)  # type: ignore[assignment]
        raise error

    def cancel(self) -> None:
        attempt = self._attempt
        if self.closed or attempt.streams_ended:
            return
        gate = attempt.hub.gate
        was_open = gate.is_open
        gate.is_open = False
        self.closed = True
        self._buffer.clear()
        if self.end is None:
            attempt.hub.reports.cancel_stream(attempt.key, self.index)
        attempt.hub.wake(attempt, self.index)  # other tasks of the body may be reading it
        gate.is_open = was_open

    # -- tasks that the body spawned ------------------------------------------------------------------

    @property
    def awaited_by_child(self) -> bool:
        return bool(self._wakes)

    def park(self, wake: Callable[[], object]) -> None:
        self._wakes.append(wake)
        self._attempt.note_readers(1)
        if self._attempt.streams_ended:
            wake()
        else:
            self._attempt.report_wait(self)

    def unpark(self, wake: Callable[[], object]) -> None:
        if wake in self._wakes:  # it is cancelled instead of woken
            self._wakes.remove(wake)
            self._attempt.note_readers(-1)

    def wake_children(self) -> None:
        """Let each look again; all but the first who finds a chunk wait anew."""
        wakes, self._wakes = self._wakes, []
        self._attempt.note_readers(-len(wakes))
        if wakes:
            self._attempt.rest_is_known = False
        for wake in wakes:
            wake()


def _trimmed(freed_bytes: int) -> int:
    """Give back memory if much was freed; how much of that is left."""
    if freed_bytes < TRIM_BYTES:
        return freed_bytes
    from executor.heap import trim  # noqa: PLC0415 - few flows ever need it

    trim()
    return 0
