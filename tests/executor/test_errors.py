"""Errors about workers: whole after a pickle round trip, and sentences that say what happened (P8)."""

from __future__ import annotations

import pickle
import signal

import pytest

from executor.errors import (
    InitializerFailed,
    MemoryLimitExceeded,
    NodeTimeoutError,
    PoolBroken,
    PoolClosed,
    RemoteTraceback,
    WorkerCrashed,
    describe_status,
)
from executor.host import Evidence, LossReason, WorkerLoss
from executor.losses import error_of
from executor.task_errors import (
    ExecutorBroken,
    RemoteException,
    TaskCrashed,
    TaskNotLoadable,
    TaskNotPicklable,
    TaskTimeoutError,
)

FOUND = Evidence(64 << 20, ("loading", "almost done"), 'Thread 0x1:\n  File "fit.py", line 3 in fit')

ERRORS = [
    WorkerCrashed("fit", 3, 0, 4711, -9, True),
    WorkerCrashed("fit", 3, 0, 4711, None, False, LossReason.UNRESPONSIVE, FOUND),
    NodeTimeoutError("fit", 3, 0, 4711, 2.0, 2.1, FOUND),
    MemoryLimitExceeded("fit", 3, 0, 4711, 64 << 20, 80 << 20, FOUND),
    PoolBroken((1, None, -11)),
    PoolClosed(),
    InitializerFailed("ValueError", "no licence"),
    RemoteTraceback("Traceback"),
    TaskCrashed("fit", 1, 4711, -11),
    TaskTimeoutError("fit", 4711, 2.0, 2.1, "Thread 0x1"),
    ExecutorBroken("no worker comes up"),
    TaskNotPicklable("fit", "an argument", "a lock"),
    TaskNotLoadable("fit", "the function", "no module"),
    RemoteException("fit", "OddError", "odd"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_cross_processes_whole(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (copy.args, vars(copy), str(copy)) == (error.args, vars(error), str(error))


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (None, "how is not known"),
        (0, "exited with status 0"),
        (3, "exited with status 3"),
        (-9, "killed by SIGKILL (which we did not send: often the kernel does when memory runs out)"),
        (-11, "killed by SIGSEGV (invalid memory access)"),
        (-15, "killed by SIGTERM"),
        (-40, "killed by signal 40"),
    ],
)
def test_an_exit_status_is_told_as_a_sentence(status: int | None, told: str) -> None:
    assert told in describe_status(status)


@pytest.mark.parametrize("status", [None, 0, 7, *(-number for number in signal.Signals), -40])
@pytest.mark.parametrize("charged", [True, False])
def test_a_crash_names_node_run_attempt_pid_and_who_is_to_blame(
    status: int | None, charged: bool
) -> None:
    text = str(WorkerCrashed("fit", 3, 1, 4711, status, charged))
    assert text.startswith("node 'fit', run 3, attempt 1: its worker (pid 4711) ")
    assert describe_status(status) in text
    assert ("while it ran this body" in text) is charged
    assert ("not to blame" in text) is not charged


def test_a_crash_without_a_pid_says_that_no_worker_came_up() -> None:
    assert "no worker could be started; the last one exited with status 1" in str(
        WorkerCrashed("fit", 0, 0, 0, 1, False)
    )


def test_a_broken_pool_says_how_often_and_how_workers_ended() -> None:
    text = str(PoolBroken((1, 1, -11), ("ModuleNotFoundError: No module named 'zmq'",)))
    assert "3 workers ended before they were ready" in text
    assert "It printed last:\n  | ModuleNotFoundError: No module named 'zmq'" in text
    assert "SIGSEGV" in text


def test_a_crash_shows_the_memory_the_output_and_the_stacks_p8() -> None:
    text = str(WorkerCrashed("fit", 3, 0, 4711, -9, True, LossReason.DIED, FOUND))
    assert "Its memory had reached 64 MiB." in text
    assert "\nIt printed last:\n  | loading\n  | almost done" in text
    assert '\nWhat its threads were doing:\n  Thread 0x1:\n    File "fit.py", line 3 in fit' in text


@pytest.mark.parametrize(
    ("reason", "kind", "told"),
    [
        (LossReason.DIED, WorkerCrashed, "how is not known, while it ran something else; this body was"),
        (LossReason.ENDED, WorkerCrashed, "was ended by us"),
        (
            LossReason.ZYGOTE,
            WorkerCrashed,
            "process that workers are forked from; this body was waiting",
        ),
        (LossReason.UNRESPONSIVE, WorkerCrashed, "stopped by a signal (SIGSTOP)"),
        (
            LossReason.TIMEOUT,
            NodeTimeoutError,
            "computed for 3 s in its worker (pid 4711), and timeout_s=2 ",
        ),
        (LossReason.MEMORY, MemoryLimitExceeded, "memory_hard_bytes=2 (0 MiB) allows no more"),
    ],
)
def test_every_reason_of_a_loss_is_told_as_a_sentence(
    reason: LossReason, kind: type[Exception], told: str
) -> None:
    error = error_of(WorkerLoss(1, 4711, None, False, reason, 2.0, 3.0), "fit", 3, 0)
    assert type(error) is kind
    assert str(error).startswith("node 'fit', run 3, attempt 0: ")
    assert told in str(error)
