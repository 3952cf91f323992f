"""Queues between the tasks of one loop.

Theory of operation. A task that finds the queue empty, or full, stands in line. ``put`` *promises*
an item to the first getter in line and ``get`` *reserves* room for the first putter; they take it,
or fill it, when they run. A newcomer sees only what is neither promised nor reserved, so nobody is
overtaken, and items leave in the order they came. Who is interrupted before it ran lets the next in
line have its turn.

    Invariants: promised <= items; a getter waits => all items are promised;
                a putter waits => items + reserved >= maxsize.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from typing import Any, Final, Generic, TypeVar

from orchestrator.event_loop import instrumentation
from orchestrator.event_loop.commands import perform
from orchestrator.event_loop.synchronization import DONE, Done
from orchestrator.event_loop.waiters import Wait, Waiters

T = TypeVar("T")
K = TypeVar("K")
C = TypeVar("C")
_CLOSED: Final = object()  # what tasks that wait at a queue are woken with when it is closed


class QueueClosedError(Exception):
    """The queue is closed: nothing can be put any more, and what was put has been taken."""


class AsyncQueue(Generic[T]):
    """First in, first out. ``async for item in queue`` ends when it is closed and empty.

    Args:
        maxsize: how many items may rest in the queue; None: any number.
    """

    def __init__(self, maxsize: int | None = None) -> None:
        if maxsize is not None and maxsize < 1:
            msg = f"maxsize must be at least 1, not {maxsize}; use None for no limit"
            raise ValueError(msg)
        self.items: Any = self._make_items()
        self.maxsize = maxsize
        self._is_closed = False
        self._promised = 0
        self._reserved = 0
        self._getters = Waiters()
        self._peekers = Waiters()
        self._putters = Waiters()

    def __len__(self) -> int:
        return len(self.items)

    def __contains__(self, item: object) -> bool:
        return item in self.items

    @property
    def is_closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._is_closed

    async def put(self, item: T) -> None:
        """Add ``item``, waiting while the queue is full. Cancelled while it waits, it has put nothing.

        Raises:
            QueueClosedError: the queue is closed, or is closed while this waits.
        """
        is_immediate = self.maxsize is None or self._has_room() or self._holds(item)
        if not is_immediate and not self._is_closed:
            await self._wait_room()
        self._add(item, is_immediate=is_immediate)

    def put_nowait(self, item: T, loop: object = None) -> bool:  # noqa: ARG002
        """Add ``item`` at once, even if that makes the queue longer than ``maxsize``.

        Args:
            item: what to add.
            loop: not needed; for those who are used to passing it.

        Returns:
            Whether it was added: False for what a set or map queue holds already.

        Raises:
            QueueClosedError: the queue is closed.
        """
        return self._add(item, is_immediate=True)

    async def get(self) -> T:
        """Take the first item, waiting while there is none. Cancelled, it has taken nothing.

        Raises:
            QueueClosedError: the queue is closed and empty.
        """
        is_immediate = len(self.items) > self._promised
        if not is_immediate:
            await self._wait_item()
        item: T = self._popleft()
        if self._putters:
            self._grant_room()
        if instrumentation.installed:
            instrumentation.notify("on_queue_get", self, item, is_immediate)
        return item

    async def peek(self) -> T:
        """The first item, which stays; waits while there is none.

        Raises:
            QueueClosedError: the queue is closed and empty.
        """
        if self.items:
            return self._first()
        if self._is_closed:
            raise _closed_error()
        item = await perform(Wait(self._peekers, "a first item in a queue"))
        if item is _CLOSED:
            raise _closed_error()
        first: T = item
        return first

    def close(self) -> Done:
        """Let nothing in any more; again changes nothing. Acts when called.

        Tasks that wait to put, and those that wait to get, raise QueueClosedError; what rests in
        the queue can still be taken.
        """
        self._is_closed = True
        for waiters in (self._getters, self._peekers, self._putters):
            waiters.wake_all(_CLOSED)
        return DONE

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        try:
            return await self.get()
        except QueueClosedError:
            raise StopAsyncIteration from None

    async def until_empty(self) -> AsyncIterator[T]:
        """Take items until none is left; then close the queue."""
        while len(self.items) > self._promised:
            yield await self.get()
        self.close()

    # -- how items are kept: what other kinds of queues change -------------------------------------

    def _make_items(self) -> Any:
        return deque()

    def _holds(self, item: T) -> bool:  # noqa: ARG002
        """Whether ``item`` takes no room because the queue has it already."""
        return False

    def _append(self, item: T) -> bool:
        """Keep ``item``; False if that added nothing to take."""
        self.items.append(item)
        return True

    def _popleft(self) -> T:
        item: T = self.items.popleft()
        return item

    def _first(self) -> T:
        item: T = self.items[0]
        return item

    # -- waiting -----------------------------------------------------------------------------------

    def _has_room(self) -> bool:
        return self.maxsize is None or len(self.items) + self._reserved < self.maxsize

    def _add(self, item: T, *, is_immediate: bool) -> bool:
        if self._is_closed:
            raise _closed_error()
        is_added = self._append(item)
        if is_added:
            if self._getters:
                self._promise_item()
            if self._peekers:
                self._peekers.wake_all(self._first())
        elif self._putters:  # it took no room, so the room that was reserved for it is free
            self._grant_room()
        if instrumentation.installed:
            instrumentation.notify("on_queue_put", self, item, is_immediate)
        return is_added

    async def _wait_item(self) -> None:
        """Wait until an item is promised to this task, which then must take it at once."""
        if self._is_closed:
            raise _closed_error()
        wait = Wait(self._getters, "an item from a queue")
        try:
            await perform(wait)
        except BaseException:
            if wait.is_woken and wait.result is not _CLOSED:
                self._promised -= 1
                self._promise_item()
            raise
        if wait.result is _CLOSED:
            raise _closed_error()
        self._promised -= 1

    async def _wait_room(self) -> None:
        """Wait until room is reserved for this task, which then must fill it at once."""
        wait = Wait(self._putters, "room in a queue")
        try:
            await perform(wait)
        except BaseException:
            if wait.is_woken and wait.result is not _CLOSED:
                self._reserved -= 1
                self._grant_room()
            raise
        if wait.result is _CLOSED:
            raise _closed_error()
        self._reserved -= 1

    def _promise_item(self) -> None:
        """Promise an item, if there is one that is not promised, to the first who waits for one."""
        if self._getters and len(self.items) > self._promised:
            self._promised += 1
            self._getters.wake_one()

    def _grant_room(self) -> None:
        """Reserve what room there is for those who wait for it."""
        while self._putters and self._has_room():
            self._reserved += 1
            self._putters.wake_one()


class AsyncSetQueue(AsyncQueue[T]):
    """A queue in which an item that equals a waiting one is not added again. Items must be hashable."""

    def _make_items(self) -> OrderedDict[T, None]:
        return OrderedDict()

    def _holds(self, item: T) -> bool:
        return item in self.items

    def _append(self, item: T) -> bool:
        if item in self.items:
            return False
        self.items[item] = None
        return True

    def _popleft(self) -> T:
        item: T = self.items.popitem(last=False)[0]
        return item

    def _first(self) -> T:
        item: T = next(iter(self.items))
        return item


class AsyncMapQueue(AsyncQueue[tuple[K, Any]], Generic[K, C]):
    """A queue of ``(key, cause)`` in which each key stands once, with the list of all its causes.

    ``put((key, cause))`` adds a cause to a key that waits, or else the key; ``get`` and ``peek`` give
    ``(key, causes)``.
    """

    def __contains__(self, key: object) -> bool:
        return key in self.items

    def _make_items(self) -> OrderedDict[K, list[C]]:
        return OrderedDict()

    def _holds(self, item: tuple[K, C]) -> bool:
        return item[0] in self.items

    def _append(self, item: tuple[K, C]) -> bool:
        key, cause = item
        causes = self.items.setdefault(key, [])
        causes.append(cause)
        return len(causes) == 1

    def _popleft(self) -> tuple[K, list[C]]:
        item: tuple[K, list[C]] = self.items.popitem(last=False)
        return item

    def _first(self) -> tuple[K, list[C]]:
        item: tuple[K, list[C]] = next(iter(self.items.items()))
        return item


def _closed_error() -> QueueClosedError:
    return QueueClosedError("the queue is closed; put before close(), and stop taking at this error")
