"""Events, locks, conditions, latches and barriers for the tasks of one loop.

Theory of operation. Who must wait stands in a line (``Waiters``). Whoever changes the state wakes
from the line, and hands over what was waited for, so that nobody can snatch it in between: order is
first come, first served. A task that was handed something and is interrupted before it ran gives it
back.

What takes no time (``set``, ``release``, ``notify``, ``count_down``...) acts when called; awaiting it
is allowed and changes nothing. None of these may be used from two threads; from another thread use
``loop.call_soon_threadsafe(event.set)``.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from types import TracebackType
from typing import Any, Final, NoReturn

from orchestrator.event_loop.commands import Command, perform
from orchestrator.event_loop.running import current_event_loop, current_task
from orchestrator.event_loop.tasks import TaskHandle
from orchestrator.event_loop.waiters import Wait, Waiters

_log = logging.getLogger(__name__)


class Done:
    """Awaitable that is done: returned by what acts when called."""

    __slots__ = ()

    def __await__(self) -> Generator[Command, None, None]:
        return
        yield


DONE: Final = Done()


def deadline_in(timeout_s: float | None) -> float | None:
    """The deadline on the current loop's clock for a relative time."""
    return None if timeout_s is None else current_event_loop().now() + timeout_s


class Event:
    """Something that happens once: ``set`` wakes all who wait, and it stays set."""

    def __init__(self) -> None:
        self._is_set = False
        self._waiters = Waiters()

    def is_set(self) -> bool:
        """Whether it has happened."""
        return self._is_set

    def set(self) -> Done:
        """Let it happen; again changes nothing."""
        self._is_set = True
        self._waiters.wake_all()
        return DONE

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set; False if ``timeout`` seconds passed first."""
        if self._is_set:
            return True
        happened: bool = await perform(Wait(self._waiters, "an event", deadline_in(timeout)))
        return happened


class LockOwnerError(RuntimeError, AssertionError):
    """A task released a lock, or used its condition, without holding it."""


class Lock:
    """Mutual exclusion, handed over in the order of arrival; ``async with lock:``. Not re-entrant."""

    def __init__(self) -> None:
        self._owner: TaskHandle[Any] | None = None
        self._waiters = Waiters()

    def __str__(self) -> str:
        return f"a lock that {self._owner or 'no task'} holds"

    def is_locked(self) -> bool:
        """Whether a task holds it."""
        return self._owner is not None

    async def acquire(self) -> None:
        """Wait until the lock is this task's.

        Raises:
            RuntimeError: the task holds it already, so it would wait for itself.
        """
        task = current_task()
        if self._owner is None:
            self._owner = task
            return
        if self._owner is task:
            msg = f"{task!r} holds this lock already; release it first, a Lock is not re-entrant"
            raise RuntimeError(msg)
        wait = Wait(self._waiters, self)
        try:
            await perform(wait)
        except BaseException:
            if wait.is_woken:
                self._hand_over()
            raise

    def release(self) -> Done:
        """Hand the lock to the first who waits.

        Raises:
            LockOwnerError: another task holds it, or none.
        """
        self.check_owner("release")
        self._hand_over()
        return DONE

    def check_owner(self, verb: str) -> None:
        """Raise LockOwnerError unless the calling task holds the lock."""
        task = current_task()
        if self._owner is not task:
            holder = "no task" if self._owner is None else repr(self._owner)
            msg = f"{task!r} may not {verb}: {holder} holds the lock; acquire it in the same task first"
            raise LockOwnerError(msg)

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def _hand_over(self) -> None:
        self._owner = self._waiters.wake_one() if self._waiters else None


class Condition:
    """Waiting, with a lock held, for a state that other holders of the lock bring about.

    ``async with condition:`` holds the lock.
    """

    def __init__(self, lock: Lock | None = None) -> None:
        self._lock = Lock() if lock is None else lock
        self._waiters = Waiters()

    async def wait(self) -> None:
        """Release the lock, wait to be notified, and hold the lock again.

        The lock is held again also when the wait is cancelled: the cancel is raised after that, and a
        notification that had just arrived goes to the next who waits.

        Raises:
            LockOwnerError: the task does not hold the lock.
        """
        self._lock.check_owner("wait for a condition")
        self._lock.release()
        wait = Wait(self._waiters, "a condition")
        try:
            await perform(wait)
        except GeneratorExit:  # the loop ended: nothing can be awaited any more
            raise
        except BaseException as interruption:  # noqa: BLE001 - raised by what follows
            if wait.is_woken and self._waiters:
                self._waiters.wake_one()
            await self._reacquire(interruption)
        else:
            await self._reacquire(None)

    def notify(self, n: int = 1) -> Done:
        """Wake one task for n = 1, all for n > 1.

        Raises:
            LockOwnerError: the task does not hold the lock.
            ValueError: n < 1.
        """
        self._lock.check_owner("notify")
        if n < 1:
            msg = f"can't notify {n} tasks; n is 1 for one or greater for all"
            raise ValueError(msg)
        if n > 1:
            self._waiters.wake_all()
        elif self._waiters:
            self._waiters.wake_one()
        return DONE

    def notify_all(self) -> Done:
        """Wake all tasks that wait; otherwise as ``notify``."""
        self._lock.check_owner("notify")
        self._waiters.wake_all()
        return DONE

    async def __aenter__(self) -> None:
        await self._lock.acquire()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.release()

    async def _reacquire(self, interruption: BaseException | None) -> None:
        """Hold the lock whatever comes; then raise the last interruption."""
        while True:
            try:
                await self._lock.acquire()
            except GeneratorExit:
                raise
            except BaseException as another:  # noqa: BLE001 - raised below
                interruption = another
            else:
                break
        if interruption is not None:
            raise interruption


class ZeroLatchError(RuntimeError):
    """A latch was counted down below zero."""


class CountdownLatch:
    """A door that opens when it was counted down to zero, and can be shut again by ``set_count``."""

    def __init__(self, count: int) -> None:
        self._waiters = Waiters()
        self._count = _at_least(0, count, "the count of a latch")

    @property
    def count(self) -> int:
        """How many times it is still to be counted down."""
        return self._count

    async def wait(self) -> None:
        """Wait until the count is zero."""
        if self._count:
            await perform(Wait(self._waiters, f"a latch at {self._count}"))

    def count_down(self, exception_if_zero: bool = False) -> Done:
        """Count down by one and, at zero, wake all who wait. Below zero: nothing but a warning.

        Raises:
            ZeroLatchError: the count is zero and ``exception_if_zero`` is true.
        """
        if self._count == 0:
            if exception_if_zero:
                raise ZeroLatchError("count_down() on a latch at zero; set_count() re-arms it")
            _log.warning("count_down() on a latch at zero changes nothing; set_count() re-arms it")
            return DONE
        self._count -= 1
        if self._count == 0:
            self._waiters.wake_all()
        return DONE

    def set_count(self, count: int) -> Done:
        """Set the count anew: above zero shuts the door for who comes from now on, zero opens it."""
        self._count = _at_least(0, count, "the count of a latch")
        if self._count == 0:
            self._waiters.wake_all()
        return DONE


class BrokenBarrierError(RuntimeError):
    """A barrier can't be passed: it was aborted, or a task that waited at it was interrupted."""


