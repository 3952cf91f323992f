"""The thread behind an executor: owns the pool, pumps it, and ends futures.

Theory of operation. Other threads put *orders* into a deque, and write to a descriptor if the driver
sleeps: everything else happens in its one thread, in turns of obeying orders, sending what that
wrote, and waiting for workers or further orders. A task that fails may be run again; one whose worker
died while running something else is, at no charge. When nothing more may come and nothing is live,
the thread closes the pool and ends.

    submit, cancel, ... --> orders --wake--> driver <--> Pool
    futures <---------------- reports -------------------'
"""

# ruff: noqa: ARG002 - a report says more than a future needs

from __future__ import annotations

import logging
import math
import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any, Final, NoReturn, TypeAlias

import zmq

from executor.errors import InitializerFailed
from executor.futures import TaskFuture
from executor.host import WorkerLoss
from executor.mono import MonoReports
from executor.outcomes import loss_error, open_failure, open_result
from executor.pool import Pool
from executor.resources import Source, pollable
from executor.task_errors import ExecutorBroken
from protocol.messages import AttemptKey, ErrorReport, Fault, Missing, RunId
from protocol.values import Value

log = logging.getLogger(__name__)

RUN: Final = RunId(1)
LOSSES_LIMIT: Final = 10
"""So many workers may die around a task that is not to blame before it is given up."""

_Future: TypeAlias = TaskFuture[Any]
_Order: TypeAlias = tuple[Callable[[Any], None], _Future | None]


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
        self._is_over = False  # the thread will obey no order any more
        self._is_asleep = False
        self._is_saturated = False
        self._orders: deque[_Order] = deque()
        self._wakeup = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._live: dict[AttemptKey, _Future] = {}
        self._pool: Pool
        self._poller = zmq.Poller()
        self._sources: list[Source] = []
        self._source_of: dict[Any, Source] = {}
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
            self._orders.append((self._begin, future))
        # Where no worker has room, it is soon enough when one tells that it has.
        if self._is_asleep and not self._is_saturated:
            self._wake()

    def give_up(self, future: _Future) -> None:
        """The future is cancelled: its task is of no use any more, even if it runs."""
        self._order(self._cancel, future)

    def recall(self, future: _Future) -> None:
        """Cancel the future if its task has not begun."""
        self._order(self._recall, future)

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
                self._orders.append((ends, None))
        self._wake()

    def join(self) -> None:
        """Wait until the thread has ended, and with it the pool; at once in that thread itself."""
        if threading.get_ident() != self.thread_id and self.pid == os.getpid():
            self._thread.join()

    def _order(self, verb: Callable[[_Future], None], future: _Future) -> None:
        with self._lock:
            if not self._is_over:
                self._orders.append((verb, future))
        if self._is_asleep:
            self._wake()

    def _wake(self) -> None:
        with self._lock:
            self._is_asleep = False  # one write is enough
            if not self._is_over:
                os.eventfd_write(self._wakeup, 1)

    # -- the thread ---------------------------------------------------------------------------------

    def _run(self, start: _Start) -> None:
        try:
            self._pool = start.make_pool()
            self._pool.attach(RUN, self)
        except BaseException as error:  # noqa: BLE001 - raised where the driver is made
            self._end(ExecutorBroken("it could not be started"))
            start.error = error
            return
        finally:
            start.done.set()
        try:
            self._drive()
            self._pool.close()
            self._end(None)
        except BaseException as error:
            log.exception("the thread of an executor failed")
            self._end(ExecutorBroken(f"its thread failed: {error!r}"))
            self._pool.kill()

    def _drive(self) -> None:
        pool = self._pool
        while True:
            orders = self._orders
            while orders:
                verb, future = orders.popleft()
                verb(future)
            pool.flush()
            if self._is_closing and not self._live and not orders:
                return
            self._wait(pool)
            if pool.failure is not None and self.broken is None:
                self._break(str(pool.failure))

    def _wait(self, pool: Pool) -> None:
        """Wait for a worker, a deadline or an order, and take what workers say."""
        sources = pool.sockets()
        if sources != self._sources:
            self._watch(sources)
        self._is_saturated = pool.is_saturated
        self._is_asleep = True
        timeout_s = 0.0 if self._orders else pool.next_deadline() - monotonic()
        timeout_ms = None if timeout_s == math.inf else max(0, math.ceil(timeout_s * 1000))
        readable = self._poller.poll(timeout_ms)
        self._is_asleep = False
        now = monotonic()
        for each, _ in readable:
            source = self._source_of.get(each)
            if source is None:
                os.eventfd_read(self._wakeup)
            else:
                pool.on_readable(source, now)
        if pool.next_deadline() <= now:
            pool.on_deadline(now)

    def _watch(self, sources: list[Source]) -> None:
        self._sources = sources
        self._source_of = {pollable(source): source for source in sources}
        self._poller = zmq.Poller()
        for each in (*self._source_of, self._wakeup):
            self._poller.register(each, zmq.POLLIN)

    def _end(self, broken: ExecutorBroken | None) -> None:
        """Nothing is obeyed from now on, and no future is left that waits."""
        with self._lock:
            self._is_closing = self._is_over = True
            self.broken = self.broken or broken
            os.close(self._wakeup)
        left = [*self._live.values(), *(future for _, future in self._orders if future is not None)]
        self._live.clear()
        self._orders.clear()
        for future in left:
            _fail(future, broken or ExecutorBroken("it was shut down"))

    # -- orders -------------------------------------------------------------------------------------

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
            self._orders.append((self._begin, future))


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
    drivers = list(_running)
    for driver in drivers:
        driver.finish(abandon=_is_interrupted())
    try:
        for driver in drivers:
            driver.join()
    except KeyboardInterrupt:
        for driver in drivers:
            driver.finish(abandon=True)
        for driver in drivers:
            driver.join()
        raise


def _is_interrupted() -> bool:
    """Whether the interpreter ends because of Ctrl-C, which does not reach workers by itself."""
    return getattr(sys, "last_type", None) is KeyboardInterrupt and not hasattr(sys, "ps1")


# Before threads are joined and before what ``atexit`` calls, which would take the pools away; as the
# executors of the standard library do.
threading._register_atexit(_finish_all)  # type: ignore[attr-defined]  # noqa: SLF001
