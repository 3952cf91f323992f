"""The pool as a ``concurrent.futures.Executor``: for people who never draw a graph."""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from functools import partial
from itertools import chain, islice
from time import monotonic
from types import TracebackType
from typing import Any, Final, ParamSpec, TypeVar

from executor.callables import Callables
from executor.driver import RUN, Driver
from executor.futures import TaskFuture
from executor.host import Input, Invocation
from executor.pool import Pool
from executor.scheduling import CPUS, MEMORY, checked_resources, demand_of, shortages
from executor.sizing import checked_size, usable_memory_bytes
from executor.task import Initializer
from executor.task_errors import TaskNotPicklable
from executor.task_options import TaskOptions, check_integer
from protocol.messages import AttemptKey, NodeId
from protocol.serialization import SerializationError, dumps

P = ParamSpec("P")
T = TypeVar("T")

GRACE_S: Final = 1.0
"""How long a cancelled task may go on before its worker is killed."""


class ProcessExecutor(Executor):
    """Runs functions in worker processes; a drop-in for ``concurrent.futures.ProcessPoolExecutor``.

    What that one lacks: a running task can be cancelled; lambdas and closures can be submitted; a worker
    that dies fails, or retries, the one task it was running and nothing else; tasks have options
    (:meth:`options`); a script needs no ``if __name__ == "__main__":``; any thread may submit.

    Workers start with the first task, with the working directory, environment and ``sys.path`` of then.
    They are not forks of this process, so what only exists in its memory reaches them in arguments.
    What has been submitted is waited for at the interpreter's end. An executor does not survive a
    fork, and cannot be sent to its own tasks: a task that wants to submit makes an executor of its own,
    which ends with its worker.

    A task that was finished in the last half millisecond before its worker died may be run twice.

    Args:
        max_workers: how many processes; one per usable processor if None.
        mp_context: only for compatibility; a context of the start method "fork" is refused.
        initializer: called with ``initargs`` in each worker before its first task. If it raises, the
            executor is broken.
        max_tasks_per_child: so many tasks a worker runs at most before it is replaced.
        resources: what tasks may claim, as for :class:`~executor.pool.Pool`.

    Raises:
        TypeError, ValueError: an argument is not what it must be.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        resources: Mapping[str, float] | None = None,
    ) -> None:
        if max_workers is not None:
            check_integer("max_workers", max_workers, least=1)
        _check_context(mp_context)
        if initializer is not None and not callable(initializer):
            raise TypeError(f"initializer must be a callable, not {initializer!r}")
        if max_tasks_per_child is not None:
            check_integer("max_tasks_per_child", max_tasks_per_child, least=1)
        size = checked_size(max_workers)
        self._totals = {
            CPUS: float(size),
            MEMORY: usable_memory_bytes(),
            **checked_resources(resources),
        }
        self._make_pool = partial(
            Pool,
            size,
            resources=resources,
            grace_s=GRACE_S,
            max_runs_per_worker=max_tasks_per_child,
        )
        self._callables = Callables(_initializer(initializer, initargs))
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._driver: Driver | None = None
        self._is_shut_down = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> TaskFuture[T]:
        """Run ``fn(*args, **kwargs)`` in a worker.

        What does not pickle fails the future, not this call.

        Raises:
            TypeError: ``fn`` is not a callable.
            RuntimeError: the executor was shut down, or this is a fork of the process it belongs to.
            ExecutorBroken: it can run nothing.
            OSError: with the first task: the system refuses processes, files or descriptors.
        """
        return self._submit(fn, (args, kwargs), _DEFAULTS)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[T]:
        """The results of ``fn`` on the elements of the iterables, in order.

        All is submitted at once, ``chunksize`` elements to a task. Where the iterator is given up or
        raises, tasks that have not begun are cancelled.

        Raises:
            TimeoutError: from the iterator: not all results came within ``timeout`` seconds of the call.
            ValueError: ``chunksize`` is less than 1.
        """
        return self._map(fn, iterables, timeout, chunksize, _DEFAULTS)

    def options(
        self,
        *,
        priority: float = 0,
        timeout_s: float | None = None,
        retries: int = 0,
        cpus: float | None = None,
        memory: int | None = None,
        resources: Mapping[str, float] | None = None,
    ) -> ExecutorView:
        """This executor with options for what is submitted through the result.

        ``pool.options(priority=-1).submit(fn, ...)``: being given apart from the function's own
        arguments, they cannot clash with those.

        Args:
            priority: tasks of lower numbers run first; 0 by default.
            timeout_s: how long a task may compute before it is ended by TaskTimeoutError.
            retries: how often a task is run again that raised, took too long or whose worker died; 0 by
                default.
            cpus: how many of the workers' processors a task claims while it runs; 1 by default.
            memory: how many bytes of memory it claims.
            resources: what else it claims, by the names given to the executor.

        Raises:
            TypeError, ValueError: one of them is not what it must be, or more is claimed than there is.
        """
        demand = demand_of(cpus, memory, resources)
        lacks = shortages(demand, self._totals)
        if lacks:
            raise ValueError(f"a task that {'; it '.join(map(str, lacks))}, could never run")
        return ExecutorView(self, TaskOptions(priority, timeout_s, retries, demand))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept nothing more; with ``wait``, wait until all that was submitted has ended.

        Called by a callback, it does not wait. Ctrl-C meanwhile cancels what there is. Repeating changes
        nothing.

        Args:
            wait: return when the workers have ended; else at once.
            cancel_futures: cancel the tasks that have not begun.
        """
        with self._lock:
            self._is_shut_down = True
            driver = self._driver
        if driver is None or self._pid != os.getpid():
            return
        driver.finish(recall=cancel_futures)
        if wait:
            try:
                driver.join()
            except KeyboardInterrupt:
                driver.finish(abandon=True)
                driver.join()
                raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Shut down and wait; where the block was left by Ctrl-C or the like, cancel all there is."""
        if error is not None and not isinstance(error, Exception) and self._driver is not None:
            self._driver.finish(abandon=True)
        self.shutdown(wait=True)

    def __reduce__(self) -> str:
        raise TypeError(
            "an executor cannot be sent to a task; let the task make a ProcessExecutor of its own, "
            "or submit from callbacks of futures"
        )

    # -- for views ----------------------------------------------------------------------------------

    def _submit(
        self, fn: Callable[..., T], arguments: object, options: TaskOptions, *, each: bool = False
    ) -> TaskFuture[T]:
        driver = self._driver
        if driver is None or self._pid != os.getpid():
            driver = self._start()
        if not callable(fn):
            raise TypeError(f"submit() needs a function to call, not {fn!r}")
        name = getattr(fn, "__qualname__", None) or repr(fn)
        try:
            encoded = self._callables.encode(fn, each=each)
        except SerializationError as error:
            return _unsent(driver, TaskNotPicklable(name, "the function", str(error)))
        try:
            payload = dumps(arguments)
        except SerializationError as error:
            return _unsent(driver, TaskNotPicklable(name, "an argument", str(error)))
        key = AttemptKey(RUN, NodeId(next(self._numbers)), 0)
        inputs: list[Input] = [*encoded.rider, payload]
        invocation = Invocation(
            key,
            encoded.code,
            inputs,
            timeout_s=options.timeout_s,
            priority=options.priority,
            demand=options.demand,
        )
        future: TaskFuture[T] = TaskFuture(driver, invocation, name, options.retries)
        driver.submit(future)
        return future

    def _map(
        self,
        fn: Callable[..., T],
        iterables: tuple[Iterable[Any], ...],
        timeout: float | None,
        chunksize: int,
        options: TaskOptions,
    ) -> Iterator[T]:
        if chunksize < 1:
            raise ValueError(f"chunksize must be at least 1, not {chunksize!r}")
        deadline = None if timeout is None else monotonic() + timeout
        calls = zip(*iterables, strict=False)
        if chunksize == 1:
            return _results([self._submit(fn, (args, {}), options) for args in calls], deadline)
        futures: list[TaskFuture[Any]] = []
        while chunk := list(islice(calls, chunksize)):
            futures.append(self._submit(fn, chunk, options, each=True))
        return chain.from_iterable(_results(futures, deadline))

    def _start(self) -> Driver:
        if self._pid != os.getpid():
            raise RuntimeError("an executor does not survive a fork; make one in the new process")
        with self._lock:
            if self._is_shut_down:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if self._driver is None:
                self._driver = driver = Driver(self._make_pool)
                # Forgotten, it finishes what it has and gives everything back.
                weakref.finalize(self, driver.finish).atexit = False
            return self._driver


class ExecutorView(Executor):
    """An executor with options of its own for the tasks submitted through it."""

    def __init__(self, executor: ProcessExecutor, options: TaskOptions) -> None:
        self._executor = executor
        self._options = options

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> TaskFuture[T]:
        """As :meth:`ProcessExecutor.submit`, with these options."""
        return self._executor._submit(fn, (args, kwargs), self._options)  # noqa: SLF001 - its own view

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[T]:
        """As :meth:`ProcessExecutor.map`, with these options."""
        return self._executor._map(fn, iterables, timeout, chunksize, self._options)  # noqa: SLF001

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut the executor itself down."""
        self._executor.shutdown(wait, cancel_futures=cancel_futures)


_DEFAULTS: Final = TaskOptions()
_executors: Final = itertools.count(1)


def _results(futures: list[TaskFuture[T]], deadline: float | None) -> Iterator[T]:
    futures.reverse()

    # A generator of its own, so that all is submitted before the first result is asked for.
    def results() -> Iterator[T]:
        try:
            while futures:
                timeout = None if deadline is None else deadline - monotonic()
                yield futures.pop().result(timeout)
        finally:
            for future in futures:
                future.recall()

    return results()


def _unsent(driver: Driver, error: TaskNotPicklable) -> TaskFuture[Any]:
    future: TaskFuture[Any] = TaskFuture(driver, None, error.task, 0)
    future.set_exception(error)
    return future


def _initializer(function: Callable[..., object] | None, args: tuple[Any, ...]) -> Initializer | None:
    return None if function is None else Initializer(next(_executors), dumps((function, args)))


def _check_context(context: Any) -> None:
    if context is not None and context.get_start_method() == "fork":
        raise ValueError(
            "workers are never forked from this process, so mp_context must not be of the start method "
            "'fork'; what tasks need from this process's memory, give them as arguments"
        )
