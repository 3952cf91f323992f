"""One body in a hub: its streams, its credit and how far it has come."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from typing import TYPE_CHECKING, Any, NoReturn

from executor import blueprint
from executor.accumulation import Accumulator
from executor.body import NOT_READY, Interrupted, Stream, StreamPort, UpstreamFailed
from executor.code import LoadedCode
from executor.host import Broken, Invocation
from executor.life_cycle import Body
from protocol.messages import DefaultInput, StreamInput
from protocol.serialization import DeserializationError
from protocol.values import Value

if TYPE_CHECKING:
    from executor.hub import Hub

log = logging.getLogger(__name__)


class Attempt:
    """One body in this hub, from its Invoke to its last report."""

    __slots__ = (
        "accumulator",
        "at_gate",
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
        "seconds",
        "waiting",
    )

    accumulator: Accumulator
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
        for index, given in enumerate(self.invocation.inputs):
            port = shape.port(index)
            argument = self._argument(index, given, port)
            if port.keyword_only:
                kwargs[port.name] = argument
            else:
                args.append(argument)
        return tuple(args), kwargs

    def _argument(self, index: int, given: object, port: blueprint.Port) -> object:
        if isinstance(given, StreamInput):
            return Stream[Any](self.ports[index])
        if isinstance(given, DefaultInput):
            return port.default
        return self.hub.codec.loads(given)  # type: ignore[arg-type]  # what is left is a Value

    def close(self) -> None:
        if self.body is None:
            return
        error = self.hub.gate.close(self.body)
        if error is not None and not isinstance(error, Interrupted):
            log.warning("while %s was closed, its body raised %r", self.key, error)


class Port(StreamPort):
    """The chunks of one stream that have come for one attempt."""

    __slots__ = ("_attempt", "_buffer", "_received", "broken", "closed", "end", "index", "taken")

    def __init__(self, attempt: Attempt, index: int) -> None:
        self._attempt = attempt
        self._buffer: deque[Value] = deque()
        self._received = 0
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
        if attempt.ended:
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
        if self.closed or self._attempt.ended:
            return
        gate = self._attempt.hub.gate
        was_open = gate.is_open
        gate.is_open = False
        self.closed = True
        self._buffer.clear()
        if self.end is None:
            self._attempt.hub.reports.cancel_stream(self._attempt.key, self.index)
        gate.is_open = was_open


def instance_of(kind: Callable[..., Any]) -> Any:
    """A node's own instance; class attributes become its own, copied (rule 37)."""
    instance = kind()
    for name, value in vars(kind).items():
        if not name.startswith("__") and not callable(value) and not hasattr(value, "__get__"):
            instance.__dict__.setdefault(name, deepcopy(value))
    return instance
