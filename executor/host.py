"""The two interfaces between whoever runs a flow and whoever runs its bodies.

A *host* runs bodies: the worker's hub, the pool that stands for many of them, the inline host. It is
told what to do by the verbs of :class:`Host` and says what happened by the verbs of
:class:`Reports`. They correspond one to one to the messages of ``protocol.messages``, so a host may
sit behind a socket or in the same thread.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from msgspec import Struct

from protocol.messages import (
    UNLIMITED,
    AttemptKey,
    DefaultInput,
    Digest,
    ErrorReport,
    Failure,
    Missing,
    RunId,
    StreamInput,
)
from protocol.values import Value

Input: TypeAlias = Value | StreamInput | DefaultInput


@dataclass(frozen=True, slots=True)
class Code:
    """A body's code: ``payload`` is unpickled by the worker, or is ``Local`` to this process."""

    digest: Digest
    payload: Value


@dataclass(frozen=True, slots=True)
class Start:
    """What a class's instance is made from.

    ``state`` is what an earlier run of the node has left; None: a new instance. ``changes``, a dict,
    holds attributes to set on it then.
    """

    state: Value | None = None
    changes: Value | None = None


Demand: TypeAlias = tuple[tuple[str, float], ...]
"""What a body claims of a pool's resources, by name in order; empty: its worker's processor."""


class Invocation(Struct, frozen=True):
    """One evaluation of a body (``protocol.messages.Invoke`` before it is written to a wire).

    ``pinned``: every invocation of the same (run, node) must go to one worker, which keeps the
    node's state. ``checkpoint``: report the state with the result. ``start``: what the instance is made
    from, None: anew. ``resumes``: a host that has it from the node's last attempt goes on with that one.
    ``timeout_s`` is how long the body may compute, ``memory_hard_bytes`` how large its worker may be
    then; None: as the host has it.
    ``priority``, ``criticality``, ``frees_memory`` and ``demand`` tell who runs first, and when
    (``executor.scheduling``).
    ``name`` is the node's; ``context`` is what the body's ``current_context()`` gives.
    """

    key: AttemptKey
    code: Code
    inputs: list[Input]
    credit: int = UNLIMITED
    send_chunks: bool = True
    final_is_read: bool = True
    pinned: bool = False
    checkpoint: bool = False
    start: Start | None = None
    resumes: bool = False
    timeout_s: float | None = None
    memory_hard_bytes: int | None = None
    name: str = ""
    context: Value | None = None
    priority: float = 0
    criticality: int = 0
    frees_memory: bool = False
    demand: Demand = ()


@dataclass(frozen=True, slots=True)
class Broken:
    """A stream does not end, it breaks off: its producer failed with ``cause``, if that travels."""

    failure: Failure
    cause: Value | None


class LossReason(enum.Enum):
    """Why an attempt was lost."""

    DIED = "died"  # its worker ended, and not by us
    ENDED = "ended"  # we ended its worker, for what another attempt did or because the pool was closed
    ZYGOTE = "zygote"  # all workers ended, with the process they were forked from
    UNRESPONSIVE = "unresponsive"  # its worker was stopped by a signal for too long
    TIMEOUT = "timeout"  # it computed for longer than it may; its worker may live on
    MEMORY = "memory"  # its worker held more memory than it may, while it ran
    OUT_OF_MEMORY = "out of memory"  # the kernel ended its worker, because there was no memory left


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a worker has left behind that tells of its end."""

    peak_bytes: int = 0  # its largest resident size, 0 if it is not known
    output: tuple[str, ...] = ()  # the last lines it printed
    trace: str = ""  # of its threads, when it crashed or before it was interrupted
    out_of_memory: bool = False  # the kernel has ended it, because there was none left


NO_EVIDENCE: Final = Evidence()


@dataclass(frozen=True, slots=True)
class WorkerLoss:
    """Why an attempt has no end of its own.

    ``status`` of the worker is the exit code, or minus the signal's number; None if it never came up,
    its status could not be had, or we ended it. ``charged`` tells whether the attempt was being stepped
    when it happened (only that one may have caused it). ``limit`` and ``found`` are seconds or bytes.
    """

    worker: int
    pid: int
    status: int | None
    charged: bool
    reason: LossReason = LossReason.DIED
    limit: float = 0.0
    found: float = 0.0
    evidence: Evidence = NO_EVIDENCE


class Host(Protocol):
    """Runs bodies. No verb blocks; verbs about an attempt that has ended are ignored."""

    def invoke(self, invocation: Invocation) -> None: ...

    def deliver(self, key: AttemptKey, port: int, first: int, values: list[Value]) -> None: ...

    def end_stream(
        self, key: AttemptKey, port: int, count: int, broken: Broken | None = None
    ) -> None: ...

    def produce(self, key: AttemptKey, upto: int) -> None: ...

    def throw_cancel(self, key: AttemptKey) -> None: ...

    def cancel(self, key: AttemptKey) -> None:
        """Give the attempt up; a body that does not end may be killed with its process."""

    def recall(self, key: AttemptKey) -> None:
        """Give the attempt up if it has not begun; a body that runs may take its time."""

    def release(self, run: RunId) -> None: ...


class Reports(Protocol):
    """Hears from a host. Exactly one of the last four verbs ends an attempt, and nothing follows."""

    def chunks(
        self, key: AttemptKey, first: int, count: int, width: int, values: list[Value]
    ) -> None: ...

    def read(self, key: AttemptKey, port: int, upto: int) -> None: ...

    def wait(self, key: AttemptKey, port: int, chunk: int, resting_on: int) -> None: ...

    def cancel_stream(self, key: AttemptKey, port: int) -> None: ...

    def cancel_thrown(self, key: AttemptKey, merged: int, emitted: int) -> None: ...

    def completed(
        self,
        key: AttemptKey,
        emitted: int,
        seconds: float,
        outputs: list[Value],
        missing: Missing | None,
        state: Value | None = None,
    ) -> None:
        """``state`` is what the run has left of its node's, where the invocation asked for it."""

    def failed(
        self, key: AttemptKey, emitted: int, seconds: float, error: ErrorReport, cause: Value | None
    ) -> None: ...

    def cancelled(self, key: AttemptKey) -> None: ...

    def lost(self, key: AttemptKey, loss: WorkerLoss) -> None: ...
