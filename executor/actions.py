"""What a pool is to do, as its machine decides."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from executor.host import Invocation, WorkerLoss
from protocol.messages import AttemptKey


@dataclass(frozen=True, slots=True)
class SpawnWorker:
    worker: int


@dataclass(frozen=True, slots=True)
class KillWorker:
    """Send SIGKILL, as soon as its pid is known."""

    worker: int


@dataclass(frozen=True, slots=True)
class TerminateWorker:
    """Send SIGTERM, which ends the worker unless it is stuck in the kernel or stopped."""

    worker: int


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Raise ``Interrupted`` in the attempt that has this number there, if it is being stepped."""

    worker: int
    number: int


@dataclass(frozen=True, slots=True)
class DumpStacks:
    """Let the worker write down what its threads are doing."""

    worker: int


@dataclass(frozen=True, slots=True)
class DrainWorker:
    worker: int


@dataclass(frozen=True, slots=True)
class DismissSite:
    """An agent has no workers any more, because it leaves or because none of them came up."""

    site: int
    failed: bool


@dataclass(frozen=True, slots=True)
class Assign:
    """Send the invocation to the worker, before anything else about the attempt."""

    worker: int
    invocation: Invocation


@dataclass(frozen=True, slots=True)
class SendCancel:
    """Tell the worker to give the attempt up."""

    worker: int
    key: AttemptKey


@dataclass(frozen=True, slots=True)
class SendRevoke:
    """Ask the worker for what it has not begun; from number ``fence`` on it begins nothing meanwhile."""

    worker: int
    keys: tuple[AttemptKey, ...]
    fence: int


@dataclass(frozen=True, slots=True)
class ReportLost:
    key: AttemptKey
    loss: WorkerLoss
    number: int = field(default=0, compare=False)
    """What names the attempt in its worker's page."""


@dataclass(frozen=True, slots=True)
class ReportCancelled:
    """The attempt was given up and holds nothing any more."""

    key: AttemptKey


Action: TypeAlias = (
    SpawnWorker
    | Interrupt
    | DumpStacks
    | TerminateWorker
    | KillWorker
    | DrainWorker
    | DismissSite
    | Assign
    | SendCancel
    | SendRevoke
    | ReportLost
    | ReportCancelled
)
