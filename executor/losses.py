"""What is said of an attempt that has no end of its own: to its run, and to the user."""

from __future__ import annotations

from dataclasses import replace

from executor.actions import ReportCancelled, ReportLost
from executor.errors import MemoryLimitExceeded, NodeTimeoutError, WorkerCrashed, WorkerError
from executor.host import NO_EVIDENCE, Evidence, LossReason, WorkerLoss
from executor.lease import Lease
from executor.worker_states import WorkerRecord


def loss_of(
    worker: WorkerRecord,
    reason: LossReason,
    status: int | None = None,
    evidence: Evidence = NO_EVIDENCE,
) -> WorkerLoss:
    """The end of a worker as far as it is nobody's fault there."""
    return WorkerLoss(worker.id, worker.pid, status, charged=False, reason=reason, evidence=evidence)


def reason_of(evidence: Evidence, *, by_us: bool) -> LossReason:
    """Why a worker has ended; ``by_us``: we have given it up before."""
    if by_us:
        return LossReason.ENDED
    return LossReason.OUT_OF_MEMORY if evidence.out_of_memory else LossReason.DIED


def report_end(lease: Lease, end: WorkerLoss, *, charged: bool) -> ReportCancelled | ReportLost:
    """``end`` is that of its worker; ``charged``: the attempt was being stepped then."""
    if lease.cancelled:
        return ReportCancelled(lease.key)
    overrun = lease.overrun
    if overrun is None:
        return ReportLost(lease.key, replace(end, charged=charged), lease.number)
    loss = replace(
        end,
        status=None,
        charged=overrun.reason is not LossReason.UNRESPONSIVE,
        reason=overrun.reason,
        limit=overrun.limit,
        found=overrun.found,
    )
    return ReportLost(lease.key, loss, lease.number)


def error_of(loss: WorkerLoss, node: str, generation: int, attempt: int) -> WorkerError:
    """The loss as an exception."""
    match loss.reason:
        case LossReason.TIMEOUT:
            return NodeTimeoutError(
                node, generation, attempt, loss.pid, loss.limit, loss.found, loss.evidence
            )
        case LossReason.MEMORY:
            return MemoryLimitExceeded(
                node, generation, attempt, loss.pid, int(loss.limit), int(loss.found), loss.evidence
            )
        case _:
            return WorkerCrashed(
                node,
                generation,
                attempt,
                loss.pid,
                loss.status,
                loss.charged,
                loss.reason,
                loss.evidence,
            )
