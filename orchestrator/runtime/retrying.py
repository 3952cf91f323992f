"""Whether a run, or an element of a map, gets another attempt (FAULTS P1, F1, F8).

Theory of operation. Errors of bodies and losses of workers are counted apart. What the kernel killed
for want of memory is tried once more, while nothing else runs. Of a worker that dies only
the attempt that it was stepping is charged; the others that it held run again at no charge. An attempt
that is over can say nothing any more: its key is not live. The next one has the same inputs, which are
kept until the run commits, and, for a class, the state that was committed last.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from executor.host import LossReason, WorkerLoss
from executor.retry import OTHER_LOSSES_LIMIT
from orchestrator.spec import NodeSpec
from protocol.messages import ErrorReport, Fault


@dataclass(slots=True)
class Tries:
    """What became of the attempts of one run, or of one element of a map, so far."""

    errors: int = 0
    losses: list[WorkerLoss] = field(default_factory=list)  # those that are charged to it
    other_losses: int = 0


@dataclass(frozen=True, slots=True)
class Delay:
    """How long to wait before the next attempt: ``seconds``, and a random part of ``jitter_s`` more."""

    seconds: float = 0.0
    jitter_s: float = 0.0


AT_ONCE: Final = Delay()

_LIMITS: Final = frozenset({LossReason.TIMEOUT, LossReason.MEMORY})
"""The limits of a node are no accidents: another attempt would meet them too."""

_MEMORY_ATTEMPTS: Final = 2
"""What has run out of memory alone, too, needs more than there is (FAULTS F4)."""


def keeps_inputs(spec: NodeSpec) -> bool:
    """Whether a run of the node may be tried again, so that its streams may be read again."""
    if spec.retry.attempts > 1:
        return True
    return spec.placement == "process" and _survives_loss(spec)


def after_error(spec: NodeSpec, tries: Tries, error: ErrorReport) -> Delay | None:
    """The body has raised: how long to wait before it runs again, or None if its error counts."""
    tries.errors += 1
    retry = spec.retry
    if error.fault is not Fault.BODY or not error.may_retry or tries.errors >= retry.attempts:
        return None
    seconds = retry.delay_s * retry.backoff ** (tries.errors - 1)
    return Delay(seconds, seconds * retry.jitter)


def after_loss(spec: NodeSpec, tries: Tries, loss: WorkerLoss) -> Delay | None:
    """Its worker has died, or none came up: as :func:`after_error`."""
    if loss.charged:
        tries.losses.append(loss)
    else:
        tries.other_losses += 1
    if (
        loss.pid == 0
        or tries.other_losses >= OTHER_LOSSES_LIMIT
        or loss.reason in _LIMITS
        or not _survives_loss(spec)
        or len(tries.losses) >= spec.retry.loss_attempts
        or _memory_losses(tries) >= _MEMORY_ATTEMPTS
    ):
        return None
    return AT_ONCE


def runs_alone(tries: Tries) -> bool:
    """Whether the next attempt must have the pool for itself, because memory ran out under one."""
    return _memory_losses(tries) > 0


def _memory_losses(tries: Tries) -> int:
    return sum(loss.reason is LossReason.OUT_OF_MEMORY for loss in tries.losses)


def _survives_loss(spec: NodeSpec) -> bool:
    """Resident state is gone with its worker; and what may run once only may have begun."""
    return spec.retry.loss_attempts > 1 and not (spec.pinned and not spec.checkpointed)
