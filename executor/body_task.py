"""The task an ``async`` body runs in, on whatever event loop its host has.

Theory of operation. The hub steps the body itself, but as the task that is the body's own, so that what
the event loop offers (``current_task``, timeouts, locks) sees one task per body. When the body awaits
something of the loop's, the hub hands it to the task, which awaits it and goes on with the body until
that has something to say to the hub; meanwhile the task is parked. An interruption of the parked task
is thrown into the body where it rests. Tasks that the body spawns are driven by :meth:`child`, so that
streams can be read in them too.

    hub steps the body --- Awaiting ---> the task awaits, then resumes the body ---+
           ^                                   ^______ Awaiting _____|             |
           +------------------ a chunk, a read, the end ---------------------------+
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from functools import partial
from types import coroutine
from typing import Any, Protocol, TypeAlias, TypeVar

from executor.body import StreamPort
from executor.life_cycle import Awaiting, Step

T = TypeVar("T")
_Coroutine: TypeAlias = Coroutine[Any, Any, Any]


class Resume(Protocol):
    """One body in its hub, as its task sees it."""

    def send(self, value: object) -> Awaiting | None:
        """Go on with what was awaited; returns what the body awaits next, None if the hub has it."""

    def throw(self, error: BaseException) -> Awaiting | None:
        """Go on likewise by raising ``error`` where the body rests."""

    def close(self) -> None:
        """End the body where it rests, whatever it says."""

    def step_child(self, step: Callable[[Any], T], sent: object) -> T:
        """``step(sent)``, a step of a task that the body has spawned."""

    def conclude(self, then: Callable[[], None]) -> None:
        """``then()``, what the body's end has waited for."""


class Signal(Protocol):
    """The ``Event`` of an event loop."""

    def set(self) -> object: ...

    def wait(self) -> Coroutine[Any, Any, object]: ...


class BodyTask(ABC):
    """The task of one body, and of those that the body spawns."""

    def __init__(self, resume: Resume) -> None:
        self.is_over = False
        """Whether the body has come to its end; tasks that it spawned may go on."""
        self._resume = resume

    # -- for the hub ------------------------------------------------------------------------------

    @abstractmethod
    def step(self, advance: Callable[..., Step], *args: object) -> Step:
        """``advance(*args)``, a step of the body, as this task."""

    @abstractmethod
    def carry(self, awaiting: Awaiting) -> None:
        """Await for the body, then go on with it."""

    @abstractmethod
    def end(self) -> None:
        """The body is over, and with it the task."""

    @abstractmethod
    def interrupt(self) -> None:
        """Cancel what the task awaits for the body, which is thrown into the body."""

    @abstractmethod
    def cancelled_error(self) -> BaseException:
        """What this event loop raises in a task that is cancelled."""

    @abstractmethod
    def cancel_children(self) -> None: ...

    @abstractmethod
    def when_childless(self, then: Callable[[], None]) -> None:
        """Call ``then`` when the attempt may end as far as spawned tasks go: now, or later."""

    # -- for event loops --------------------------------------------------------------------------

    @abstractmethod
    def _signal(self) -> Signal: ...

    @abstractmethod
    async def _foreign(self, awaited: object) -> object:
        """Await what the body has yielded and is no stream."""

    @abstractmethod
    def _stepped(self) -> None:
        """The body, or a child, was stepped by the loop: the hub may have something to do or to say."""

    # -- spawned tasks ----------------------------------------------------------------------------

    async def child(self, spawned: _Coroutine, context: Context | None = None) -> Any:
        """Drive a coroutine that the body has spawned; give this to the loop by :func:`begun`.

        Each step is on the body's account, in ``context`` if there is one.
        """
        step: Callable[..., Any] = spawned.send
        sent: object = None
        try:
            await pass_on(None)
        except BaseException as error:  # noqa: BLE001 - raised again by the coroutine
            step, sent = spawned.throw, error
        while True:
            try:
                awaited = self._step_child(context, step, sent)
            except StopIteration as stop:
                return stop.value
            step = spawned.send
            try:
                sent = await self._await_for_child(awaited)
            except BaseException as error:  # noqa: BLE001 - as above
                step, sent = spawned.throw, error

    def _step_child(self, context: Context | None, step: Callable[..., T], sent: object) -> T:
        if context is not None:
            step = partial(context.run, step)
        try:
            return self._resume.step_child(step, sent)
        finally:
            self._stepped()

    async def _await_for_child(self, awaited: object) -> object:
        if not isinstance(awaited, StreamPort):
            return await self._foreign(awaited)
        signal = self._signal()
        awaited.park(signal.set)
        self._stepped()
        try:
            return await signal.wait()
        finally:
            awaited.unpark(signal.set)


def begun(task: _Coroutine) -> _Coroutine:
    """A task's coroutine as far as its first ``pass_on``, so that an interruption finds it begun."""
    task.send(None)
    return task


@coroutine
def pass_on(awaited: object) -> Generator[object, object, object]:
    """Await as if the caller had yielded this itself."""
    return (yield awaited)
