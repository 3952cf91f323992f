"""What the future of an executor's task raises where the task itself did not.

Each is also what ``ProcessPoolExecutor`` would have raised, so that code which handles its errors goes
on to.
"""

from __future__ import annotations

from concurrent.futures.process import BrokenProcessPool
from pickle import PicklingError

from executor.errors import WorkerError, advice, describe_end
from executor.host import LossReason


class TaskCrashed(WorkerError, BrokenProcessPool):  # noqa: N818 - says what happened
    """The worker process ended while it ran this task. The executor goes on.

    ``attempts`` is how often the task was begun. ``status`` is the exit code or minus a signal's number,
    None if unknown.
    """

    def __init__(
        self,
        task: str,
        attempts: int,
        pid: int,
        status: int | None,
        reason: LossReason = LossReason.DIED,
    ) -> None:
        super().__init__(task, attempts, pid, status, reason)
        self.task = task
        self.attempts = attempts
        self.pid = pid
        self.status = status
        self.reason = reason

    def __str__(self) -> str:
        tries = "" if self.attempts == 1 else f", as it did in {self.attempts} attempts"
        what = (
            f"task {self.task!r}: its worker (pid {self.pid}) {describe_end(self.status, self.reason)}"
        )
        return (
            f"{what}, while it ran this task{tries}.{advice(self.status, self.reason)}"
            " Other tasks are not touched, and the executor can be used further."
        )


class TaskTimeoutError(WorkerError, TimeoutError):
    """The task computed for longer than its ``timeout_s``, and was ended.

    ``trace`` shows what its worker's threads were doing then.
    """

    def __init__(self, task: str, pid: int, timeout_s: float, computed_s: float, trace: str) -> None:
        super().__init__(task, pid, timeout_s, computed_s, trace)
        self.task = task
        self.pid = pid
        self.timeout_s = timeout_s
        self.computed_s = computed_s
        self.trace = trace

    def __str__(self) -> str:
        what = (
            f"task {self.task!r}: it computed for {self.computed_s:.3g} s in its worker "
            f"(pid {self.pid}), and timeout_s={self.timeout_s:g} allows no more, so it was ended"
        )
        return f"{what}:\n{self.trace}" if self.trace else what


class ExecutorBroken(WorkerError, BrokenProcessPool):  # noqa: N818 - says what happened
    """The executor can run nothing any more; ``reason`` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"this executor is broken: {self.reason}"


class TaskNotPicklable(WorkerError, PicklingError):  # noqa: N818 - says what happened
    """The function, its arguments or its result cannot travel; ``part`` says which."""

    def __init__(self, task: str, part: str, reason: str) -> None:
        super().__init__(task, part, reason)
        self.task = task
        self.part = part
        self.reason = reason

    def __str__(self) -> str:
        return f"task {self.task!r}: {self.part} cannot be sent between processes: {self.reason}"


class TaskNotLoadable(WorkerError):  # noqa: N818 - says what happened
    """The worker could not unpickle the function or its arguments; ``part`` says which."""

    def __init__(self, task: str, part: str, reason: str) -> None:
        super().__init__(task, part, reason)
        self.task = task
        self.part = part
        self.reason = reason

    def __str__(self) -> str:
        reason = self.reason.removeprefix("cannot be unpickled: ")
        return f"task {self.task!r}: {self.part} cannot be unpickled in the worker: {reason}"


class RemoteException(WorkerError):  # noqa: N818 - stands for one
    """Stands for an exception of a task that does not pickle, or does not unpickle here."""

    def __init__(self, task: str, type_name: str, message: str) -> None:
        super().__init__(task, type_name, message)
        self.task = task
        self.type_name = type_name
        self.message = message

    def __str__(self) -> str:
        return f"task {self.task!r} raised {self.type_name}: {self.message}"
