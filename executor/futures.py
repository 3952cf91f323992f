"""The future of an executor's task: a ``concurrent.futures.Future`` that can be cancelled while it runs.

What a worker has sent is unpickled by whoever asks for it first, in their thread: the executor's own
thread opens no value, so nothing that a result does to be unpickled can hold up other tasks.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED
from time import monotonic
from typing import Any, Final, Protocol, TypeVar, cast, final

from msgspec import structs

from executor.host import Invocation

log = logging.getLogger(__name__)

T = TypeVar("T")


class Keeper(Protocol):
    """Who runs the tasks. ``thread_id`` is that of its thread, ``pid`` that of its process."""

    pid: int
    thread_id: int

    def give_up(self, future: TaskFuture[Any]) -> None: ...

    def recall(self, future: TaskFuture[Any]) -> None: ...

    def is_running(self, future: TaskFuture[Any]) -> bool: ...

    def lead(self, future: TaskFuture[Any], timeout_s: float | None) -> None: ...

    def note_end(self, future: TaskFuture[Any]) -> None: ...


@final
class TaskFuture(Future[T]):
    """What :meth:`ProcessExecutor.submit` returns.

    ``invocation`` is there until it has ended. So many ``retries`` are left; ``losses`` counts workers
    that died around it and not by its fault. ``key`` is that of its latest attempt, None for a task that
    could not be sent.
    """

    def __init__(self, keeper: Keeper, invocation: Invocation | None, name: str, retries: int) -> None:
        super().__init__()
        self.name = name
        self.key = None if invocation is None else invocation.key
        self.invocation = invocation
        self.retries = retries
        self.losses = 0
        self._keeper = keeper
        self._sealed: Callable[[], T] | None = None

    def __reduce__(self) -> str:
        raise TypeError("a future cannot be sent to another process; send its result()")

    # -- for users ----------------------------------------------------------------------------------

    def cancel(self) -> bool:
        """Give the task up, whether it has begun or not; False if it has ended.

        A task that is running is given a moment to end, and then its worker is killed and replaced;
        other tasks go on, those that waited on that worker elsewhere. Repeating changes nothing.
        """
        if not self.mark_cancelled():
            return self.cancelled()
        self.call_callbacks()
        self._keeper.give_up(self)
        return True

    def done(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self._state in _ENDED

    def running(self) -> bool:
        """Whether a worker is running it at this moment."""
        return not self.done() and self._keeper.is_running(self)

    def result(self, timeout: float | None = None) -> T:
        """What the function returned; raises what it raised.

        Raises:
            CancelledError: it was cancelled.
            TimeoutError: it has not ended after ``timeout`` seconds.
            TaskCrashed: its worker died while it ran.
            TaskTimeoutError: it computed for longer than its ``timeout_s``.
            TaskNotPicklable, TaskNotLoadable: something could not travel.
            ExecutorBroken: the executor can run nothing.
            RuntimeError: waiting here would be for ever.
        """
        try:
            self._wait(timeout)
            if self._state == FINISHED and self._exception is None:
                return cast("T", self._result)
            return super().result(0)
        finally:
            del self  # or the exception's traceback would hold the exception

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What :meth:`result` would raise because of the task; None if it returned."""
        self._wait(timeout)
        return super().exception(0)

    # -- for the executor ---------------------------------------------------------------------------

    def seal_result(self, open_result: Callable[[], T]) -> None:
        """It has ended with what ``open_result`` returns or raises, which is called at most once."""
        self._end(open_result, None)

    def seal_exception(self, open_exception: Callable[[], T]) -> None:
        """As ``seal_result``, where it is known that it raises."""
        self._end(open_exception, _UNOPENED)

    def mark_cancelled(self) -> bool:
        """It is cancelled from now on; False if it had ended. Its callbacks are the caller's to call."""
        with self._condition:
            if self._state in _ENDED:
                return False
            self._state = CANCELLED_AND_NOTIFIED
            self.invocation = None
            for waiter in self._waiters:
                waiter.add_cancelled(self)
            self._condition.notify_all()
        return True

    @property
    def has_callbacks(self) -> bool:
        return bool(self._done_callbacks)  # type: ignore[attr-defined]  # of Future

    def call_callbacks(self) -> None:
        """Tell those who asked to be told, in this thread; it has ended."""
        try:
            self._invoke_callbacks()  # type: ignore[attr-defined]  # of Future, for subclasses
        except BaseException:
            # SystemExit or the like: the thread it is raised in is not the callback's to end.
            log.exception("a callback of %r ended badly", self)

    def recall(self) -> None:
        """Cancel the task if it has not begun; one that runs may end."""
        self._keeper.recall(self)

    def begin_next_attempt(self) -> bool:
        """Give the invocation the key of its next attempt; False if it has ended."""
        with self._condition:
            if self.invocation is None:
                return False
            key = self.invocation.key
            self.key = structs.replace(key, attempt=key.attempt + 1)
            self.invocation = structs.replace(self.invocation, key=self.key)
            return True

    def _end(self, sealed: Callable[[], T], exception: BaseException | None) -> None:
        with self._condition:
            if self._state in _ENDED:
                return  # cancelled meanwhile
            self.invocation = None
            self._sealed = sealed
            self._exception = exception
            self._state = FINISHED
            for waiter in self._waiters:
                waiter.add_result(self) if exception is None else waiter.add_exception(self)
            self._condition.notify_all()
        self._keeper.note_end(self)

    def _wait(self, timeout: float | None) -> None:
        """Until it has ended; then its outcome is opened."""
        if self._state not in _ENDED:
            if os.getpid() != self._keeper.pid:
                raise RuntimeError("this future belongs to the process that submitted the task")
            if threading.get_ident() == self._keeper.thread_id:
                raise RuntimeError(
                    "a callback runs in the executor's own thread and cannot wait for another task; "
                    "add a callback to that one's future"
                )
            deadline = None if timeout is None else monotonic() + timeout
            self._keeper.lead(self, timeout)
            if self._state not in _ENDED:
                super().exception(None if deadline is None else max(0.0, deadline - monotonic()))
        if self._sealed is not None:
            self._open()

    def _open(self) -> None:
        with self._condition:  # reentrant; another thread that asks waits here
            sealed, self._sealed = self._sealed, None
            if sealed is None:
                return
            try:
                self._result = sealed()
                self._exception = None
            except BaseException as error:  # noqa: BLE001 - raised by whoever asks for the result
                self._exception = error


_ENDED: Final = frozenset({CANCELLED_AND_NOTIFIED, FINISHED})
_UNOPENED: Final = Exception("nobody has looked at it yet")
