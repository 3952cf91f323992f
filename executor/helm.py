"""Lets many threads drive one pool, one at a time, so that few must wait for another to do it.

Theory of operation. Whoever has something to say to the pool does it in its own thread: it takes a
*turn*, in which it obeys the orders that have come, sends what that wrote, and takes what workers have
said. A thread of the driver's *rests* until workers say something, and takes a turn then. Where a thread
waits for a task it *leads*: it listens to the workers itself, and the driver's thread sleeps on but for
deadlines. So a task that is submitted and waited for costs no change of threads.

    orders ---> a turn, of whichever thread ---> the pool
                           ^
    events of the pool ----+---- a thread that leads, or else the one that rests

Invariants: the pool is touched in turns alone, and one thread at a time takes one. An order that comes
while a turn is being taken is obeyed in it, or by the same thread after it. Whoever sleeps is woken by
what others did in their turns: the end that it waits for, a deadline earlier than its own.
"""

from __future__ import annotations

import math
import os
import select
import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Protocol, TypeAlias

from executor.pool import Pool
from executor.resources import Source, descriptor
from executor.shield import Shield

_Event: TypeAlias = tuple[int, int]
_Order: TypeAlias = tuple[Callable[[Any], None], Any]


class Awaited(Protocol):
    """What a thread may wait for."""

    def done(self) -> bool: ...


