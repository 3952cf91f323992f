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
from executor.life_cycle import Awaiting, Raised, Returned, Step
from executor.surroundings import surroundings
from orchestrator.event_loop import Command, Event, EventLoop, TaskCancelled, TaskHandle, Wait
from orchestrator.event_loop.outcomes import TaskState

_Coroutine: TypeAlias = Coroutine[Any, Any, Any]


class InlineTasks:
    """The tasks of the inline bodies of one run. ``stepped`` is called when the loop has stepped one."""

    def __init__(self, stepped: Callable[[], None]) -> None:
        self.stepped = stepped
        self._loop: EventLoop
        self._bodies: set[InlineTask] = set()
        self._children: set[_Coroutine] = set()
        self._childless = Event()

    def attach(self, loop: EventLoop, before_rest: Callable[[], bool]) -> None:
        """Run on ``loop``, where tasks that bodies spawn are theirs from now on.

        ``before_rest`` is called when the loop is about to sleep; it returns whether a task can go on.
        """
        self._loop = loop
        self._before_rest = before_rest
        loop.register_command(Parked, _park)
        loop.wrap_spawned = partial(_wrap, loop)

    def detach(self) -> None:
        """The run is over; the loop may outlive it, and is not to keep it."""
        if self._loop.before_rest == self._before_rest:
            self._loop.before_rest = None

    def open(self, resume: Resume) -> BodyTask:
        task = InlineTask(self, self._loop, resume)
        self._bodies.add(task)
        return task

    def ended(self, body: InlineTask) -> None:
        self._bodies.discard(body)

    @property
    def are_still(self) -> bool:
        """Whether each waits for another, or for a chunk: for nothing with a time or a descriptor."""
        handles = [body.handle for body in self._bodies]
        handles += [handle for child in self._children if (handle := self._loop.task_of(child))]
        return all(_is_still(handle) for handle in handles)

    @property
    def have_children(self) -> bool:
        """Whether something that bodies have spawned goes on."""
        return bool(self._children)

    async def wait_childless(self) -> None:
        """Wait until all that bodies have spawned has ended."""
        while self._children:
            self._childless = Event()
            await self._childless.wait()

    def adopt(self, task: BodyTask, spawned: _Coroutine, context: Context) -> _Coroutine:
        """What is to run in place of a coroutine that a body has spawned."""

        async def run() -> Any:
            try:
                return await task.child(spawned, context)
            finally:
                self._children.discard(child)
                if not self._children:
                    self._childless.set()

        child = run()
        self._children.add(child)
        self._loop.before_rest = self._before_rest  # only then may a body rest in several tasks
        return begun(child)


class Parked(Command):
    """The body rests in the hub, which steps it or ends it."""

    __slots__ = ()

    def __str__(self) -> str:
        return "waiting for the flow"


class InlineTask(BodyTask):
    """A body's task of our event loop, which hears of it only if the first step does not end the body.

    What the body awaits is given to the loop at once, in place of ``Parked``: a command must be carried
    out before anybody else runs, or what it waits for may have happened meanwhile.
    """

    def __init__(self, tasks: InlineTasks, loop: EventLoop, resume: Resume) -> None:
        super().__init__(resume)
        self.loop = loop
        self.tasks = tasks
        self.handle: TaskHandle[None] = TaskHandle(loop, self._carry())
        self._is_started = False

    def step(self, advance: Callable[..., Step], *args: object) -> Step:
        loop = self.loop
        stepping, loop.current = loop.current, self.handle
        try:
            outcome = advance(*args)
        finally:
            loop.current = stepping
        if not self._is_started and not isinstance(outcome, Returned | Raised):
            self._is_started = True
            loop.start(self.handle, self.handle.coroutine.send(None))
        return outcome

    def carry(self, awaiting: Awaiting) -> None:
        self.loop.replace_wait(self.handle, awaiting.awaited)

    def end(self) -> None:
        self.is_over = True
        self.tasks.ended(self)
        if not self._is_started:
            self.handle.coroutine.close()
            self.handle.end(TaskState.FINISHED, None, None)
        elif isinstance(self.handle.wait, Parked):
            self.handle.resume()

    def interrupt(self) -> None:
        self.handle.cancel()

    async def _carry(self) -> None:
        """Invariant: it rests at the yield of ``Parked``, or of what the body awaits."""
        awaited: object = Parked()
        while True:
            step, argument = await self._outcome_of(awaited)
            if self.is_over:
                return
            after = step(argument)
            awaited = Parked() if after is None else after.awaited
            self._stepped()

    async def _outcome_of(self, awaited: object) -> tuple[Callable[[Any], Awaiting | None], Any]:
        """How the body goes on."""
        try:
            await pass_on(awaited)
        except GeneratorExit:  # the loop itself has ended
            self._resume.close()
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is, the body is to have it
            return self._resume.throw, error
        return self._resume.send, None

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
    return task.tasks.adopt(task, spawned, copy_context())


def _park(task: TaskHandle[Any], command: Parked) -> None:
    task.wait = command


def _is_still(handle: TaskHandle[Any]) -> bool:
    wait = handle.wait
    return isinstance(wait, Parked) or (isinstance(wait, Wait) and wait.deadline is None)
