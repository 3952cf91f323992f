"""What can go wrong with worker processes, as sentences that say whose fault it is.

Every error's ``args`` are its fields, so that it crosses processes whole.
"""

from __future__ import annotations

import signal
from typing import Final

from executor.host import NO_EVIDENCE, Evidence, LossReason, WorkerLoss
from executor.retry import OTHER_LOSSES_LIMIT


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
        reason: LossReason = LossReason.DIED,
        evidence: Evidence = NO_EVIDENCE,
    ) -> None:
        super().__init__(node, generation, attempt, pid, status, charged, reason, evidence)
        self.node = node
        self.generation = generation
        self.attempt = attempt
        self.pid = pid
        self.status = status
        self.charged = charged
        self.reason = reason
        self.evidence = evidence

    def __str__(self) -> str:
        place = where(self.node, self.generation, self.attempt)
        if self.pid == 0:
            return f"{place}: no worker could be started; the last one {describe_status(self.status)}"
        what = f"{place}: its worker (pid {self.pid}) {describe_end(self.status, self.reason)}"
        if not self.charged:
            if self.reason is LossReason.UNRESPONSIVE:
                return f"{what}, and with it whatever was there."
            other = ", while it ran something else" if self.reason in _ENDS_OF_ITS_OWN else ""
            if self.attempt >= OTHER_LOSSES_LIMIT - 1:
                return f"{what}{other}; that has happened so often that this body may well be the cause."
            return f"{what}{other}; this body was waiting there and is not to blame."
        peak_bytes = self.evidence.peak_bytes
        memory = f" Its memory had reached {_size(peak_bytes)}." if peak_bytes else ""
        cure = advice(self.status, self.reason)
        if self.reason is LossReason.OUT_OF_MEMORY:
            cure += " With @node(memory=...), which says what it needs, less runs beside it."
        return f"{what}, while it ran this body.{memory}{cure}{_findings(self.evidence)}"


class NodeTimeoutError(WorkerError, TimeoutError):
    """A body computed for longer than its ``timeout_s``; it was interrupted, or its worker ended.

    ``evidence.trace`` shows what its worker's threads were doing then.
    """

    def __init__(
        self,
        node: str,
        generation: int,
        attempt: int,
        pid: int,
        timeout_s: float,
        computed_s: float,
        evidence: Evidence = NO_EVIDENCE,
    ) -> None:
        super().__init__(node, generation, attempt, pid, timeout_s, computed_s, evidence)
        self.node = node
        self.generation = generation
        self.attempt = attempt
        self.pid = pid
        self.timeout_s = timeout_s
        self.computed_s = computed_s
        self.evidence = evidence

    def __str__(self) -> str:
        return (
            f"{where(self.node, self.generation, self.attempt)}: it computed for "
            f"{self.computed_s:.3g} s in its worker (pid {self.pid}), and timeout_s={self.timeout_s:g} "
            "allows no more, so it was ended. If it needs so long, give the node a larger timeout_s."
            f"{_findings(self.evidence)}"
        )


class MemoryLimitExceeded(WorkerError):  # noqa: N818 - its name is in the documentation
    """A worker held more memory than ``memory_hard_bytes`` allows while it ran a body."""

    def __init__(
        self,
        node: str,
        generation: int,
        attempt: int,
        pid: int,
        limit_bytes: int,
        size_bytes: int,
        evidence: Evidence = NO_EVIDENCE,
    ) -> None:
        super().__init__(node, generation, attempt, pid, limit_bytes, size_bytes, evidence)
        self.node = node
        self.generation = generation
        self.attempt = attempt
        self.pid = pid
        self.limit_bytes = limit_bytes
        self.size_bytes = size_bytes
        self.evidence = evidence

    def __str__(self) -> str:
        return (
            f"{where(self.node, self.generation, self.attempt)}: its worker (pid {self.pid}) held "
            f"{_size(self.size_bytes)} of memory while it ran this body, and "
            f"memory_hard_bytes={self.limit_bytes} ({_size(self.limit_bytes)}) allows no more, so it "
            "was killed. Give the node smaller inputs or a larger limit."
            f"{_findings(self.evidence)}"
        )


