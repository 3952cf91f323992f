"""How a flow run ended, as plain data; ``orchestrator.running`` turns it into reports and errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from executor.host import WorkerLoss
from protocol.messages import AttemptKey, ErrorReport
from protocol.values import Value


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing is left to do. ``unfinished``: generators left without demand (rule 65)."""

    unfinished: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LimitReached:
    """A node emitted the generation at which the run was to stop."""

    node: str
    generation: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NodeFailed:
    """A body, or what is done with its inputs and results, raised. ``place``: where it was written."""

    node: str
    place: str
    key: AttemptKey
    error: ErrorReport
    cause: Value | None


@dataclass(frozen=True, slots=True)
class NodeLost:
    """The worker that ran a node's body ended, for the last time that its policy allows.

    ``losses`` are those it is charged with; ``given_up``: it could not run again because not all of its
    streams were kept.
    """

    node: str
    key: AttemptKey
    loss: WorkerLoss
    losses: tuple[WorkerLoss, ...] = ()
    given_up: bool = False


@dataclass(frozen=True, slots=True)
class Replayed:
    """A generator that ran again has yielded something else than before, from ``chunk`` on."""

    node: str
    key: AttemptKey
    chunk: int


@dataclass(frozen=True, slots=True)
class NothingAccumulated:
    """A generator has no final value, but ``consumer`` reads it on ``port``."""

    node: str
    consumer: str
    port: str
    reason: str


@dataclass(frozen=True, slots=True)
class TooFewOutputs:
    """A result has fewer outputs than are connected."""

    node: str
    place: str
    outputs: int
    needed: int


Failure: TypeAlias = NodeFailed | NodeLost | Replayed | NothingAccumulated | TooFewOutputs
"""What one node's run failed at."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Nodes failed, and all that needs none of them is done (``terminate_on_node_error=False``).

    ``unreached`` names the nodes that could not run for that reason.
    """

    failures: tuple[Failure, ...]
    unreached: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Deadlocked:
    """Demand is left that nothing can meet; each wait is a sentence."""

    waits: tuple[str, ...]
    cycle: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The run's time was up; ``running`` names the nodes that were still running."""

    timeout_s: float
    running: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The run was given up from outside; what did it is raised by whoever waited for the run."""


Outcome: TypeAlias = Done | TimedOut | Interrupted | LimitReached | Failure | Failed | Deadlocked
