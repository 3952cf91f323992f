"""Tasks: a coroutine that a loop drives, and the handle that others hold of it.

Theory of operation. The loop alone moves a task along:

    ready  --- stepped --->  running  --- yields a command --->  waiting (``wait`` is the command)
      ^                         |                                   |
      +------ resume(), or an interrupt() that withdraws the wait --+
                                |
                                +--> FINISHED, ERROR or CANCELLED, for good

An interruption (a cancel, a timeout, Ctrl-C) stands in ``pending`` and is thrown at the next step. A
task that had just been woken is interrupted all the same, at the same await: the primitive that had
handed it something takes that back.
"""

from __future__ import annotations

from collections.abc import Coroutine
from itertools import count
from threading import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from orchestrator.event_loop.commands import Command, perform
from orchestrator.event_loop.outcomes import STOPPING, Cancellation, TaskCancelled, TaskState, Unheard
from orchestrator.event_loop.waiters import Wait, Waiters

if TYPE_CHECKING:
    from orchestrator.event_loop.event_loop import EventLoop

T = TypeVar("T")
_numbers = count(1)
_LIVING: Final = TaskState.LIVING  # a global is found faster than the attribute of an Enum


class TaskHandle(Generic[T]):
    """A task, made by ``spawn`` or ``EventLoop.create_task``; compared and hashed by identity.

    Its states may be read, and ``cancel`` called, from any thread; ``join`` belongs to its loop.
    """

    __slots__ = (
        "__weakref__",
        "_joiners",
        "_result",
        "_unheard",
        "coroutine",
        "exception",
        "loop",
        "number",
        "pending",
        "state",
        "timer",
        "wait",
    )

    def __init__(self, loop: EventLoop, coroutine: Coroutine[Any, Any, T]) -> None:
        self.loop = loop
        self.coroutine = coroutine
        self.number = next(_numbers)
        self.state = _LIVING
        self.wait: Command | None = None  # what it is suspended on; None: ready, running or ended
        self.timer: int | None = None  # the armed deadline of that wait
        self.pending: BaseException | None = None  # to be thrown at the next step
        self.exception: BaseException | None = None  # how it ended, unless it returned
        self._result: Any = None
        self._joiners: Waiters | None = None  # made when somebody joins
        self._unheard: Unheard | None = None

    def __repr__(self) -> str:
        name = getattr(self.coroutine, "__qualname__", type(self.coroutine).__name__)
        return f"<task {self.number} {name}, {self.state.value}>"

    @property
    def is_living(self) -> bool:
        """Whether it has yet to end."""
        return self.state is _LIVING

    @property
    def is_finished(self) -> bool:
        """Whether it returned."""
        return self.state is TaskState.FINISHED

    @property
    def is_error(self) -> bool:
        """Whether it raised something other than TaskCancelled."""
        return self.state is TaskState.ERROR

    @property
    def is_cancelled(self) -> bool:
        """Whether TaskCancelled escaped from it, or its loop ended before it."""
        return self.state is TaskState.CANCELLED

    async def join(self) -> T:
        """Wait for the task to end and return its value, or raise what it raised. Repeatable.

        A cancel of the joiner leaves the task alone. A joiner that lets the TaskCancelled of the task
        pass counts as cancelled too.

        Raises:
            TaskCancelled: the task was cancelled.
            RuntimeError: a task joined itself.
        """
        if self.state is _LIVING:
            if self.loop.current is self:
                msg = f"{self!r} joins itself and so would never return; join it from another task"
                raise RuntimeError(msg)
            await self.wait_ended()
        if self.exception is not None:
            raise self._own_exception(self.exception)
        value: T = self._result
        return value

    def cancel(self) -> Cancellation[T]:
        """Have TaskCancelled thrown into the task at its await. Acts when called; see Cancellation.

        A cancel that has yet to be thrown absorbs further ones. A task that cancels itself is
        thrown into at its next await.
        """
        if self.state is _LIVING:
            loop = self.loop
            if loop.thread_id == get_ident() and loop.current is not self:
                self._throw_cancelled()
            else:
                loop.call_soon_threadsafe(self._throw_cancelled)
        return Cancellation(self)

    async def wait_ended(self) -> None:
        """Wait for the task to end, whatever its outcome."""
        if self.state is not _LIVING:
            return
        if self._joiners is None:
            self._joiners = Waiters()
        await perform(Wait(self._joiners, self))

    def outcome(self) -> T:
        """The value of a task that has ended, or raise what it raised."""
        if self.state is _LIVING:
            msg = f"{self!r} has no outcome yet; await its join()"
            raise RuntimeError(msg)
        if self.exception is not None:
            raise self._own_exception(self.exception)
        value: T = self._result
        return value

    # -- for the loop, the poller and the primitives ---------------------------------------------

    def resume(self) -> None:
        """Make a waiting task ready."""
        if self.timer is not None:
            self.loop.timers.discard(self.timer)
            self.timer = None
        self.wait = None
        self.loop.ready.append(self)

    def interrupt(self, error: BaseException) -> None:
        """Have ``error`` thrown at the task's await, in place of anything that was to be thrown."""
        wait = self.wait
        if wait is not None:
            wait.withdraw(self)
            self.resume()
        self.pending = error

    def on_deadline(self) -> None:
        """The deadline of the present wait has come."""
        assert self.wait is not None
        self.wait.withdraw(self)
        self.wait.expire(self.loop.now())
        self.resume()

    def step(self) -> Command:
        """Run the task until its next command, throwing first what is pending."""
        error, self.pending = self.pending, None
        command: Command = self.coroutine.send(None) if error is None else self.coroutine.throw(error)
        return command

    def end(self, state: TaskState, result: Any, exception: BaseException | None) -> None:
        """Record how the task ended and wake who joins it."""
        self.state = state
        self._result = result
        self.exception = exception
        if self._joiners:
            self._joiners.wake_all()
        elif state is TaskState.ERROR:
            self._unheard = Unheard(self, exception)

    def own_traceback(self, error: BaseException) -> TracebackType | None:
        """The traceback without the frames of the loop: they refer to this task, and would keep it."""
        traceback = error.__traceback__
        code = getattr(self.coroutine, "cr_code", None) or getattr(self.coroutine, "gi_code", None)
        while traceback is not None and traceback.tb_frame.f_code is not code:
            traceback = traceback.tb_next
        return traceback

    def _own_exception(self, exception: BaseException) -> BaseException:
        """What is raised for who asks."""
        if self._unheard is not None:
            self._unheard.exception = None
        if self.state is TaskState.CANCELLED:
            return TaskCancelled(*exception.args)  # a new one, or it would gather tracebacks
        return exception

    def _throw_cancelled(self) -> None:
        pending = self.pending
        if self.state is _LIVING and (
            pending is None or not (type(pending) is TaskCancelled or isinstance(pending, STOPPING))
        ):
            self.interrupt(TaskCancelled())
