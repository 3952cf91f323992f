"""Async bodies on the coordinator's own event loop: a task for each body.

A body, and what it spawns, may use everything of ``orchestrator.event_loop``. Tasks that it spawns run
in a copy of its context; the run waits for them at its end (SEMANTICS 64).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from functools import partial
from typing import Any, TypeAlias

from executor.body_task import BodyTask, Resume, Signal, begun, pass_on
from executor.life_cycle import Step
from executor.surroundings import surroundings
from orchestrator.event_loop import Event, EventLoop, TaskCancelled

_Coroutine: TypeAlias = Coroutine[Any, Any, Any]


class InlineTasks:
    """The tasks of the inline bodies of one run. ``stepped`` is called when the loop has stepped one."""

    def __init__(self, stepped: Callable[[], None]) -> None:
        self.stepped = stepped
        self._loop: EventLoop
        self._children = 0
        self._childless = Event()

    def attach(self, loop: EventLoop) -> None:
        """Run on ``loop``, where tasks that bodies spawn are theirs from now on."""
        self._loop = loop
        loop.wrap_spawned = partial(_wrap, loop)

    def open(self, resume: Resume) -> BodyTask:
        return InlineTask(self, self._loop, resume)

    @property
    def have_children(self) -> bool:
        """Whether something that bodies have spawned goes on."""
        return self._children > 0

    async def wait_childless(self) -> None:
        """Wait until all that bodies have spawned has ended."""
        while self._children:
            self._childless = Event()
            await self._childless.wait()

    async def run_child(self, task: BodyTask, spawned: _Coroutine, context: Context) -> Any:
        """Drive what a body has spawned."""
        self._children += 1
        try:
            return await task.child(spawned, context)
        finally:
            self._children -= 1
            if not self._children:
                self._childless.set()


class InlineTask(BodyTask):
    """A body's task of our event loop."""

    def __init__(self, tasks: InlineTasks, loop: EventLoop, resume: Resume) -> None:
        super().__init__(resume)
        self.loop = loop
        self.tasks = tasks
        self._task = loop.create_task(begun(self._carry()))

    def step(self, advance: Callable[..., Step], *args: object) -> Step:
        loop = self.loop
        stepping, loop.current = loop.current, self._task
        try:
            return advance(*args)
        finally:
            loop.current = stepping

    def interrupt(self) -> None:
        self._task.cancel()

    def cancelled_error(self) -> BaseException:
        return TaskCancelled()

    def cancel_children(self) -> None:
        """They are independent of their parent (rule 73), and end with the run at the latest."""

    def when_childless(self, then: Callable[[], None]) -> None:
        then()  # it is the run that waits for them

    def _signal(self) -> Signal:
        return Event()

    def _stepped(self) -> None:
        self.tasks.stepped()

    async def _foreign(self, awaited: object) -> object:
        return await pass_on(awaited)


def _wrap(loop: EventLoop, spawned: _Coroutine) -> _Coroutine:
    """What runs in place of a coroutine that is spawned on the loop."""
    around = surroundings.get()
    task = None if around is None else around.task
    if not isinstance(task, InlineTask) or task.loop is not loop:
        return spawned  # not by a body, or by one that runs another flow
    return begun(task.tasks.run_child(task, spawned, copy_context()))
