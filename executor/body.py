"""What the body of a node uses: its streams, and the values and exceptions with a meaning of their own.

``orchestrator`` re-exports all of it for users; bodies that travel by value import it from here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from types import coroutine
from typing import Final, Generic, NoReturn, TypeVar, final

from greenlet import getcurrent

T_co = TypeVar("T_co", covariant=True)


class StreamCancelled(Exception):  # noqa: N818 - its name is the contract
    """Thrown into a generator, at its yield, when a reader cancels the stream.

    Uncaught, it ends the run: the final value is what was accumulated so far, and the generator's
    own input streams are cancelled in turn. Caught and followed by a yield, the cancel is declined.
    """


class UpstreamFailed(Exception):  # noqa: N818 - says what happened to whom
    """Raised where a body reads on in a stream whose producer has failed, after its last chunk.

    The producer's own exception is the ``__cause__`` where it could be sent. Only in a run with
    ``terminate_on_node_error=False``: else a failure ends the run.
    """

    def __init__(self, node: str, reason: str) -> None:
        super().__init__(node, reason)
        self.node = node
        self.reason = reason

    def __str__(self) -> str:
        return f"the stream breaks off: node {self.node!r} failed: {self.reason}"


class Interrupted(BaseException):
    """Raised in a body, wherever it is, to make it end: it was cancelled, or has taken too long.

    Let it pass; ``finally`` blocks run. A body that goes on is interrupted again, and after a grace its
    worker process is ended.
    """


@final
class _Singleton:
    """A marker that keeps its identity when it is pickled."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name

    def __reduce__(self) -> str:
        return self._name


NO_VALUE: Final = _Singleton("NO_VALUE")
"""Stands for a final value that does not exist: a generator that accumulated nothing."""

SKIP: Final = _Singleton("SKIP")
"""Returned by a body so that what depends on it is skipped in this generation."""


class StreamPort(ABC):
    """What stands behind a handle: the chunks received of one stream, and the way to ask for more."""

    __slots__ = ()

    @abstractmethod
    def take(self) -> object:
        """The next chunk, or ``NOT_READY``; StopIteration when the stream has ended.

        Raises:
            RuntimeError: the run that the handle was given to has ended.
        """

    @abstractmethod
    def cancel(self) -> None:
        """Closes the handle and tells the producer; repeating it changes nothing."""

    @abstractmethod
    def park(self, wake: Callable[[], object]) -> None:
        """A task that the body spawned waits: call ``wake`` once, when ``take`` may have more to say."""

    @abstractmethod
    def unpark(self, wake: Callable[[], object]) -> None:
        """It waits no more."""


NOT_READY: Final = _Singleton("NOT_READY")


@final
class Stream(Generic[T_co]):
    """A stream of chunks, as a body reads it.

    A ``def`` body iterates with ``for``, an ``async def`` body with ``async for``. Each chunk comes
    exactly once, in order. Reading suspends the body until a chunk is there; a suspended body holds
    no worker. After the body's run has ended the handle is dead: reading raises RuntimeError.

    A body may not hold a thread lock while it reads.
    """

    __slots__ = ("_port",)

    def __init__(self, port: StreamPort) -> None:
        self._port = port

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a stream can be read only in the run of the body that was given it; pass on what you have "
            "read: 'yield from' the stream, or return list(stream)"
        )

    def __iter__(self) -> Iterator[T_co]:
        return self

    def __next__(self) -> T_co:
        take = self._port.take
        chunk = take()
        while chunk is NOT_READY:
            hub = getcurrent().parent
            if hub is None:
                raise RuntimeError(
                    "a stream has no chunk ready and this code cannot be suspended: "
                    "read it in the body's own thread, and in an 'async def' body with 'async for'"
                )
            hub.switch(self._port)
            chunk = take()
        return chunk  # type: ignore[return-value]  # unpickled: its type is the user's word

    def __aiter__(self) -> AsyncIterator[T_co]:
        return self

    async def __anext__(self) -> T_co:
        take = self._port.take
        try:
            chunk = take()
            while chunk is NOT_READY:
                await _suspend(self._port)
                chunk = take()
        except StopIteration:
            raise StopAsyncIteration from None
        return chunk  # type: ignore[return-value]  # unpickled: its type is the user's word

    def cancel(self) -> Awaitable[None]:
        """Stop reading, and ask the producer to stop for every reader.

        Acts when called; awaiting the result is optional and never waits. Every further read ends
        the iteration, even where chunks had come. Repeating it, or calling it after the end, does
        nothing. The producer gets StreamCancelled at its next yield (SEMANTICS 55-60).
        """
        self._port.cancel()
        return _done()


@coroutine
def _suspend(port: StreamPort) -> Generator[StreamPort, None, None]:
    yield port


class _Done:
    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


def _done() -> Awaitable[None]:
    return _Done()
