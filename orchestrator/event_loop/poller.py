"""Waits for descriptors and ZeroMQ sockets.

Theory of operation. One selector per run of a loop. A source that is an object (a socket) stays
registered between waits, so a task that waits for it over and over costs no system call per wait;
when it reports what nobody waits for, its registration is dropped. A bare int does not say which
open file it means, so it is registered for the time of a wait only.

A ZeroMQ socket signals *changes* on its descriptor, and any use of the socket may swallow the signal. So
only its EVENTS count: they are looked at before a task waits, whenever the descriptor is readable, and
each time before the loop sleeps.

The kernel forgets a descriptor that is closed and tells nobody. So the sources that are waited for
are looked through when tasks have run, at most every ``CHECK_INTERVAL_S``.
"""

from __future__ import annotations

import errno
import selectors
import weakref
from time import monotonic
from typing import Any, Final

from orchestrator.event_loop.commands import Command
from orchestrator.event_loop.sources import (
    HasFileno,
    Source,
    closed,
    descriptor,
    is_open,
    is_zmq,
    zmq_events,
)
from orchestrator.event_loop.tasks import TaskHandle
from orchestrator.event_loop.waker import Waker

READ: Final = selectors.EVENT_READ
WRITE: Final = selectors.EVENT_WRITE
CHECK_INTERVAL_S: Final = 0.1


class Ready(Command):
    """Wait until ``source`` can be read or written; the result is False if the deadline came first."""

    __slots__ = ("deadline", "direction", "entry", "source")

    def __init__(self, source: Source, direction: int, deadline: float | None) -> None:
        super().__init__()
        self.source = source
        self.direction = direction
        self.deadline = deadline  # on the loop's clock
        self.entry: _Entry | None = None  # set by the poller while it waits

    def withdraw(self, task: TaskHandle[Any]) -> None:
        assert self.entry is not None
        self.entry.remove(task)

    def __str__(self) -> str:
        return f"waiting to {'read' if self.direction == READ else 'write'} {self.source!r}"


class Poller:
    """The descriptors of one run of one loop; only ``wake`` may be called from other threads."""

    def __init__(self) -> None:
        self.is_checked = True  # no task has run since the sources were checked; the loop clears it
        self.selector = selectors.DefaultSelector()
        self.entries: dict[int, _Entry] = {}
        self._zmq_entries: dict[int, _ZmqEntry] = {}
        self._check_due = 0.0
        self._waker = Waker()
        self.selector.register(self._waker.receiver, READ, self._waker)

    @property
    def wakeup_fd(self) -> int:
        """For ``signal.set_wakeup_fd``."""
        return self._waker.sender.fileno()

    @property
    def has_waits(self) -> bool:
        """Whether any task waits for a source."""
        return any(entry.waits for entry in self.entries.values())

    def wake(self) -> None:
        """Make the poll that is going on, or else the next one, return. From any thread, any time."""
        self._waker.wake()

    def add(self, task: TaskHandle[Any], wait: Ready) -> bool:
        """Let ``task`` wait; False if what it waits for is there already.

        Raises:
            OSError: the source is closed, or is a file that can't be waited for.
            TypeError: it has no descriptor.
        """
        source = wait.source
        fd = descriptor(source)
        entry = self.entries.get(fd)
        if entry is None or not entry.serves(source):
            entry = _ZmqEntry(self, fd, source) if is_zmq(source) else _Entry(self, fd, source)
        if isinstance(entry, _ZmqEntry):
            if zmq_events(source) & wait.direction:
                return False
            self._zmq_entries[fd] = entry
        entry.add(task, wait)
        self.entries[fd] = entry
        return True

    def poll(self, timeout_s: float | None) -> None:
        """Wait at most ``timeout_s`` (None: for ever) and make ready the tasks whose wait is over."""
        if self.entries and not self.is_checked:
            timeout_s = self._look_through(timeout_s)
        for key, mask in self.selector.select(timeout_s):
            key.data.on_event(mask)

    def forget(self, source: HasFileno) -> None:
        """``source`` is about to be closed: tasks that wait for it are interrupted with an OSError."""
        entry = self.entries.get(source.fileno())
        if entry is not None:
            entry.fail(list(entry.waits))
            self.drop(entry)

    def drop(self, entry: _Entry) -> None:
        """Deregister; of a descriptor that was closed the kernel knows nothing any more."""
        if self.entries.pop(entry.fd, None) is not None:
            self._zmq_entries.pop(entry.fd, None)
            self.selector.unregister(entry.fd)

    def close(self) -> None:
        """Close the poller's own descriptors; nothing waits any more."""
        self.selector.close()
        self._waker.close()

    def _look_through(self, timeout_s: float | None) -> float | None:
        """Find what no descriptor reports; returns how long the poller may sleep."""
        if timeout_s != 0 and sum(entry.wake_waits() for entry in list(self._zmq_entries.values())):
            timeout_s = 0
        due_in_s = self._check_due - monotonic()
        if due_in_s > 0:
            return due_in_s if timeout_s is None else min(timeout_s, due_in_s)
        self._check_due = monotonic() + CHECK_INTERVAL_S
        self.is_checked = True
        return 0 if sum(entry.fail_closed() for entry in list(self.entries.values())) else timeout_s


