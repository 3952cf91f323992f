"""From what a worker reported of a task to what its future returns or raises."""

from __future__ import annotations

from typing import Any, NoReturn

from executor.body import NO_VALUE, SKIP
from executor.errors import RemoteTraceback, WorkerError
from executor.host import LossReason, WorkerLoss
from executor.task_errors import (
    RemoteException,
    TaskCrashed,
    TaskNotLoadable,
    TaskNotPicklable,
    TaskTimeoutError,
)
from protocol.messages import Absence, ErrorReport, Fault, Missing
from protocol.serialization import DeserializationError, loads
from protocol.values import Value


def open_result(outputs: list[Value], missing: Missing | None) -> Any:
    """What the function returned.

    Raises:
        DeserializationError: it cannot be unpickled here.
    """
    if missing is not None:  # a node's markers, returned by a plain function: mere values
        return SKIP if missing.absence is Absence.SKIP else NO_VALUE
    return loads(outputs[0])


def open_failure(task: str, report: ErrorReport, cause: Value | None) -> NoReturn:
    """Raise what the task has failed by; the worker's traceback, as text, is its cause."""
    error = _exception(task, report, cause)
    error.__cause__ = RemoteTraceback(report.traceback)
    raise error


def loss_error(task: str, attempts: int, loss: WorkerLoss) -> WorkerError:
    """The loss of a task's last attempt, as an exception."""
    if loss.reason is LossReason.TIMEOUT:
        return TaskTimeoutError(task, loss.pid, loss.limit, loss.found, loss.evidence.trace)
    return TaskCrashed(task, attempts, loss.pid, loss.status, loss.reason)


def _exception(task: str, report: ErrorReport, cause: Value | None) -> BaseException:
    match report.fault:
        case Fault.CODE:
            return TaskNotLoadable(task, "the function", report.message)
        case Fault.INPUT:
            return TaskNotLoadable(task, "an argument", report.message)
        case Fault.OUTPUT:
            return TaskNotPicklable(task, "its result", report.message)
        case Fault.BODY | Fault.SHAPE | Fault.STATE:
            pass
    try:
        error = None if cause is None else loads(cause)
    except DeserializationError:
        error = None
    if isinstance(error, BaseException):
        return error
    return RemoteException(task, report.type_name, report.message)
