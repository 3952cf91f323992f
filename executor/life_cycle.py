"""The life of one body: opened on its arguments, advanced step by step, closed.

Theory of operation. ``Body.advance`` runs the body until it has something to say and returns it as a
:data:`Step`: a chunk it yielded, a stream it must wait for, the object it awaits, its result, or the
exception that ended it. All four kinds (function and generator, plain and ``async``) look the same
from outside. A plain body that reads streams runs in a greenlet, so that it may be suspended inside
any call (``sum(stream)``); one that reads none is simply called. Every step runs in the body's own
``contextvars`` context. No clock, socket or thread is known here: workers, the inline host and
other engines drive bodies by these verbs alone.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from typing import Any, Final, TypeAlias

from greenlet import GreenletExit, greenlet
from msgspec import Struct

from executor.blueprint import BodyKind
from executor.body import StreamPort
from executor.running_loop import AsyncioLoop, enter_running_loop, leave_running_loop


class Yielded(Struct, frozen=True, gc=False):
    """A generator's next chunk; the body now rests at that yield."""

    chunk: object


class Blocked(Struct, frozen=True):
    """The body reads a stream that has nothing for it yet."""

    port: StreamPort


class Awaiting(Struct, frozen=True):
    """An ``async`` body awaits something that is no stream of ours."""

    awaited: object


class Returned(Struct, frozen=True, gc=False):
    """The body ended. ``value`` is ``NATURAL_END`` for a generator that set no final value."""

    value: object


class Raised(Struct, frozen=True):
    """The body ended by an exception."""

    error: BaseException


Step: TypeAlias = Yielded | Blocked | Awaiting | Returned | Raised


class _NaturalEnd:
    def __repr__(self) -> str:
        return "NATURAL_END"


NATURAL_END: Final = _NaturalEnd()


class Body:
    """One evaluation of a function or generator.

    Use :meth:`open`, then ``advance``, ``throw`` and ``close``. ``reads_streams`` tells whether one
    of the arguments is a stream of ours; only then can a plain body be suspended in a read.
    """

    __slots__ = ("_iterator", "context")

    def __init__(self, *, reads_streams: bool) -> None:  # noqa: ARG002 - some need to know
        self.context: Context = copy_context()
        """What its context variables are."""
        self._iterator: Any = None

    @classmethod
    def open(
        cls,
        function: Callable[..., Any],
        args: tuple[object, ...],
        kwargs: dict[str, object],
        kind: BodyKind,
        *,
        is_async: bool,
        reads_streams: bool,
    ) -> Body:
        """A body about to run. Nothing of a plain function runs before the first ``advance``."""
        kinds = _GENERATORS if kind is BodyKind.GENERATOR else _FUNCTIONS
        body = kinds[is_async](reads_streams=reads_streams)
        body._open(function, args, kwargs)  # noqa: SLF001 - a constructor of this class
        return body

    @property
    def is_blocked(self) -> bool:
        """Whether it is suspended in the middle of a step, where nothing can be thrown softly."""
        raise NotImplementedError

    def advance(self, sent: object = None) -> Step:
        """Run on to the next step. ``sent`` answers an ``Awaiting``."""
        raise NotImplementedError

    def throw(self, error: BaseException) -> Step:
        """Raise an exception at the yield, or where an ``Awaiting`` stands, and run on."""
        raise NotImplementedError

    def close(self) -> BaseException | None:
        """End the body now: its ``finally`` blocks run. Returns what they raised, if anything."""
        raise NotImplementedError

    def _open(
        self, function: Callable[..., Any], args: tuple[object, ...], kwargs: dict[str, object]
    ) -> None:
        self._iterator = function(*args, **kwargs)


# -- plain bodies ----------------------------------------------------------------------------------


class _PlainBody(Body):
    __slots__ = ("_left_loop", "_suspended", "_suspends")

    def __init__(self, *, reads_streams: bool) -> None:
        super().__init__(reads_streams=reads_streams)
        self._suspends = reads_streams
        self._suspended: greenlet | None = None  # it waits in a read
        self._left_loop: AsyncioLoop | None = None  # it may read inside asyncio.run()

    @property
    def is_blocked(self) -> bool:
        return self._suspended is not None

    def _call(self, function: Callable[..., object], *args: object) -> object:
        """``function(*args)`` in the body's context; a Blocked step if it is suspended meanwhile."""
        if not self._suspends:
            return self.context.run(function, *args)
        current = self._suspended
        if current is None:
            # Known from now on: an interrupt may come when it has just been suspended.
            current = self._suspended = greenlet(function)
            current.gr_context = self.context
        else:
            args = ()
            enter_running_loop(self._left_loop)
        outcome = current.switch(*args)
        if current.dead:
            self._suspended = None
            return outcome
        self._left_loop = leave_running_loop()
        assert isinstance(outcome, StreamPort), outcome
        return Blocked(outcome)

    def _leave_read(self) -> BaseException | None:
        """Make a plain body that is suspended in a read leave it by GreenletExit."""
        current, self._suspended = self._suspended, None
        if current is None:
            return None
        enter_running_loop(self._left_loop)
        try:
            current.throw(GreenletExit)
        except BaseException as error:  # noqa: BLE001 - whatever the body's finally blocks raise
            return error
        if not current.dead:
            return RuntimeError("the body reads on although its run was ended")
        return None


