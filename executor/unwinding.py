"""Ends an ``async`` body that is given up, in its task: its clean-up may await.

A body that rests at a yield is closed there; one that awaits is cancelled, as its event loop cancels a
task. One that goes on all the same is closed by force.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from executor.attempt import Attempt
from executor.body import Interrupted
from executor.body_task import BodyTask
from executor.life_cycle import Awaiting, Raised, Returned, Step

log = logging.getLogger(__name__)


def unwind(attempt: Attempt, task: BodyTask, then: Callable[[], None]) -> None:
    """End the body and what it has spawned, then call ``then``: now, or when its clean-up is done."""
    attempt.unwound = then
    task.cancel_children()
    body = attempt.body
    if attempt.awaits:
        task.interrupt()  # the body is resumed with it
    elif body is None or task.is_over:
        attempt.close()  # an interrupt may have come before it began
        _end(attempt, task)
    else:
        error = task.cancelled_error() if body.is_blocked else GeneratorExit()
        outcome = attempt.step(body.throw, error)
        if isinstance(outcome, Awaiting):
            attempt.awaits = True
            task.carry(outcome)
        else:
            finish_unwinding(attempt, outcome)


def finish_unwinding(attempt: Attempt, outcome: Step) -> None:
    """The body has come to its end, or to something that it should not do any more."""
    assert attempt.body is not None
    assert attempt.task is not None
    error = None
    if isinstance(outcome, Raised):
        expected = GeneratorExit, Interrupted, type(attempt.task.cancelled_error())
        error = None if isinstance(outcome.error, expected) else outcome.error
    elif not isinstance(outcome, Returned):
        error = attempt.hub.gate.close(attempt.body) or RuntimeError(
            "the body goes on although its run was ended"
        )
    if error is not None:
        attempt.complain(error)
    _end(attempt, attempt.task)


def _end(attempt: Attempt, task: BodyTask) -> None:
    task.end()
    then, attempt.unwound = attempt.unwound, None
    if then is not None:
        task.when_childless(then)
