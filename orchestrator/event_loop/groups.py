"""Several coroutines at once: all of them, the first of them, or one within a time."""

from __future__ import annotations

from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from orchestrator.event_loop.outcomes import TaskCancelled, require_coroutine
from orchestrator.event_loop.queues import AsyncQueue
from orchestrator.event_loop.running import current_event_loop, current_task
from orchestrator.event_loop.tasks import TaskHandle

T = TypeVar("T")


async def gather(*coroutines: Coroutine[Any, Any, T]) -> list[T]:
    """Run all as tasks and return their values in the order of the arguments.

    If one raises, or the caller is cancelled, the others are cancelled and waited for; then the first
    exception is raised.
    """
    async with _Group(coroutines) as group:
        for _ in coroutines:
            (await group.ended.get()).outcome()
        return [task.outcome() for task in group.tasks]


async def race(*coroutines: Coroutine[Any, Any, T]) -> T:
    """Run all as tasks and return the value, or raise the exception, of the first that ends.

    The others are cancelled and waited for, as they are if the caller is cancelled.

    Raises:
        ValueError: there is none to wait for.
    """
    if not coroutines:
        raise ValueError("race() needs at least one coroutine; with none it would never return")
    async with _Group(coroutines) as group:
        winner: T = (await group.ended.get()).outcome()
        return winner


class _Group:
    """Tasks that do not outlive a block. ``ended`` has them in the order they end."""

    def __init__(self, coroutines: tuple[Coroutine[Any, Any, Any], ...]) -> None:
        for coroutine in coroutines:
            require_coroutine(coroutine)
        self._coroutines = coroutines
        self.ended: AsyncQueue[TaskHandle[Any]] = AsyncQueue()
        self.tasks: list[TaskHandle[Any]] = []

    async def __aenter__(self) -> Self:
        loop = current_event_loop()
        self.tasks = [loop.create_task(self._report(coroutine)) for coroutine in self._coroutines]
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in self.tasks:
            task.cancel()
        for task, coroutine in zip(self.tasks, self._coroutines, strict=True):
            await task.wait_ended()
            coroutine.close()  # one that was cancelled before it began

    async def _report(self, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            return await coroutine
        finally:
            self.ended.put_nowait(current_task())


class timeout:  # noqa: N801 - reads as a function, as in ``with timeout(5):``
    """Bounds a block: ``with timeout(seconds):`` (or ``async with``).

    When the time has passed, what the block awaits is cancelled, and the TaskCancelled that leaves
    the block becomes TimeoutError. A cancel from elsewhere, or another exception, passes as it is.
    A block that catches the TaskCancelled and goes on is not disturbed again. Blocks nest; each
    acts for itself.

    Raises:
        TimeoutError: at the end of the block.
        ValueError: ``seconds`` is NaN.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._is_over = False
        self._expiry: TaskCancelled | None = None  # what was thrown when the time had passed

    def __enter__(self) -> Self:
        self._task = current_task()
        loop = self._task.loop
        self._timer = loop.timers.add(loop.now() + self._seconds, self._expire)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_over = True
        self._task.loop.timers.discard(self._timer)
        if exc is not None and exc is self._expiry:
            msg = f"the block took longer than {self._seconds} s"
            raise TimeoutError(msg) from exc

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(exc_type, exc, traceback)

    def _expire(self) -> None:
        task = self._task
        if self._is_over:
            return
        if task.pending is not None:  # something else is about to be thrown; the block may survive that
            task.loop.call_soon_threadsafe(self._expire)
            return
        self._expiry = TimeExpired()
        task.interrupt(self._expiry)


class TimeExpired(TaskCancelled):
    """Thrown when the time of a block has passed; a cancel takes precedence over it."""
