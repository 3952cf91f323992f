"""What can go wrong with worker processes, as sentences that say whose fault it is.

Every error's ``args`` are its fields, so that it crosses processes whole.
"""

from __future__ import annotations

import signal
from typing import Final


class WorkerError(Exception):
    """Base of the errors about worker processes."""


class WorkerCrashed(WorkerError):  # noqa: N818 - its name is in the documentation
    """A worker process ended while it held an attempt.

    ``status`` is the exit code or minus a signal's number, None if unknown. ``charged``: the attempt was
    being run at that moment, so it is the likely cause; otherwise it was only waiting there. ``pid`` is
    0 if no worker ever came up.
    """

    def __init__(
        self,
        node: str,
        generation: int,
        attempt: int,
        pid: int,
        status: int | None,
        charged: bool,
    ) -> None:
        super().__init__(node, generation, attempt, pid, status, charged)
        self.node = node
        self.generation = generation
        self.attempt = attempt
        self.pid = pid
        self.status = status
        self.charged = charged

    def __str__(self) -> str:
        where = f"node {self.node!r}, run {self.generation}, attempt {self.attempt}"
        if self.pid == 0:
            return f"{where}: no worker could be started; the last one {describe_status(self.status)}"
        what = f"{where}: its worker (pid {self.pid}) {describe_status(self.status)}"
        if self.charged:
            return f"{what}, while it ran this body.{_advice(self.status)}"
        return f"{what}, while it ran something else; this body was waiting there and is not to blame."


class PoolBroken(WorkerError):  # noqa: N818 - its name is in the documentation
    """No worker comes up: ``statuses`` tells how the last ones ended, oldest first."""

    def __init__(self, statuses: tuple[int | None, ...]) -> None:
        super().__init__(statuses)
        self.statuses = statuses

    def __str__(self) -> str:
        last = describe_status(self.statuses[-1]) if self.statuses else "ended"
        return (
            f"the pool gave up: {len(self.statuses)} workers in a row ended before they were ready, and "
            f"the last one {last}. What they printed is on standard error; try "
            "'python -c \"import executor.zygote\"' with the same interpreter"
        )


class PoolClosed(RuntimeError):  # noqa: N818 - its name is in the documentation
    """The pool was used after it had been closed."""

    def __str__(self) -> str:
        return "this pool is closed; make another one with Pool(workers)"


def describe_status(status: int | None) -> str:
    """How a process ended, as the predicate of a sentence.

    >>> describe_status(3), describe_status(-11)
    ('exited with status 3', 'was killed by SIGSEGV (invalid memory access)')
    """
    if status is None:
        return "ended, and how is not known"
    if status >= 0:
        return f"exited with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:  # a real-time signal
        return f"was killed by signal {-status}"
    meaning = _MEANINGS.get(-status)
    return f"was killed by {name}" + (f" ({meaning})" if meaning else "")


_MEANINGS: Final[dict[int, str]] = {
    signal.SIGKILL: "which we did not send: often the kernel does when memory runs out",
    signal.SIGSEGV: "invalid memory access",
    signal.SIGBUS: "invalid memory access, or a file that shrank while it was mapped",
    signal.SIGABRT: "the process gave itself up, often in a C library",
    signal.SIGFPE: "an arithmetic error in C code",
    signal.SIGILL: "code made for another processor",
}


def _advice(status: int | None) -> str:
    if status is None:
        return ""
    if status >= 0:
        return " A body must return or raise; os._exit ends the worker with all that waits there."
    if -status == signal.SIGKILL:
        return " If memory ran out, give it smaller inputs or use fewer workers."
    if -status in _MEANINGS:
        return " A C extension that it uses is the likely cause; its stack is on standard error."
    return ""
