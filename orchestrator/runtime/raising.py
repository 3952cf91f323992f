"""The exception that a run's outcome is raised as; SEMANTICS 67 and 16.5."""

from __future__ import annotations

from typing import Final, assert_never

from executor.codec import BY_REFERENCE
from executor.errors import PoisonTask, RemoteTraceback
from executor.losses import error_of
from orchestrator.errors import first_of
from orchestrator.runtime.errors import (
    AccumulationError,
    FlowDeadlockError,
    FlowTimeoutError,
    NodeError,
    NodeOutputError,
    NonDeterministicReplay,
    RemoteError,
    TerminateLimitReached,
)
from orchestrator.runtime.outcome import (
    Deadlocked,
    Done,
    Failed,
    Failure,
    Interrupted,
    LimitReached,
    NodeFailed,
    NodeLost,
    NothingAccumulated,
    Outcome,
    Replayed,
    TimedOut,
    TooFewOutputs,
)
from protocol.messages import WHOLE, AttemptKey, Fault
from protocol.serialization import DeserializationError
from protocol.values import Local

NODE_NOTE: Final = "raised in node "
"""How the note begins that every exception of a node's body carries."""

UNREACHED_NOTE: Final = "not run, because they need what failed: "
"""How the note begins that names the nodes which could not run."""

_WHAT: Final = {
    Fault.CODE: "its code cannot be loaded where it is to run",
    Fault.INPUT: "an input cannot be unpickled",
    Fault.OUTPUT: "its result cannot be pickled",
    Fault.SHAPE: "its result does not fit its outputs",
    Fault.STATE: "its state cannot go from one run to the next",
}


_WITHOUT_ASYNCIO: Final = (
    "an inline body (so all of them with workers=0) runs on the orchestrator's own event loop, where "
    'asyncio does not: give the node placement="thread", or await the counterpart in '
    "orchestrator.event_loop"
)


def exception_for(outcome: Outcome) -> BaseException | None:
    """What to raise for an outcome, its cause set; None where the run is done."""
    match outcome:
        case Done():
            return None
        case LimitReached(node, generation):
            return TerminateLimitReached(node, generation)
        case NodeFailed() | NodeLost() | Replayed() | NothingAccumulated() | TooFewOutputs():
            return exception_of_failure(outcome)
        case Failed(failures, unreached):
            return _of_several(failures, unreached)
        case Deadlocked(waits, cycle):
            return FlowDeadlockError(waits, cycle)
        case TimedOut(timeout_s, running):
            return FlowTimeoutError(timeout_s, running)
        case Interrupted():
            return KeyboardInterrupt()
        case _:
            assert_never(outcome)


def exception_of_failure(failure: Failure) -> BaseException:
    """What a single node's failure is raised as."""
    match failure:
        case NodeFailed():
            return _of_node(failure)
        case NodeLost():
            return _of_loss(failure)
        case Replayed(node, key, chunk):
            return NonDeterministicReplay(node, key.generation, key.attempt, chunk)
        case NothingAccumulated(node, consumer, port, reason):
            return AccumulationError(node, consumer, port, reason)
        case TooFewOutputs(node, place, outputs, needed):
            return NodeOutputError(
                node,
                place,
                0,
                _WHAT[Fault.SHAPE],
                f"it has {outputs} outputs, but output {needed - 1} is connected (they count from 0)",
            )
        case _:
            assert_never(failure)


def _of_loss(lost: NodeLost) -> BaseException:
    key = lost.key
    error = error_of(lost.loss, lost.node, key.generation, key.attempt)
    if len(lost.losses) > 1 and lost.loss.charged:
        error = PoisonTask(lost.node, key.generation, tuple(lost.losses), str(error))
    if lost.given_up:
        error.add_note(
            "it was not tried again: not all chunks of the streams it reads or writes could be kept, "
            "for want of room on the disk"
        )
    return error


def _of_several(failures: tuple[Failure, ...], unreached: tuple[str, ...]) -> BaseException:
    """The first error; where there are more, with all of them as its cause (rule 67)."""
    errors = [exception_of_failure(failure) for failure in failures]
    first = errors[0]
    if len(errors) > 1:
        group = BaseExceptionGroup(f"{len(errors)} nodes failed", errors)
        group.__cause__ = first.__cause__
        first.__cause__ = group
    if unreached:
        first.add_note(f"{UNREACHED_NOTE}{', '.join(first_of(unreached))}")
    return first


def _of_node(failed: NodeFailed) -> BaseException:
    report = failed.error
    where = _where(failed.node, failed.key, report.pid)
    if report.fault is not Fault.BODY:
        kind = NodeOutputError if report.fault is Fault.SHAPE else NodeError
        error: BaseException = kind(
            failed.node, failed.place, failed.key.generation, _WHAT[report.fault], report.message
        )
        error.__cause__ = RemoteTraceback(report.traceback)
        return error
    error = _own(failed)
    if not isinstance(failed.cause, Local):
        error.__cause__ = RemoteTraceback(report.traceback)
    elif isinstance(error, KeyboardInterrupt):
        return error  # Ctrl-C while an inline body was running: not the node's doing
    elif str(error) == "no running event loop":  # asyncio's words
        error.add_note(_WITHOUT_ASYNCIO)
    error.add_note(where)
    return error


def _own(failed: NodeFailed) -> BaseException:
    """The node's own exception if it came over, else its stand-in."""
    stand_in = RemoteError(failed.error.type_name, failed.error.message)
    if failed.cause is None:
        return stand_in
    try:
        error = BY_REFERENCE.loads(failed.cause)
    except DeserializationError:
        return stand_in
    return error if isinstance(error, BaseException) else stand_in


def _where(node: str, key: AttemptKey, pid: int) -> str:
    element = "" if key.element == WHOLE else f", element {key.element}"
    return f"{NODE_NOTE}{node!r}, run {key.generation}{element}, attempt {key.attempt}, pid {pid}"
