"""Runs an executor's tasks on a pool of its own, and ends their futures.

Theory of operation. Other threads give *orders*, which are obeyed in turns at the pool, each by
whichever thread comes first (``executor.helm``). The driver's own thread takes the turns that nobody
else takes, and calls the callbacks of futures. A task that fails may be run again; one whose worker died
while running something else is, at no charge. When nothing more may come and nothing is live, the thread
closes the pool and ends.

    submit, cancel, ... --> orders --> turns <--> Pool
    futures <--------------- reports ---'
"""

# ruff: noqa: ARG002 - a report says more than a future needs

from __future__ import annotations

import logging
import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NoReturn, TypeAlias

from executor.errors import InitializerFailed
from executor.futures import TaskFuture
from executor.helm import Helm
from executor.host import WorkerLoss
from executor.mono import MonoReports
from executor.outcomes import loss_error, open_failure, open_result
from executor.pool import Pool
from executor.task_errors import ExecutorBroken
from protocol.messages import AttemptKey, ErrorReport, Fault, Missing, RunId
from protocol.values import Value

log = logging.getLogger(__name__)

RUN: Final = RunId(1)
LOSSES_LIMIT: Final = 10
"""So many workers may die around a task that is not to blame before it is given up."""

_Future: TypeAlias = TaskFuture[Any]


