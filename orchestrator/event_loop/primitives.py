"""What a coroutine may do besides computing: coroutines over the commands of the loop.

All must be awaited inside a task. A cancel is raised at any of their awaits, after the task has been
withdrawn from what it waits for.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Coroutine
from typing import Any, NoReturn, TypeVar

from orchestrator.event_loop.commands import YIELD, Exit, Sleep, perform
from orchestrator.event_loop.registrations import READ, WRITE, Ready
from orchestrator.event_loop.running import current_event_loop
from orchestrator.event_loop.sources import Source
from orchestrator.event_loop.tasks import TaskHandle

T = TypeVar("T")

__all__ = [
    "azip",
    "exit",
    "readable",
    "sleep",
    "spawn",
    "writable",
]


async def sleep(seconds: float) -> float:
    """Wait and return the time that has passed on the loop's clock.

    Equal deadlines end in the order the sleeps began. ``seconds`` <= 0 lets every other runnable task
    run once, and returns 0.0 without looking at the clock; inf sleeps until cancelled.
    """
    if seconds <= 0:
        await perform(YIELD)
        return 0.0
    slept: float = await perform(Sleep(seconds))
    return slept


async def spawn(coroutine: Coroutine[Any, Any, T]) -> TaskHandle[T]:
    """Start a task beside the calling one; it runs for the first time before ``spawn`` returns.

    The new task is independent: it is not cancelled with its parent. If the parent is cancelled while it
    spawns, the task has been started.
    """
    task = current_event_loop().create_task(coroutine)
    await perform(YIELD)
    return task


async def exit(value: object = None, exception: BaseException | None = None) -> NoReturn:  # noqa: A001
    """End the loop at once: the run returns ``value`` (if it joins) or raises ``exception``.

    Other tasks are closed where they stand: their ``finally`` blocks run but can't await.
    """
    await perform(Exit(value, exception))
    raise AssertionError("a loop that was told to end went on")  # pragma: no cover


async def readable(source: Source, deadline: float | None = None) -> bool:
    """Wait until ``source`` can be read; False if ``deadline`` came first.

    Args:
        source: a descriptor (a pipe, a pidfd, ...), an object with ``fileno()``, or a ZeroMQ socket.
            Cancel the tasks that wait for a source before closing it: a source that is closed under them
            is noticed in time, but a bare descriptor that is closed and opened anew is not.
        deadline: absolute, on the loop's clock (``loop.now()``). One that has passed asks whether the
            source is readable now.

    Raises:
        OSError: the source is closed, or is closed during the wait; or it is a regular file.
        TypeError: it has no descriptor.
    """
    is_ready: bool = await perform(Ready(source, READ, deadline))
    return is_ready


async def writable(source: Source, deadline: float | None = None) -> bool:
    """Wait until ``source`` can be written; otherwise as :func:`readable`."""
    is_ready: bool = await perform(Ready(source, WRITE, deadline))
    return is_ready


async def azip(*iterables: AsyncIterable[Any]) -> AsyncIterator[tuple[Any, ...]]:
    """Tuples of the next item of each, until one ends. Items are asked for one iterable after the other.

    As with ``zip``, iterables before the one that ended have given an item that is lost. Iterators are
    not closed.
    """
    iterators = [aiter(iterable) for iterable in iterables]
    while iterators:
        items = []
        for iterator in iterators:
            try:
                items.append(await anext(iterator))
            except StopAsyncIteration:
                return
        yield tuple(items)
