"""How tasks and runs end, and what is told to whom."""

from __future__ import annotations

import logging
from collections.abc import Coroutine, Generator
from enum import Enum
from inspect import CO_ITERABLE_COROUTINE, iscoroutinefunction
from types import CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from orchestrator.event_loop.commands import Command
    from orchestrator.event_loop.tasks import TaskHandle

T = TypeVar("T")
_log = logging.getLogger(__name__)


class TaskCancelled(BaseException):
    """Thrown into a task at its await when it is cancelled; raised by ``join`` on a cancelled task.

    No Exception, so that ``except Exception`` lets it pass.
    """


class TaskState(Enum):
    """How far a task has come; the last three never change again."""

    LIVING = "living"
    FINISHED = "finished"
    ERROR = "error"
    CANCELLED = "cancelled"


STOPPING: Final = (KeyboardInterrupt, SystemExit)  # what asks the process to stop


class Cancellation(Generic[T]):
    """A cancel under way; awaiting it is optional and waits for the task to end.

    Gives the task's value if it caught the cancel and returned, or had returned before; None if
    TaskCancelled escaped. If the task raised, or had raised, that exception is raised.
    """

    __slots__ = ("_task",)

    def __init__(self, task: TaskHandle[T]) -> None:
        self._task = task

    def __await__(self) -> Generator[Command, None, T | None]:
        task = self._task
        if task.is_living:
            yield from task.wait_ended().__await__()
        return None if task.is_cancelled else task.outcome()


class Unheard:
    """Logs the exception of a task when the task is forgotten and nobody has joined it."""

    __slots__ = ("_task", "exception")

    def __init__(self, task: TaskHandle[Any], exception: BaseException | None) -> None:
        self._task = repr(task)
        self.exception = exception  # None once somebody has heard of it

    def __del__(self) -> None:
        if self.exception is not None:
            _log.error("%s failed and nobody joined it", self._task, exc_info=self.exception)


def require_coroutine(candidate: object) -> None:
    """Raise a TypeError that says what to change, unless ``candidate`` can be run as a task."""
    if type(candidate) is CoroutineType or isinstance(candidate, Coroutine):
        return
    if isinstance(candidate, GeneratorType) and candidate.gi_code.co_flags & CO_ITERABLE_COROUTINE:
        return
    advice = ""
    if iscoroutinefunction(candidate):
        advice = "; call it: f() instead of f"
    elif hasattr(candidate, "__await__"):
        advice = "; await it inside an async function and pass that"
    msg = f"a task needs a coroutine object, not {candidate!r}{advice}"
    raise TypeError(msg)


def run_outcome(root: TaskHandle[T], join: bool, stuck: str | None) -> T | None:
    """What a run returns or raises; ``stuck`` describes the tasks if none of them could go on."""
    if stuck is not None:
        text = f"every task waits for another, and nothing is left that could wake one: {stuck}"
        if not root.is_living:
            _log.warning("the event loop closes tasks that can never end; %s", text)
        elif join:
            msg = f"Event loop exited without completing the root task. {text}"
            raise RuntimeError(msg)
        else:
            _log.error("the event loop exited without completing the root task; %s", text)
            return None
    try:
        value = root.outcome()
    except Exception:
        if join:
            raise
        _log.exception("the root task failed; pass join=True to have its exception raised")
        return None
    except BaseException:
        if join or root.is_error:  # not a mere cancel
            raise
        return None
    return value if join else None


class Exited(BaseException):
    """Carries what ``exit`` was given out of the loop."""

    def __init__(self, value: object, exception: BaseException | None) -> None:
        super().__init__()
        self.value: Any = value
        self.exception = exception


def abandon(task: TaskHandle[Any]) -> None:
    """End a living task at its await by GeneratorExit: its clean-up runs, but can't await."""
    task.loop.current = task
    task.interrupt(TaskCancelled("the event loop ended"))
    try:
        task.coroutine.close()
    except (Exception, TaskCancelled):  # noqa: BLE001 - the other tasks are to be closed too
        _log.exception("%r failed to clean up when its event loop ended (it can't await then)", task)
    task.end(TaskState.CANCELLED, None, task.pending)