class Driver(MonoReports):
    """Runs tasks on a pool of its own. Any thread may call it, in the process that made it.

    It holds no reference to the executor it serves, so that one may be forgotten.

    Raises:
        OSError: the system refuses processes, threads, files or descriptors.
    """

    def __init__(self, make_pool: Callable[[], Pool]) -> None:
        self.pid = os.getpid()
        self.broken: ExecutorBroken | None = None
        self._lock = threading.RLock()  # the garbage collector may call ``finish`` anywhere
        self._is_closing = False  # no task may come any more
        self._is_over = False  # no order will be obeyed any more
        self._live: dict[AttemptKey, _Future] = {}
        self._to_call: deque[_Future] = deque()  # ended, with callbacks that are to be called
        self._is_calling_back = False  # for as long as the user's code takes
        self._is_killed = False
        self._ended = threading.Event()
        self._pool: Pool
        self._helm: Helm
        start = _Start(make_pool)
        self._thread = threading.Thread(
            target=self._run, args=(start,), name="process-executor", daemon=True
        )
        self._thread.start()
        self.thread_id = self._thread.ident or 0
        start.done.wait()
        if start.error is not None:
            raise start.error
        _running.add(self)

    # -- for any thread -----------------------------------------------------------------------------

    def submit(self, future: _Future) -> None:
        """Run the future's invocation.

        Raises:
            RuntimeError: it was told that no more would come.
            ExecutorBroken: it can run nothing.
        """
        with self._lock:
            if self.broken is not None:
                raise ExecutorBroken(self.broken.reason)
            if self._is_closing:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._helm.orders.append((self._begin, future))
            has_room = len(self._live) + len(self._helm.orders) <= self._pool.workers
        # What a worker may wait for is sent at once; the rest leaves many at a time.
        if has_room or self._is_calling_back:
            self._helm.serve()
        else:
            self._helm.serve_soon()

    def give_up(self, future: _Future) -> None:
        """The future is cancelled: its task is of no use any more, even if it runs."""
        self._order(self._cancel, future)

    def recall(self, future: _Future) -> None:
        """Cancel the future if its task has not begun."""
        self._order(self._recall, future)

    def lead(self, future: _Future, timeout_s: float | None) -> None:
        """Drive the pool in this thread, if no other does so, until the future has ended."""
        self._helm.lead(future, timeout_s)

    def note_end(self, future: _Future) -> None:
        """The future has ended; its callbacks, if any, are called in our thread."""
        self._helm.note_end(future)
        if future.has_callbacks:
            self._to_call.append(future)
        if self._to_call or self._is_closing:
            self._helm.wake()

    def is_running(self, future: _Future) -> bool:
        invocation = future.invocation
        return invocation is not None and self._pool.is_running(invocation.key)

    def finish(self, *, recall: bool = False, abandon: bool = False) -> None:
        """No more tasks will come; those there are run to their ends.

        ``recall``: those that have not begun are cancelled. ``abandon``: all are.
        """
        if self.pid != os.getpid():
            return  # a fork: the thread is not here
        with self._lock:
            self._is_closing = True
            ends = self._abandon_all if abandon else self._recall_all if recall else None
            if ends is not None and not self._is_over:
                self._helm.orders.append((ends, None))
        self._helm.wake()

    def join(self) -> None:
        """Wait until the thread has ended, and with it the pool; at once in that thread itself."""
        if threading.get_ident() != self.thread_id and self.pid == os.getpid():
            self._ended.wait()
            # Alone, a join that Ctrl-C interrupts takes the thread for ended, up to Python 3.12.
            self._thread.join()

    def kill(self) -> None:
        """End at once, and with it the workers; for when all was abandoned."""
        self._is_killed = True
        self._helm.wake()

    def _order(self, verb: Callable[[_Future], None], future: _Future) -> None:
        with self._lock:
            if not self._is_over:
                self._helm.orders.append((verb, future))
        self._helm.serve()

    # -- the thread ---------------------------------------------------------------------------------

    def _run(self, start: _Start) -> None:
        try:
            self._serve(start)
        finally:
            self._ended.set()

    def _serve(self, start: _Start) -> None:
        try:
            self._pool = start.make_pool()
            self._pool.attach(RUN, self)
            self._helm = Helm(self._pool, self._obey)
        except BaseException as error:  # noqa: BLE001 - raised where the driver is made
            start.error = error
            return
        finally:
            start.done.set()
        try:
            self._drive()
            self._helm.close()
            if self._is_killed:
                self._pool.kill()
            else:
                self._pool.close()
            self._end(None)
        except BaseException as error:
            log.exception("the thread of an executor failed")
            self._helm.close()
            self._end(ExecutorBroken(f"its thread failed: {error!r}"))
            self._pool.kill()

    def _drive(self) -> None:
        helm = self._helm
        helm.take_turn()
        while not self._is_killed and (not self._is_closing or self._live or helm.orders):
            helm.rest()
            self._call_callbacks()

    def _call_callbacks(self) -> None:
        while self._to_call:
            self._is_calling_back = True
            self._to_call.popleft().call_callbacks()
        self._is_calling_back = False

    def _end(self, broken: ExecutorBroken | None) -> None:
        """Nothing is obeyed any more, and no future is left that waits."""
        with self._lock:
            self._is_closing = self._is_over = True
            self.broken = self.broken or broken
        left = [*self._live.values(), *(future for _, future in self._helm.orders if future is not None)]
        self._live.clear()
        self._helm.orders.clear()
        for future in left:
            _fail(future, broken or ExecutorBroken("it was shut down"))
        self._call_callbacks()

    # -- orders, obeyed in turns --------------------------------------------------------------------

    def _obey(self) -> None:
        orders = self._helm.orders
        while orders:
            verb, future = orders.popleft()
            verb(future)
        if self._pool.failure is not None and self.broken is None:
            self._break(str(self._pool.failure))

    def _begin(self, future: _Future) -> None:
        invocation = future.invocation
        if invocation is None:
            return  # cancelled before we heard of it
        if self.broken is not None:
            _fail(future, self.broken)
            return
        self._live[invocation.key] = future
        self._pool.invoke(invocation)

    def _cancel(self, future: _Future) -> None:
        if future.key in self._live:
            self._pool.cancel(future.key)

    def _recall(self, future: _Future) -> None:
        if future.key in self._live:
            self._pool.recall(future.key)

    def _recall_all(self, _: None) -> None:
        for key in list(self._live):
            self._pool.recall(key)

    def _abandon_all(self, _: None) -> None:
        for key, future in list(self._live.items()):
            future.mark_cancelled()
            self._pool.cancel(key)

    def _break(self, reason: str) -> None:
        """Nothing can be run: every task there is fails, and so will those to come."""
        self.broken = ExecutorBroken(reason)
        for key, future in list(self._live.items()):
            _fail(future, self.broken)
            self._pool.cancel(key)

    # -- reports of the pool (``executor.host.Reports``) ----------------------------------------------

    def completed(
        self,
        key: AttemptKey,
        emitted: int,
        seconds: float,
        outputs: list[Value],
        missing: Missing | None,
        state: Value | None = None,
    ) -> None:
        self._live.pop(key).seal_result(partial(open_result, outputs, missing))

    def failed(
        self, key: AttemptKey, emitted: int, seconds: float, error: ErrorReport, cause: Value | None
    ) -> None:
        future = self._live.pop(key)
        if error.fault is Fault.BODY and error.type_name == InitializerFailed.__name__:
            _fail(future, ExecutorBroken(error.message))
            if self.broken is None:
                self._break(f"{error.message}\n{error.traceback}")
        elif error.fault is Fault.BODY and self._has_retry(future):
            self._again(future)
        else:
            future.seal_exception(partial(open_failure, future.name, error, cause))

    def cancelled(self, key: AttemptKey) -> None:
        self._live.pop(key).mark_cancelled()

    def lost(self, key: AttemptKey, loss: WorkerLoss) -> None:
        future = self._live.pop(key)
        if loss.pid == 0 and self._pool.failure is not None:
            _fail(future, ExecutorBroken(str(self._pool.failure)))
        elif not loss.charged and future.losses < LOSSES_LIMIT:
            future.losses += 1
            self._again(future)
        elif loss.charged and self._has_retry(future):
            self._again(future)
        else:
            _fail(future, loss_error(future.name, key.attempt + 1, loss))

    def _has_retry(self, future: _Future) -> bool:
        if future.retries == 0:
            return False
        future.retries -= 1
        return True

    def _again(self, future: _Future) -> None:
        """Run it once more, under the next attempt's key; not now: this is a report."""
        if future.begin_next_attempt():
            self._helm.orders.append((self._begin, future))