class Helm:
    """Takes turns at a pool; ``obey`` carries out the ``orders`` there are. See above."""

    def __init__(self, pool: Pool, obey: Callable[[], None]) -> None:
        self.orders: deque[_Order] = deque()
        self.crash: BaseException | None = None
        """The defect by which a turn of another thread than the driver's has ended."""
        self._pool = pool
        self._obey = obey
        self._turn_lock = threading.Lock()
        self._is_saturated = False
        self._deadline = -math.inf  # the pool's
        self._is_resting = False
        self._rests_until = -math.inf
        self._state_lock = threading.RLock()  # the garbage collector may call ``wake`` anywhere
        self._is_closed = False
        self._leader = 0  # the thread that leads, and what it waits for
        self._awaited: Awaited | None = None
        self._nudge = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)  # for the thread that leads
        self._is_nudged = False  # during this lead
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)  # for the driver's thread
        self._changes = -1
        self._source_of: dict[int, Source] = {}
        self._events = select.epoll()
        self._events.register(self._nudge, select.EPOLLIN)
        self._rest = select.epoll()
        self._rest.register(self._bell, select.EPOLLIN)
        self._rest.register(self._events, select.EPOLLIN)

    # -- for any thread -----------------------------------------------------------------------------

    def serve(self) -> None:
        """See that the orders are obeyed: here and now, unless a turn is being taken."""
        with Shield():
            while self.orders and not self._is_closed and self._turn_lock.acquire(blocking=False):
                self._take_turn_here()

    def serve_soon(self) -> None:
        """Leave orders to the driver's thread, which obeys those together that come one upon another.

        Where no worker has room for more, it is soon enough when one tells that it has.
        """
        if self._is_resting and not self._is_saturated:
            self._is_resting = False  # one ring is enough
            self._ring(self._bell)

    def wake(self) -> None:
        """Let the driver's thread take a turn, and look at what else there is to do."""
        self._ring(self._bell)

    def lead(self, awaited: Awaited, timeout_s: float | None = None) -> None:
        """Take turns until ``awaited`` is done or the time is up.

        Returns early where another thread leads, which sees to it, and at the end of the pool. What a
        signal's handler raises is raised.
        """
        deadline = math.inf if timeout_s is None else monotonic() + timeout_s
        with Shield() as shield:
            # Set where a signal's handler waits within a wait of its thread.
            outer = self._awaited if self._leader == threading.get_ident() else None
            if not self._begin_to_lead(awaited):
                return
            try:
                while not awaited.done() and not self._is_closed:
                    timeout_s = 0.0 if self.orders else deadline - monotonic()
                    if timeout_s < 0:
                        return
                    events = shield.lower(self._events.poll, _forever_is_none(timeout_s))
                    self._turn_lock.acquire()
                    self._take_turn_here(events)
            finally:
                self._end_to_lead(outer)

    def note_end(self, awaited: Awaited) -> None:
        """``awaited`` is done: let the thread know that leads until then, if it is another."""
        if self._awaited is awaited:
            with self._state_lock:
                if self._awaited is awaited:
                    self._nudge_leader()

    # -- for the driver's thread ----------------------------------------------------------------------

    def take_turn(self) -> None:
        """Do all there is to do.

        Raises:
            BaseException: a defect, be it of this turn or of another thread's.
        """
        with self._turn_lock:
            if self.crash is not None:
                raise self.crash
            self._turn(self._events.poll(0))
            # A time that has not come stays, though nothing is due then any more: else this thread would
            # be rung for each task that comes when nothing else is to be done.
            has_come = self._rests_until <= monotonic()
            self._rests_until = min(self._deadline, math.inf if has_come else self._rests_until)

    def rest(self) -> None:
        """Wait until there may be something to do, and take a turn."""
        self._is_resting = True  # whoever gives an order from now on rings
        timeout_s = 0.0 if self.orders else max(0.0, self._rests_until - monotonic())
        sources = [source for source, _ in self._rest.poll(_forever_is_none(timeout_s))]
        self._is_resting = False
        if self._bell in sources:
            _silence(self._bell)
        elif sources and self._is_led():
            return
        self.take_turn()

    def close(self) -> None:
        """No turns are taken any more: the pool is the caller's alone. Repeating changes nothing."""
        with self._turn_lock, self._state_lock:
            if self._is_closed:
                return
            self._is_closed = True
            if self._leader:
                self._nudge_leader()  # it gives back what it listens to
            else:
                self._give_back()

    def _is_led(self) -> bool:
        """Whether a thread leads, which sees what has come."""
        with self._turn_lock:  # the one that takes a turn now may be about to lead
            return self._leader != 0

    # -- turns --------------------------------------------------------------------------------------

    def _take_turn_here(self, events: Sequence[_Event] = ()) -> None:
        """Take a turn though this is not the driver's thread; the lock is held, and given back."""
        try:
            if not self._is_closed and self.crash is None:
                self._turn(events)
                if self._deadline < self._rests_until:
                    self._ring(self._bell)
        except BaseException as error:  # noqa: BLE001 - raised in the driver's thread
            self.crash = error
            self._ring(self._bell)
        finally:
            self._turn_lock.release()

    def _turn(self, events: Sequence[_Event]) -> None:
        pool = self._pool
        now = monotonic()
        for readable, _ in events:
            if readable == self._nudge:
                if self._leader == threading.get_ident():
                    _silence(readable)
            elif (source := self._source_of.get(readable)) is not None:
                pool.on_readable(source, now)
        if self._deadline <= now:
            pool.on_deadline(now)
        self._obey()
        pool.flush()
        self._is_saturated = pool.is_saturated
        self._deadline = pool.next_deadline()
        if pool.sockets_changes != self._changes:
            self._changes = pool.sockets_changes
            self._listen_to(pool.sockets())

    def _listen_to(self, sources: list[Source]) -> None:
        """Listen to these from now on; whoever sleeps does so too.

        A new set is made of them: of a descriptor that was closed, and may be another's by now, none
        can be told what has become in the old one.
        """
        self._source_of = {descriptor(source): source for source in sources}
        events = select.epoll()
        for each in (self._nudge, *self._source_of):
            events.register(each, select.EPOLLIN)
        with self._state_lock:
            self._rest.unregister(self._events)
            self._rest.register(events, 0 if self._leader else select.EPOLLIN)
            self._events = events  # the old one is closed when nobody waits for it any more
            self._nudge_leader()

    # -- leading ------------------------------------------------------------------------------------

    def _begin_to_lead(self, awaited: Awaited) -> bool:
        with self._state_lock:
            if self._is_closed or self._leader not in (0, threading.get_ident()):
                return False
            self._leader = threading.get_ident()
            self._awaited = awaited
            self._rest.modify(self._events, 0)
            return True

    def _end_to_lead(self, outer: Awaited | None) -> None:
        with self._state_lock:
            self._awaited = outer
            if outer is not None:
                os.eventfd_write(self._nudge, 1)  # its end may have been noted meanwhile
                return
            self._leader = 0
            if self._is_closed:
                self._give_back()
                return
            if self._is_nudged:  # or it would wake the driver's thread
                self._is_nudged = False
                _silence(self._nudge)
            self._rest.modify(self._events, select.EPOLLIN)

    def _nudge_leader(self) -> None:
        """Wake who leads, if that is another thread; the state's lock is held."""
        if self._leader not in (0, threading.get_ident()):
            self._is_nudged = True
            os.eventfd_write(self._nudge, 1)

    def _ring(self, eventfd: int) -> None:
        with self._state_lock:
            if not self._is_closed:
                os.eventfd_write(eventfd, 1)

    def _give_back(self) -> None:
        self._rest.close()
        self._events.close()
        os.close(self._nudge)
        os.close(self._bell)


def _silence(eventfd: int) -> None:
    try:
        os.eventfd_read(eventfd)
    except BlockingIOError:
        pass  # it was silenced by another turn


def _forever_is_none(timeout_s: float) -> float | None:
    return None if timeout_s == math.inf else timeout_s