class Barrier:
    """A place where ``parties`` tasks wait for each other, as often as they like.

    If a waiting task is interrupted, or ``abort`` is called, the barrier is broken: all who wait and all
    who come raise BrokenBarrierError until ``reset``.
    """

    def __init__(self, parties: int) -> None:
        self._parties = _at_least(1, parties, "the parties of a barrier")
        self._waiters = Waiters()
        self._is_broken = False

    @property
    def parties(self) -> int:
        """How many tasks pass at a time."""
        return self._parties

    @property
    def n_waiting(self) -> int:
        """How many tasks wait now."""
        return len(self._waiters)

    @property
    def broken(self) -> bool:
        """Whether it is broken."""
        return self._is_broken

    async def wait(self) -> int:
        """Wait until all parties are here; returns the order of arrival, 0 to parties - 1.

        Raises:
            BrokenBarrierError: it is broken, or breaks while this task waits.
        """
        if self._is_broken:
            self._fail()
        index = len(self._waiters)
        if index == self._parties - 1:
            self._waiters.wake_all(True)
            return index
        wait = Wait(self._waiters, f"{self._parties - 1 - index} more at a barrier")
        try:
            passed: bool = await perform(wait)
        except BaseException:
            if not wait.is_woken:  # otherwise it has passed, with all the others
                self.abort()
            raise
        if not passed:
            self._fail()
        return index

    def abort(self) -> Done:
        """Break the barrier."""
        self._is_broken = True
        self._waiters.wake_all(False)
        return DONE

    def reset(self) -> Done:
        """Make the barrier as new; tasks that wait raise BrokenBarrierError."""
        self._waiters.wake_all(False)
        self._is_broken = False
        return DONE

    def _fail(self) -> NoReturn:
        raise BrokenBarrierError(
            "the barrier is broken: a party was interrupted or gave up; see reset()"
        )


def _at_least(least: int, number: int, what: str) -> int:
    if number < least:
        msg = f"{what} must be at least {least}, not {number}"
        raise ValueError(msg)
    return number