class _Start:
    """The making of a driver, seen from both threads."""

    def __init__(self, make_pool: Callable[[], Pool]) -> None:
        self.make_pool = make_pool
        self.error: BaseException | None = None
        self.done = threading.Event()


def _fail(future: _Future, error: BaseException) -> None:
    future.seal_exception(partial(_raise, error))


def _raise(error: BaseException) -> NoReturn:
    raise error


_running: Final[weakref.WeakSet[Driver]] = weakref.WeakSet()


def _finish_all() -> None:
    """Wait, before the interpreter ends, for what was submitted; Ctrl-C gives it up."""
    drivers: list[Driver] = []
    try:
        drivers += _running
        for driver in drivers:
            driver.finish(abandon=_is_interrupted())
        for driver in drivers:
            driver.join()
    except KeyboardInterrupt:
        for driver in drivers:
            driver.finish(abandon=True)
        _join_all_or_kill(drivers)
        raise


def _join_all_or_kill(drivers: list[Driver]) -> None:
    """Wait for them; at the next Ctrl-C no longer than it takes to kill their workers."""
    try:
        for driver in drivers:
            driver.join()
    except KeyboardInterrupt:
        for driver in drivers:
            driver.kill()
        for driver in drivers:
            driver.join()


def _is_interrupted() -> bool:
    """Whether the interpreter ends because of Ctrl-C, which does not reach workers by itself."""
    return getattr(sys, "last_type", None) is KeyboardInterrupt and not hasattr(sys, "ps1")


# Before threads are joined and before what ``atexit`` calls, which would take the pools away; as the
# executors of the standard library do.
threading._register_atexit(_finish_all)  # type: ignore[attr-defined]  # noqa: SLF001
