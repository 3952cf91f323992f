"""Interrupting a body that computes: where it may happen, and the signal that makes it happen.

Theory of operation. A signal reaches Python between any two instructions, and an exception raised there
in our own code would tear an envelope or a queue. So a :class:`Gate` is open only while a body's own
code runs; it is closed again when the body calls us, to read a stream. The handler of SIGUSR1 raises
``Interrupted`` if the gate is open and the body behind it is the one that is meant: the page names it.
A signal that comes at another moment is lost, and sent again by the coordinator until the handler has
taken its target off the page.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

from executor.body import Interrupted
from executor.life_cycle import Body, Raised, Step
from executor.page import CURRENT, TARGET

T = TypeVar("T")


class Gate:
    """Open while a body's own code runs.

    Invariant: no instruction that may run a signal's handler lies between the end of a body's step and
    the gate's closing, or between an ``Interrupted`` and its being caught here with the gate closed.
    """

    __slots__ = ("is_open",)

    def __init__(self) -> None:
        self.is_open = False

    def step(self, verb: Callable[..., Step], *args: object) -> Step:
        """Let a body take a step by one of its verbs."""
        try:
            try:
                self.is_open = True
                return verb(*args)
            finally:
                self.is_open = False
        except Interrupted as error:  # it came before the body had begun or after its last word
            return Raised(error)

    def step_child(self, step: Callable[[Any], T], sent: object) -> T:
        """Let a task that a body has spawned take a step; ``Interrupted`` is the task's own end."""
        try:
            self.is_open = True
            return step(sent)
        finally:
            self.is_open = False

    def close(self, body: Body) -> BaseException | None:
        """Let a body run its ``finally`` blocks; what they raised."""
        try:
            try:
                self.is_open = True
                return body.close()
            finally:
                self.is_open = False
        except Interrupted as error:
            return error


def listen(cells: memoryview, gate: Gate) -> None:
    """From now on let SIGUSR1 interrupt the body that ``cells``, the worker's page, name as target."""

    def interrupt(_: int, __: FrameType | None) -> None:
        if gate.is_open and cells[TARGET] == cells[CURRENT] != 0:
            cells[TARGET] = 0  # taken
            raise Interrupted

    signal.signal(signal.SIGUSR1, interrupt)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # ends us at once, whatever the body does
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1, signal.SIGTERM})
