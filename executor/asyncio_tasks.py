"""Async bodies on asyncio: one loop for a worker, a task for each body; imported when first needed.

Theory of operation. From the first ``async def`` body on, the worker lives inside an asyncio loop: its
*turn* (step bodies, send, take messages) is a callback of that loop, called when its socket is
readable, when a task has been stepped, and again as long as there is more to do. Bodies are stepped in
a turn with no asyncio loop said to run, so that a plain body may call ``asyncio.run``; an async body is
stepped as its own task. Tasks that a body spawns belong to it: its attempt ends when they have ended,
and they are cancelled when it is given up or fails.
"""

from __future__ import annotations

import asyncio
import logging
import selectors
import threading
from asyncio import AbstractEventLoop, Future, Task
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import copy_context
from typing import Any, Final, TypeAlias, TypeVar, TypeVarTuple, Unpack

from executor.body_task import BodyTask, Resume, Signal, begun, pass_on
from executor.life_cycle import Awaiting, Step
from executor.running_loop import enter_running_loop, leave_running_loop
from executor.surroundings import surroundings

log = logging.getLogger(__name__)

LONG_S: Final = 5.0
"""After this time a body that has returned and whose tasks go on is worth a warning."""

_OWN_DESCRIPTORS: Final = 2
"""The worker's socket, and what wakes an asyncio loop from other threads."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
_Coroutine: TypeAlias = Coroutine[Any, Any, Any]


class AsyncioHost:
    """The asyncio loop of one worker.

    ``turn`` does the worker's work for a moment; it returns whether there is more to do. ``on_rest`` is
    called when no task can go on before something comes for the worker; it returns whether it has
    something to say. The worker is over when :meth:`stop` is called, or when our own code fails: asyncio
    would log that and go on, and the worker would never answer again.
    """

    def __init__(self, turn: Callable[[], bool], on_rest: Callable[[], bool]) -> None:
        self.loop = _Loop(_Selector(self))
        self.loop.set_task_factory(_task_of_body)
        self._on_rest = on_rest
        self._threads = set(threading.enumerate())
        self._turn = turn
        self._is_due = False
        self._is_over = False
        self._crash: BaseException | None = None
        self._context = copy_context()  # of no body: turns open bodies

    def run(self, descriptor: int) -> None:
        """Work until :meth:`stop`; ``descriptor`` becomes readable when messages may have come.

        Raises:
            BaseException: whatever the worker's own code has raised.
        """
        self.loop.add_reader(descriptor, self.wake)
        self.wake()
        try:
            self.loop.run_forever()
        finally:
            self.loop.remove_reader(descriptor)
        if self._crash is not None:
            raise self._crash

    def crash(self, error: BaseException) -> None:
        self._crash = self._crash or error
        self.stop()

    def stop(self) -> None:
        self._is_over = True
        self.loop.stop()

    def wake(self) -> None:
        """Let a turn come soon."""
        if not self._is_due:
            self._is_due = True
            self.loop.call_soon(self._take_turn, context=self._context)

    def rests(self) -> bool:
        """The loop would sleep until something comes: let it be said which bodies rest.

        Called where no callback is ready and no timer is set. Whether that was news, and a turn is due.
        """
        # Others than our own socket and the loop's own descriptor may wake a task; so may threads.
        if len(self.loop.selector.get_map()) > _OWN_DESCRIPTORS or self.loop.in_executors:
            return False
        if not self._threads.issuperset(threading.enumerate()) or not self._on_rest():
            return False
        self.wake()
        return True

    def close(self) -> None:
        """End what is left in the loop, waiting for the threads it has started."""
        try:
            self.loop.run_until_complete(self._end_all())
        finally:
            self.loop.close()

    async def _end_all(self) -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self.loop.shutdown_asyncgens()
        await self.loop.shutdown_default_executor()

    def _take_turn(self) -> None:
        self._is_due = False
        if self._is_over:
            return
        loop = leave_running_loop()
        try:
            if self._turn():
                self.wake()
        except BaseException as error:  # noqa: BLE001 - raised again by ``run``
            self.crash(error)
        finally:
            enter_running_loop(loop)


class _Loop(asyncio.SelectorEventLoop):
    """Counts what it has given to other threads."""

    def __init__(self, selector: _Selector) -> None:
        super().__init__(selector)
        self.selector = selector
        self.in_executors = 0

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self.in_executors += 1
        future.add_done_callback(self._returned)
        return future

    def _returned(self, _: object) -> None:
        self.in_executors -= 1


class _Selector(selectors.DefaultSelector):
    """Tells when the loop is about to sleep until something comes."""

    def __init__(self, host: AsyncioHost) -> None:
        super().__init__()
        self._host = host

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None and self._host.rests():
            timeout = 0
        return super().select(timeout)


class AsyncioTask(BodyTask):
    """A body's task of asyncio, and the tasks that the body spawned."""

    def __init__(self, host: AsyncioHost, resume: Resume) -> None:
        super().__init__(resume)
        self._host = host
        self._children: set[Task[Any]] = set()
        self._childless: Callable[[], None] | None = None
        self._warning: asyncio.TimerHandle | None = None
        self._handed: Awaiting | None = None
        self._parked: asyncio.Event | None = None
        self._task = Task(begun(self._carry()), loop=host.loop)
        self._task.add_done_callback(self._carried)

    # -- for the hub ------------------------------------------------------------------------------

    def step(self, advance: Callable[..., Step], *args: object) -> Step:
        loop = self._host.loop
        left = leave_running_loop()
        enter_running_loop(loop)
        asyncio.tasks._enter_task(loop, self._task)  # noqa: SLF001 - documented for extenders
        try:
            return advance(*args)
        finally:
            asyncio.tasks._leave_task(loop, self._task)  # noqa: SLF001 - as above
            leave_running_loop()
            enter_running_loop(left)

    def carry(self, awaiting: Awaiting) -> None:
        self._handed = awaiting
        self._unpark()

    def end(self) -> None:
        self.is_over = True
        self._unpark()

    def interrupt(self) -> None:
        self._task.cancel()

    def cancelled_error(self) -> BaseException:
        return asyncio.CancelledError()

    def cancel_children(self) -> None:
        for child in list(self._children):
            child.cancel()

    def when_childless(self, then: Callable[[], None]) -> None:
        if not self._children:
            then()
            return
        self._childless = then
        if self._warning is None:
            self._warning = self._host.loop.call_later(LONG_S, self._warn)

    # -- the task itself --------------------------------------------------------------------------

    async def _carry(self) -> None:
        """The task itself; to be given to the loop by :func:`begun`."""
        try:
            awaiting = await self._begin()
            while awaiting is not None or not self.is_over:
                if awaiting is None:
                    awaiting = await self._rest()
                else:
                    awaiting = await self._await_for_body(awaiting)
        except GeneratorExit:  # the loop itself has ended
            self._resume.close()
            raise

    async def _begin(self) -> Awaiting | None:
        try:
            await pass_on(None)
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - an interruption before the first step
            return self._interrupted(error)
        return None

    async def _rest(self) -> Awaiting | None:
        try:
            return await self._park()
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is, the body is to have it
            return self._interrupted(error)

    async def _await_for_body(self, awaiting: Awaiting) -> Awaiting | None:
        try:
            sent = await self._foreign(awaiting.awaited)
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the body
            after = self._resume.throw(error)
        else:
            after = self._resume.send(sent)
        self._stepped()
        return after

    async def _park(self) -> Awaiting | None:
        while self._handed is None and not self.is_over:
            self._parked = asyncio.Event()
            await self._parked.wait()
        handed, self._handed = self._handed, None
        return handed

    def _unpark(self) -> None:
        if self._parked is not None:
            self._parked.set()

    def _interrupted(self, error: BaseException) -> Awaiting | None:
        handed, self._handed = self._handed, None
        if self.is_over or (handed is not None and self._withdraw(handed.awaited)):
            return handed
        after = self._resume.throw(error)
        self._stepped()
        return after

    # -- for the loop -----------------------------------------------------------------------------

    def adopt(self, spawned: _Coroutine, options: dict[str, Any]) -> Task[Any]:
        """The task of a coroutine that the body, or a child of it, spawns."""
        child = Task(begun(self.child(spawned)), loop=self._host.loop, **options)
        self._children.add(child)
        child.add_done_callback(self._child_ended)
        return child

    def _child_ended(self, child: Task[Any]) -> None:
        self._children.discard(child)
        if self._children or self._childless is None:
            return
        then, self._childless = self._childless, None
        if self._warning is not None:
            self._warning.cancel()
        try:
            self._resume.conclude(then)
        except BaseException as error:  # noqa: BLE001 - the worker's, which is over by it
            self._host.crash(error)
        self._stepped()

    def _carried(self, task: Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._host.crash(error)

    def _warn(self) -> None:
        log.warning(
            "%s has returned, and waits for %d tasks that it spawned; await or cancel them in the "
            "body: %s",
            self._resume,
            len(self._children),
            ", ".join(sorted(child.get_name() for child in self._children)),
        )

    def _signal(self) -> Signal:
        return asyncio.Event()

    def _stepped(self) -> None:
        self._host.wake()

    def _withdraw(self, awaited: object) -> bool:
        """Cancel what nobody awaits yet; True if awaiting it now raises the cancellation."""
        return isinstance(awaited, Future) and awaited.cancel()

    async def _foreign(self, awaited: object) -> object:
        if awaited is None or hasattr(awaited, "_asyncio_future_blocking"):
            return await pass_on(awaited)
        on_asyncio = getattr(awaited, "on_asyncio", None)
        if on_asyncio is not None:
            return await on_asyncio()
        raise TypeError(f"{awaited!r} was awaited; on asyncio only what asyncio knows can be")


def _task_of_body(loop: AbstractEventLoop, spawned: Any, **options: Any) -> Any:
    """The task factory: a task spawned by a body, or by one of its tasks, is that body's."""
    context = options.get("context")
    around = surroundings.get() if context is None else context.get(surroundings)
    body_task = None if around is None else around.task
    if not isinstance(body_task, AsyncioTask) or not asyncio.iscoroutine(spawned):
        return Task(spawned, loop=loop, **options)
    return body_task.adopt(spawned, options)