class PoisonTask(WorkerCrashed):
    """Every worker that ran a body died: ``losses`` has how each did, in order (FAULTS F8).

    ``last`` is the whole story of the last one.
    """

    def __init__(self, node: str, generation: int, losses: tuple[WorkerLoss, ...], last: str) -> None:
        final = losses[-1]
        attempt = len(losses) - 1
        super().__init__(
            node,
            generation,
            attempt,
            final.pid,
            final.status,
            final.charged,
            final.reason,
            final.evidence,
        )
        self.losses = losses
        self.last = last
        self.args = (node, generation, losses, last)

    def __str__(self) -> str:
        ends = "; ".join(
            f"pid {loss.pid} {describe_end(loss.status, loss.reason)}" for loss in self.losses
        )
        return (
            f"node {self.node!r}, run {self.generation}: its body was tried {len(self.losses)} times, "
            f"and each time its worker died ({ends}). The last one: {self.last}"
        )


class PoolBroken(WorkerError):  # noqa: N818 - its name is in the documentation
    """No worker comes up.

    ``statuses`` tells how the last ones ended, oldest first, ``output`` what was printed last.
    """

    def __init__(self, statuses: tuple[int | None, ...], output: tuple[str, ...] = ()) -> None:
        super().__init__(statuses, output)
        self.statuses = statuses
        self.output = output

    def __str__(self) -> str:
        status = self.statuses[-1] if self.statuses else None
        last = "could not be started, or did not answer" if status is None else describe_status(status)
        return (
            f"the pool gave up: {len(self.statuses)} workers ended before they were ready, one soon "
            f"after the other, and the last one {last}."
            f"{_findings(Evidence(output=self.output))}"
        )


class PoolClosed(RuntimeError):  # noqa: N818 - its name is in the documentation
    """The pool was used after it had been closed."""

    def __str__(self) -> str:
        return "this pool is closed; make another one with Pool(workers)"


class InitializerFailed(WorkerError):  # noqa: N818 - says what happened
    """An executor's initializer raised in a worker, so that worker can run no task."""

    def __init__(self, type_name: str, message: str) -> None:
        super().__init__(type_name, message)
        self.type_name = type_name
        self.message = message

    def __str__(self) -> str:
        return f"the initializer raised {self.type_name}: {self.message}"


class RemoteTraceback(Exception):  # noqa: N818 - shown as a cause, never raised by itself
    """The traceback of a body's exception, as text, where it was raised: chained as its cause."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n{self.text.rstrip()}"


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


def describe_end(status: int | None, reason: LossReason) -> str:
    """How a worker ended, as the predicate of a sentence."""
    return _REASONS.get(reason) or describe_status(status)


_MEANINGS: Final[dict[int, str]] = {
    signal.SIGKILL: "which we did not send: often the kernel does when memory runs out",
    signal.SIGSEGV: "invalid memory access",
    signal.SIGBUS: "invalid memory access, or a file that shrank while it was mapped",
    signal.SIGABRT: "the process gave itself up, often in a C library",
    signal.SIGFPE: "an arithmetic error in C code",
    signal.SIGILL: "code made for another processor",
}


def advice(status: int | None, reason: LossReason = LossReason.DIED) -> str:
    """What to change so that it does not happen again: a sentence after a space, or nothing."""
    if reason is LossReason.OUT_OF_MEMORY:
        return " Give it smaller inputs, or use fewer workers."
    if status is None:
        return ""
    if status >= 0:
        return " A body must return or raise; os._exit ends the worker with all that waits there."
    if -status == signal.SIGKILL:
        return " If memory ran out, give it smaller inputs or use fewer workers."
    if -status in _MEANINGS:
        return " A C extension that it uses is the likely cause."
    return ""


_REASONS: Final = {
    LossReason.ENDED: "was ended by us, for another body there or because the pool was closed",
    LossReason.ZYGOTE: "ended together with the process that workers are forked from",
    LossReason.UNRESPONSIVE: "had been stopped by a signal (SIGSTOP) for so long that we killed it",
    LossReason.OUT_OF_MEMORY: "was killed by the kernel (SIGKILL) because memory ran out",
}

_ENDS_OF_ITS_OWN: Final = (LossReason.DIED, LossReason.OUT_OF_MEMORY)


def where(node: str, generation: int, attempt: int) -> str:
    """Which attempt an error or a warning is about."""
    return f"node {node!r}, run {generation}, attempt {attempt}"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 20):.0f} MiB"


def _findings(evidence: Evidence) -> str:
    lines = []
    if evidence.output:
        lines += ["\nIt printed last:", *(f"  | {line}" for line in evidence.output)]
    if evidence.trace:
        lines += [
            "\nWhat its threads were doing:",
            *(f"  {line}" for line in evidence.trace.split("\n")),
        ]
    return "\n".join(lines)