class _PlainFunction(_PlainBody):
    __slots__ = ()

    def _open(
        self, function: Callable[..., Any], args: tuple[object, ...], kwargs: dict[str, object]
    ) -> None:
        self._iterator = (lambda: function(*args, **kwargs)) if kwargs else (function, args)

    def advance(self, sent: object = None) -> Step:  # noqa: ARG002 - it awaits nothing
        started, self._iterator = self._iterator, None
        try:
            if started is None:
                outcome = self._call(_never)
            elif isinstance(started, tuple):
                outcome = self._call(started[0], *started[1])
            else:
                outcome = self._call(started)
        except BaseException as error:  # noqa: BLE001 - it is the user's, whatever it is
            return Raised(error)
        return outcome if type(outcome) is Blocked else Returned(outcome)

    def throw(self, error: BaseException) -> Step:
        return Raised(RuntimeError(f"{error!r} cannot be thrown into a function"))

    def close(self) -> BaseException | None:
        self._iterator = None
        return self._leave_read()


class _PlainGenerator(_PlainBody):
    __slots__ = ()

    def advance(self, sent: object = None) -> Step:  # noqa: ARG002 - it awaits nothing
        return self._step(self._iterator.__next__)

    def throw(self, error: BaseException) -> Step:
        return self._step(self._iterator.throw, error)

    def close(self) -> BaseException | None:
        error = self._leave_read()
        try:
            self.context.run(self._iterator.close)
        except BaseException as raised:  # noqa: BLE001 - whatever the body's finally blocks raise
            return raised
        return error

    def _step(self, function: Callable[..., object], *args: object) -> Step:
        try:
            outcome = self._call(function, *args)
        except StopIteration as stop:
            return Returned(NATURAL_END if stop.value is None else stop.value)
        except StopAsyncIteration as stop:
            return Returned(_final_of(stop))
        except BaseException as error:  # noqa: BLE001 - it is the user's, whatever it is
            return Raised(error)
        return outcome if type(outcome) is Blocked else Yielded(outcome)


# -- async bodies ----------------------------------------------------------------------------------


class _AsyncBody(Body):
    __slots__ = ("_async_step",)

    def __init__(self, *, reads_streams: bool) -> None:
        super().__init__(reads_streams=reads_streams)
        self._async_step: Coroutine[Any, Any, Any] | None = None  # the step that waits or awaits

    @property
    def is_blocked(self) -> bool:
        return self._async_step is not None

    def advance(self, sent: object = None) -> Step:
        if self._async_step is None:
            self._async_step = self._next_step()
            sent = None
        return self._drive(self._async_step.send, sent)

    def _next_step(self) -> Any:
        raise NotImplementedError

    def _drive(self, resume: Callable[..., object], argument: object) -> Step:
        try:
            awaited = self.context.run(resume, argument)
        except StopIteration as stop:
            self._async_step = None
            return self._ended_step(stop.value)
        except StopAsyncIteration as stop:
            self._async_step = None
            return Returned(_final_of(stop))
        except BaseException as error:  # noqa: BLE001 - it is the user's, whatever it is
            self._async_step = None
            return self._failed(error)
        return Blocked(awaited) if isinstance(awaited, StreamPort) else Awaiting(awaited)

    def _ended_step(self, value: object) -> Step:
        raise NotImplementedError

    def _failed(self, error: BaseException) -> Step:
        return Raised(error)

    def _leave_await(self) -> BaseException | None:
        step, self._async_step = self._async_step, None
        if step is None:
            return None
        try:
            self.context.run(step.throw, GeneratorExit())
        except (GeneratorExit, StopIteration, StopAsyncIteration):
            return None
        except BaseException as error:  # noqa: BLE001 - whatever the body's finally blocks raise
            return error
        return RuntimeError("the body awaits on although its run was ended")


class _AsyncFunction(_AsyncBody):
    __slots__ = ()

    def _next_step(self) -> Any:
        return self._iterator

    def _ended_step(self, value: object) -> Step:
        return Returned(value)

    def throw(self, error: BaseException) -> Step:
        self._async_step = self._iterator
        return self._drive(self._iterator.throw, error)

    def close(self) -> BaseException | None:
        if self._async_step is None:
            self._iterator.close()
            return None
        return self._leave_await()


class _AsyncGenerator(_AsyncBody):
    __slots__ = ()

    def _next_step(self) -> Any:
        return self._iterator.__anext__()

    def _ended_step(self, value: object) -> Step:
        return Yielded(value)

    def _failed(self, error: BaseException) -> Step:
        # Python turns a StopAsyncIteration that leaves an async generator into a RuntimeError.
        if isinstance(error, RuntimeError) and isinstance(error.__cause__, StopAsyncIteration):
            return Returned(_final_of(error.__cause__))
        return Raised(error)

    def throw(self, error: BaseException) -> Step:
        if self._async_step is not None:
            return self._drive(self._async_step.throw, error)
        self._async_step = self._iterator.athrow(error)
        return self._drive(self._async_step.send, None)

    def close(self) -> BaseException | None:
        error = self._leave_await()
        closing: Generator[object, None, None] = self._iterator.aclose()
        try:
            self.context.run(closing.send, None)
        except StopIteration:
            return error
        except BaseException as raised:  # noqa: BLE001 - whatever the body's finally blocks raise
            return raised
        closing.close()
        return RuntimeError("the body awaits in its clean-up although its run was ended")


_FUNCTIONS: Final[tuple[type[Body], type[Body]]] = _PlainFunction, _AsyncFunction
_GENERATORS: Final[tuple[type[Body], type[Body]]] = _PlainGenerator, _AsyncGenerator
"""Plain, asynchronous."""


def _final_of(stop: StopAsyncIteration) -> object:
    """``raise StopAsyncIteration(v)`` sets the final value (SEMANTICS 43); bare, it just ends."""
    return stop.args[0] if stop.args else NATURAL_END


def _never() -> None:
    raise AssertionError("a body was advanced after its end")
