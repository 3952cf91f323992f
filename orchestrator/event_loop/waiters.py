"""Lines of tasks that wait for each other: what queues, locks and joins are made of."""

from __future__ import annotations

from collections import OrderedDict
from threading import get_ident
from typing import TYPE_CHECKING, Any, NoReturn

from orchestrator.event_loop.commands import Command

if TYPE_CHECKING:
    from orchestrator.event_loop.tasks import TaskHandle


class Wait(Command):
    """Wait in a line until somebody wakes this task, or until ``deadline``: the result is then False.

    ``is_woken`` tells a task that is thrown into whether it had been woken just before, and so must
    give back what it was handed.
    """

    __slots__ = ("deadline", "is_woken", "waiters", "what")

    def __init__(self, waiters: Waiters, what: object, deadline: float | None = None) -> None:
        self.result = None
        self.waiters = waiters
        self.what = what  # of which ``str`` says what is waited for, if anybody asks
        self.deadline = deadline  # on the loop's clock
        self.is_woken = False

    def withdraw(self, task: TaskHandle[Any]) -> None:
        del self.waiters[task]

    def __str__(self) -> str:
        return f"waiting for {self.what}"


class Waiters(OrderedDict["TaskHandle[Any]", Wait]):
    """Tasks in line, first come first served; joining, leaving and waking cost O(1).

    Whatever has such a line does not pickle. A copy of it begins with an empty one.
    """

    def __reduce__(self) -> NoReturn:
        raise TypeError("queues, locks and the like belong to one event loop and do not pickle")

    def __deepcopy__(self, memo: object) -> Waiters:
        return Waiters()

    def wake_one(self, result: object = True) -> TaskHandle[Any]:
        """Wake the first in line, which must exist; its wait returns ``result``.

        Raises:
            RuntimeError: called from a thread other than the one that runs the task's loop.
        """
        task = next(iter(self))
        if task.loop.thread_id != get_ident():
            msg = (
                f"{task!r} belongs to an event loop in another thread; to wake it from here, give the "
                "call to that loop's call_soon_threadsafe()"
            )
            raise RuntimeError(msg)
        wait = self.pop(task)
        wait.is_woken = True
        wait.result = result
        task.resume()
        return task

    def wake_all(self, result: object = True) -> None:
        """Wake all, in the order they came."""
        while self:
            self.wake_one(result)