class _Entry:
    """A registered descriptor and the tasks that wait for it."""

    def __init__(self, poller: Poller, fd: int, source: Source) -> None:
        self.fd = fd
        self.waits: dict[TaskHandle[Any], Ready] = {}
        self._poller = poller
        self._mask = 0  # the registered directions
        # Whose descriptor it is; None: nobody's for sure, so it is not kept between waits. Weak, so
        # that a socket which nobody uses any more is closed as usual.
        self._owner = _weak(source)

    def serves(self, source: Source) -> bool:
        """Whether the registration is good for ``source`` too; if not, it is dropped."""
        if self._owner is not None and self._owner() is source:
            return True
        self.fail_closed()
        if self.waits:  # one open file under two names
            self._owner = None
            return True
        self._poller.drop(self)
        return False

    def add(self, task: TaskHandle[Any], wait: Ready) -> None:
        self._register(self._mask | self._interest(wait))
        self.waits[task] = wait
        wait.entry = self

    def remove(self, task: TaskHandle[Any]) -> None:
        del self.waits[task]
        if not self.waits and self._owner is None:
            self._poller.drop(self)

    def on_event(self, mask: int) -> None:
        """The descriptor is ready for the directions in ``mask``."""
        wanted = 0
        for wait in self.waits.values():
            wanted |= self._interest(wait)
        if mask & ~wanted:  # nobody waits for that any more
            self._register(wanted)
        self._wake(mask)

    def fail_closed(self) -> bool:
        """Interrupt the tasks whose source was closed; True if there was one."""
        closed = [task for task, wait in self.waits.items() if not is_open(wait.source, self.fd)]
        self.fail(closed)
        return bool(closed)

    def fail(self, tasks: list[TaskHandle[Any]]) -> None:
        """Interrupt ``tasks``: what they wait for is closed."""
        for task in tasks:
            task.interrupt(
                closed(f"{self.waits[task].source!r} was closed while {task!r} waited for it")
            )

    def _interest(self, wait: Ready) -> int:
        return wait.direction

    def _wake(self, mask: int) -> bool:
        """Make ready the tasks that wait for a direction in ``mask``; True if there was one."""
        woken = [task for task, wait in self.waits.items() if wait.direction & mask]
        for task in woken:
            self.waits[task].result = True
            self.remove(task)
            task.resume()
        return bool(woken)

    def _register(self, mask: int) -> None:
        """Have exactly the directions in ``mask`` reported."""
        if mask == self._mask:
            return
        selector = self._poller.selector
        if mask == 0:
            self._poller.drop(self)
        elif self._mask == 0:
            try:
                selector.register(self.fd, mask, self)
            except PermissionError:
                msg = "can't wait for a regular file or directory: it can always be read and written"
                raise OSError(errno.EPERM, msg) from None
        else:
            selector.modify(self.fd, mask, self)
        self._mask = mask


class _ZmqEntry(_Entry):
    """A ZeroMQ socket: its descriptor only says that its EVENTS are to be looked at."""

    def wake_waits(self) -> bool:
        """Look at EVENTS; True if a task was made ready."""
        if self.fail_closed():
            return True
        if not self.waits:
            return False
        try:
            events = zmq_events(next(iter(self.waits.values())).source)
        except Exception as error:  # noqa: BLE001 - its context was terminated, say: for the tasks
            for task in list(self.waits):
                task.interrupt(error)
            return True
        return self._wake(events)

    def on_event(self, mask: int) -> None:  # noqa: ARG002 - EVENTS say more
        if self.waits:
            self.wake_waits()
        else:
            self._poller.drop(self)

    def _interest(self, wait: Ready) -> int:  # noqa: ARG002 - whatever it waits for
        return READ


def _weak(source: Source) -> weakref.ref[Any] | None:
    try:
        return weakref.ref(source)
    except TypeError:  # an int, or an object with slots
        return None
