"""The tasks that run beside a flow: those that ``Flow.create_task`` has started."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from orchestrator.event_loop import TaskHandle

_FEW: Final = 64  # ended tasks that are not worth looking for


class Companions:
    """The tasks of one flow that have not ended. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._tasks: list[TaskHandle[Any]] = []  # at most half of them have ended, or a few
        self._most = _FEW

    def add(self, task: TaskHandle[Any]) -> None:
        """Take in a task; O(1) amortized."""
        with self._lock:
            if len(self._tasks) >= self._most:
                self._forget_ended()
            self._tasks.append(task)

    def living(self) -> list[TaskHandle[Any]]:
        """Those that have not ended."""
        with self._lock:
            self._forget_ended()
            return self._tasks.copy()

    def _forget_ended(self) -> None:
        self._tasks = [task for task in self._tasks if task.is_living]
        self._most = 2 * len(self._tasks) + _FEW
