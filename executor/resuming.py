"""One async body of a hub, as its task sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from executor.attempt import Attempt
from executor.life_cycle import Awaiting

if TYPE_CHECKING:
    from executor.hub import Hub

T = TypeVar("T")


class BodyResume:
    """Goes on with the body, and speaks for it (``executor.body_task.Resume``)."""

    __slots__ = ("_hub", "attempt")

    def __init__(self, hub: Hub, attempt: Attempt) -> None:
        self._hub = hub
        self.attempt = attempt

    def __repr__(self) -> str:
        return f"node {self.attempt.invocation.name!r} ({self.attempt.key})"

    def send(self, value: object) -> Awaiting | None:
        body = self.attempt.body
        return None if body is None else self._hub.resume(self.attempt, body.advance, value)

    def throw(self, error: BaseException) -> Awaiting | None:
        body = self.attempt.body
        return None if body is None else self._hub.resume(self.attempt, body.throw, error)

    def close(self) -> None:
        self.attempt.close()

    def step_child(self, step: Callable[[Any], T], sent: object) -> T:
        self._hub.mark(self.attempt.key)
        try:
            return self._hub.gate.step_child(step, sent)
        finally:
            self._hub.mark(None)
            self.attempt.child_rests()

    def conclude(self, then: Callable[[], None]) -> None:
        self._hub.mark(self.attempt.key)
        try:
            then()
        finally:
            self._hub.mark(None)
