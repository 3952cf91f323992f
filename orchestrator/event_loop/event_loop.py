"""The loop: steps tasks, carries out their commands, sleeps until something can go on.

Theory of operation. Tasks that can run stand in ``ready``. A *pass* steps each task that was ready at
its start once, in order; a step sends None into the coroutine (or throws what is ``pending``) and hands
the command that it yields to the handler of its type. A handler either makes the task ready again or
leaves it as the ``wait`` of the task in somebody's care: the timers, the poller, or a line of waiters.
Between passes the loop polls descriptors (it sleeps if nothing is ready), runs what other threads asked
for and fires the timers. When a run ends, tasks that are left are closed, so that their ``finally``
blocks run, and so are all descriptors.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from random import Random
from threading import active_count, get_ident
from types import CoroutineType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from orchestrator.event_loop.clocks import Clock, MonotonicClock
from orchestrator.event_loop.commands import YIELD, Exit, Sleep, YieldNow
from orchestrator.event_loop.describing import describe_task
from orchestrator.event_loop.dispatch import Handler, Handlers
from orchestrator.event_loop.instrumentation import installed, observed_step
from orchestrator.event_loop.outcomes import (
    STOPPING,
    Exited,
    TaskCancelled,
    TaskState,
    abandon,
    require_coroutine,
    run_outcome,
)
from orchestrator.event_loop.poller import Poller
from orchestrator.event_loop.registrations import Ready
from orchestrator.event_loop.running import running
from orchestrator.event_loop.signals import Interruption, signals_end_run
from orchestrator.event_loop.tasks import TaskHandle
from orchestrator.event_loop.timers import Timers
from orchestrator.event_loop.waiters import Wait

if TYPE_CHECKING:
    from orchestrator.event_loop.queues import AsyncQueue

T = TypeVar("T")
Task: TypeAlias = TaskHandle[Any]

_log = logging.getLogger(__name__)


class EventLoop:
    """Runs coroutines that yield commands.

    A loop may be run any number of times, one run at a time; several loops may run in several threads.
    Of its methods, other threads may call ``create_task``, ``cancel``, ``exit``, ``describe`` and
    ``call_soon_threadsafe``.

    Args:
        clock: where time comes from; a :class:`VirtualClock` lets tests sleep in no time.
        seed: shuffle the order among the tasks of each pass, always alike for the same seed, so that
            tests find what silently depends on the order.
    """

    def __init__(self, clock: Clock | None = None, seed: int | None = None) -> None:
        self.clock: Clock = MonotonicClock() if clock is None else clock
        self.now = self.clock.now  # the time on the loop's clock, from which deadlines count
        self.ready: deque[Task] = deque()
        self.timers = Timers()
        self.current: Task | None = None  # the task that is being stepped
        self.thread_id: int | None = None  # of the thread that runs the loop
        # Replaces the coroutine of each new task, for those who host tasks of others on this loop.
        self.wrap_spawned: Callable[[Coroutine[Any, Any, Any]], Coroutine[Any, Any, Any]] | None = None
        # Called when the loop is about to sleep; returns whether a task can go on now.
        self.before_rest: Callable[[], bool] | None = None
        self._random = None if seed is None else Random(seed)
        # By coroutine, in the order of their creation. Holds every task that has not ended.
        self._tasks: dict[Coroutine[Any, Any, Any], Task] = {}
        self._calls: deque[Callable[[], object]] = deque()  # to make between two passes
        self.poller: Poller | None = None
        self._signal: BaseException | None = None  # what one that has come is yet to raise
        self._interruption: Interruption | None = None  # a signal asked for the end of the run
        self._handlers = Handlers(
            {
                YieldNow: self._yield_now,
                Sleep: self._sleep,
                Wait: self._wait,
                Ready: self._wait_ready,
                Exit: self._exit,
            }
        )

    # -- for everybody ----------------------------------------------------------------------------------

    def run_until_complete(
        self,
        root_task: Coroutine[Any, Any, T],
        join: bool = False,
        wait_for_spawned_tasks: bool = True,
        _debug_max_wait_time: float | None = None,
    ) -> T | None:
        """Run ``root_task``, and the tasks that it spawns, in this thread.

        In the main thread SIGINT and SIGTERM end the run in order and SIGUSR2 dumps all tasks; see
        ``orchestrator.event_loop.signals``.

        Args:
            root_task: a coroutine object.
            join: return its value or raise its exception. If false, the exception is logged.
            wait_for_spawned_tasks: go on until no task is left; if false, end with the root task and
                close the others.
            _debug_max_wait_time: bounds each sleep of the poller, in seconds. It is no timeout.

        Raises:
            RuntimeError: the loop runs already; or every task waits for another, and no timer,
                descriptor or thread is left that could wake one.
            KeyboardInterrupt: SIGINT came, and the root task did not catch it.
            SystemExit: SIGTERM came, likewise.
        """
        if self.thread_id is not None:
            if isinstance(root_task, CoroutineType):
                root_task.close()
            raise RuntimeError(
                "this event loop is running already; await or spawn() the coroutine, or use another loop"
            )
        outer = running.loop
        poller = Poller()
        try:  # from here on, an interrupt may come at any moment
            self.poller = poller
            self.thread_id = get_ident()
            running.loop = self
            root = self.create_task(root_task)
            # ``note`` runs inside a signal handler, so it does no more than append to a deque.
            note = partial(self._note_signal, root)
            try:
                with signals_end_run(note, poller.wakeup_fd, self.describe):
                    stuck = self._run(root, wait_for_spawned_tasks, _debug_max_wait_time)
            finally:
                self._raise_late_signal()
            if self._interruption is not None and self._interruption.is_late:
                raise self._interruption.error
            return run_outcome(root, join, stuck)
        except Exited as exited:
            if exited.exception is not None:
                raise exited.exception from None
            return exited.value if join else None
        finally:
            self._close(poller)
            running.loop = outer

    def create_task(self, coroutine: Coroutine[Any, Any, T]) -> TaskHandle[T]:
        """Start a task, from any thread; a loop that sleeps wakes up.

        If the loop does not run, the task starts when it does.

        Raises:
            TypeError: ``coroutine`` is no coroutine object.
            RuntimeError: it is a task already.
        """
        require_coroutine(coroutine)
        if coroutine in self._tasks:
            msg = f"{self._tasks[coroutine]} is a task already; await its join() instead"
            raise RuntimeError(msg)
        if self.wrap_spawned is not None:
            coroutine = self.wrap_spawned(coroutine)
        task = TaskHandle(self, coroutine)
        if self.thread_id == get_ident():
            self.start(task)
        else:
            self.call_soon_threadsafe(self.start, task)
        return task

    def start(self, task: Task, command: object = YIELD) -> None:
        """Take over a task that was stepped elsewhere, up to ``command``; in the loop's own thread."""
        self._tasks[task.coroutine] = task
        self._carry_out(task, command)

    def replace_wait(self, task: Task, command: object) -> None:
        """Let a waiting task wait for ``command`` instead, unless it has just been interrupted."""
        if task.wait is not None:
            task.wait.withdraw(task)
            task.wait = None
            self._carry_out(task, command)

    def _carry_out(self, task: Task, command: object) -> None:
        if isinstance(command, Exit):  # this is another task's step
            self.exit(command.value, command.exception)
            return
        try:
            self._handlers[type(command)](task, command)
        except Exception as error:  # noqa: BLE001 - it belongs to the task that gave the command
            task.pending = error
            self.ready.append(task)

    def cancel(self, task: Task | Coroutine[Any, Any, Any]) -> bool:
        """Cancel a task, from any thread; False if it had ended. See ``TaskHandle.cancel``."""
        found = task if isinstance(task, TaskHandle) else self._tasks.get(task)
        if found is None or not found.is_living:
            return False
        found.cancel()
        return True

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: object) -> None:
        """Call ``callback(*args)`` in the loop's thread between two passes, from any thread.

        The way for another thread to wake a task: ``loop.call_soon_threadsafe(event.set)``. An
        exception of the callback is logged.
        """
        self._calls.append(partial(callback, *args))
        poller = self.poller
        if poller is not None and self.thread_id != get_ident():
            poller.wake()

    def register_command(self, command: type, handler: Handler) -> None:
        """Have commands of a type, and of its subclasses, carried out by ``handler(task, command)``.

        The handler sets ``command.result`` and appends the task to ``loop.ready``; or it sets
        ``task.wait = command`` and sees to it that somebody calls ``task.resume()`` later. What it
        raises is raised in the task.
        """
        self._handlers[command] = handler

    def exit(self, value: object = None, exception: BaseException | None = None) -> None:
        """End the run before its next pass, as the primitive ``exit`` does; from any thread."""
        self.call_soon_threadsafe(self._exit, None, Exit(value, exception))

    def task_of(self, coroutine: Coroutine[Any, Any, Any]) -> Task | None:
        """The living task that runs a coroutine."""
        return self._tasks.get(coroutine)

    def has_living_tasks(self) -> bool:
        """Whether a task has yet to end."""
        return bool(self._tasks)

    def handle_queue_close(self, queue: AsyncQueue[Any]) -> None:
        """Close ``queue``; the same as ``queue.close()``."""
        queue.close()

    def describe(self) -> str:
        """All tasks, what each waits for, and where. From any thread, but then it is only a snapshot."""
        tasks = list(self._tasks.values())
        return "\n".join([f"{len(tasks)} tasks", *(describe_task(task, self.current) for task in tasks)])

    def closing(self, source: Any) -> None:
        """``source`` is about to be closed: tasks that wait for it are interrupted with an OSError."""
        if self.poller is not None:
            self.poller.forget(source)

    # -- the run ------------------------------------------------------------------------------------

    def _run(self, root: Task, wait_for_spawned_tasks: bool, longest_wait_s: float | None) -> str | None:
        """Run until the root task, or all tasks, have ended; or say what all wait for if none can."""
        poller, heap, ready, calls = self.poller, self.timers.heap, self.ready, self._calls
        assert poller is not None
        while root.is_living or (wait_for_spawned_tasks and self._tasks):
            if ready or calls:
                if poller.registrations:
                    poller.poll(0)
            elif not self._rest(poller, longest_wait_s):
                return self.describe()
            for _ in range(len(calls)):
                poller.is_checked = False
                self._call(calls.popleft())
            if heap and heap[0][0] <= self.now():
                self.timers.fire(self.now())
            if ready:
                poller.is_checked = False
                if self._random is not None:
                    self._random.shuffle(ready)
                self._pass()
            if self._interruption is not None and not root.is_living:
                self._interruption.cancel_once(self._tasks.values())
        return None

    def _rest(self, poller: Poller, longest_wait_s: float | None) -> bool:
        """Sleep until something may have happened; False if nothing ever can."""
        if self.before_rest is not None and self.before_rest():
            poller.is_checked = False
            return True
        deadline = self.timers.next_deadline()
        if deadline == math.inf and not poller.has_waits and active_count() == 1:
            return bool(self._calls)  # one may have come this moment
        patience_s = self.clock.patience_s(deadline)
        if longest_wait_s is not None:
            patience_s = longest_wait_s if patience_s is None else min(patience_s, longest_wait_s)
        poller.poll(patience_s)
        if not self.ready and not self._calls:
            self.clock.on_idle(deadline)
        return True

    def _pass(self) -> None:
        """Step each task that is ready now, once."""
        ready, handlers, instruments = self.ready, self._handlers, installed
        for _ in range(len(ready)):
            self.current = task = ready.popleft()
            try:
                if instruments:
                    command = observed_step(task)
                elif task.pending is None:  # nearly always, so without one more call
                    command = task.coroutine.send(None)
                else:
                    command = task.step()
            except StopIteration as stop:
                del self._tasks[task.coroutine]
                task.end(TaskState.FINISHED, stop.value, None)
                continue
            except TaskCancelled as error:
                del self._tasks[task.coroutine]
                task.end(TaskState.CANCELLED, None, error.with_traceback(None))  # no news to anybody
                continue
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is how the task ended
                self._failed(task, error)
                continue
            try:
                handlers[type(command)](task, command)
            except Exception as error:  # noqa: BLE001 - it belongs to the task that gave the command
                task.pending = error
                ready.append(task)
        self.current = None

    def _failed(self, task: Task, error: BaseException) -> None:
        """A task ended by ``error``; one that asks the process to stop ends the run at once."""
        del self._tasks[task.coroutine]
        task.end(TaskState.ERROR, None, error.with_traceback(task.own_traceback(error)))
        if isinstance(error, STOPPING) and (
            self._interruption is None or error is not self._interruption.error
        ):
            task.outcome()  # raises it: the caller hears of it

    def _call(self, callback: Callable[[], object]) -> None:
        try:
            callback()
        except Exception:  # noqa: BLE001 - nobody else could take it
            _log.exception("a callback of call_soon_threadsafe failed: %r", callback)

    # -- ending -------------------------------------------------------------------------------------

    def _note_signal(self, root: Task, error: BaseException) -> None:
        self._signal = error
        self._calls.append(partial(self._interrupt, root, error))

    def _interrupt(self, root: Task, error: BaseException) -> None:
        if self._signal is error:  # or it has been raised when the run before this one ended
            self._signal = None
            self._interruption = Interruption(root, error)

    def _raise_late_signal(self) -> None:
        """A signal came in the last pass, or after it: nobody else would ever hear of it."""
        error, self._signal = self._signal, None
        if error is not None:
            raise error from None

    def _close(self, poller: Poller) -> None:
        """Close what is left of a run, so that the loop can run again."""
        try:
            while self._tasks:
                abandon(self._tasks.pop(next(iter(self._tasks))))
        finally:
            self.poller = None
            poller.close()
            self.ready.clear()
            self.timers.clear()
            self.current = self.thread_id = self._interruption = None

    # -- handlers of commands -----------------------------------------------------------------------

    def _yield_now(self, task: Task, _command: YieldNow) -> None:
        self.ready.append(task)

    def _sleep(self, task: Task, command: Sleep) -> None:
        command.start = self.now()
        task.timer = self.timers.add(command.start + command.seconds, task.on_deadline)
        task.wait = command

    def _wait(self, task: Task, command: Wait) -> None:
        if command.deadline is not None:
            task.timer = self.timers.add(command.deadline, task.on_deadline)
        command.waiters[task] = command
        task.wait = command

    def _wait_ready(self, task: Task, command: Ready) -> None:
        assert self.poller is not None
        if self.poller.add(task, command):
            if command.deadline is not None:
                task.timer = self.timers.add(command.deadline, task.on_deadline)
            task.wait = command
        else:
            command.result = True
            self.ready.append(task)

    def _exit(self, _task: Task | None, command: Exit) -> None:
        raise Exited(command.value, command.exception)
