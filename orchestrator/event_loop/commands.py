"""What a task asks of the loop: commands, yielded one at a time.

Theory of operation. ``await perform(command)`` suspends the task that awaits it and hands the command
to the loop, which looks up the handler of its type. The loop always resumes a task with None; what a
command has to say stands in its ``result``. A command is also the task's *wait*: while the task is
suspended on it, the command knows how to withdraw the task and how to say what it waits for, so
neither cancelling nor describing searches anything.

A new command is a subclass of :class:`Command` and a handler given to ``EventLoop.register_command``.
Before adding one, see whether a coroutine over the existing ones does it.
"""

from __future__ import annotations

from collections.abc import Generator
from types import coroutine
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from orchestrator.event_loop.tasks import TaskHandle


NOT_ON_ASYNCIO: Final = (
    "orchestrator.event_loop does not run here, asyncio does; use asyncio.create_task for spawn, "
    "asyncio.Queue for AsyncQueue, asyncio.gather and asyncio.timeout, asyncio.Lock, Event, Condition "
    'and Barrier for those of the same name, or give the node placement="inline"'
)


class Command:
    """Base of all commands."""

    __slots__ = ("result",)

    def __init__(self) -> None:
        self.result: Any = None

    def withdraw(self, task: TaskHandle[Any]) -> None:
        """Undo what the handler set up; called at most once, when the wait is cut short."""

    def expire(self, now: float) -> None:  # noqa: ARG002 - for those who tell how long it took
        """The deadline of this wait has come; the task is resumed next."""
        self.result = False

    async def on_asyncio(self) -> None:
        """Do the same where asyncio runs the coroutine; by default that is refused."""
        raise RuntimeError(f"{self}: {NOT_ON_ASYNCIO}")

    def __str__(self) -> str:
        return type(self).__name__


@coroutine
def perform(command: Command) -> Generator[Command, None, Any]:
    """Suspend the calling task on ``command`` and return the command's result."""
    yield command
    return command.result


class YieldNow(Command):
    """Go to the back of the queue of ready tasks."""

    __slots__ = ()

    async def on_asyncio(self) -> None:
        await _asyncio().sleep(0)


YIELD: Final = YieldNow()


class Sleep(Command):
    """Wait; the result is the time that passed on the loop's clock."""

    __slots__ = ("seconds", "start")

    def __init__(self, seconds: float) -> None:
        self.result = None
        self.seconds = seconds
        self.start = 0.0  # set by the loop

    def expire(self, now: float) -> None:
        self.result = now - self.start

    async def on_asyncio(self) -> None:
        asyncio = _asyncio()
        now = asyncio.get_running_loop().time
        self.start = now()
        await asyncio.sleep(self.seconds)
        self.result = now() - self.start

    def __str__(self) -> str:
        return f"sleeping until {self.start + self.seconds}"


class Exit(Command):
    """End the loop at once."""

    __slots__ = ("exception", "value")

    def __init__(self, value: object, exception: BaseException | None) -> None:
        super().__init__()
        self.value = value
        self.exception = exception


def _asyncio() -> Any:
    import asyncio  # noqa: PLC0415 - heavy, and loaded already where asyncio runs the coroutine

    return asyncio
