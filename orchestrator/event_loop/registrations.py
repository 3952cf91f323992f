"""A source that tasks wait for, as it is registered with the selector.

Theory of operation. A source that is an object (a socket) stays registered between waits, so a task that
waits for it over and over costs no system call per wait; when it reports what nobody waits for, its
registration is narrowed or dropped. A bare int does not say which open file it means, so it is
registered for the time of a wait only.

A ZeroMQ socket signals *changes* on its descriptor, and any use of the socket may swallow the signal. So
only its EVENTS count: they are looked at before a task waits, whenever the descriptor is readable, and
each time before the loop sleeps.
"""

from __future__ import annotations

import errno
import selectors
import weakref
from typing import TYPE_CHECKING, Any, Final

from orchestrator.event_loop.commands import Command
from orchestrator.event_loop.sources import Source, closed, is_open, zmq_events

if TYPE_CHECKING:
    from orchestrator.event_loop.poller import Poller
    from orchestrator.event_loop.tasks import TaskHandle

READ: Final = selectors.EVENT_READ
WRITE: Final = selectors.EVENT_WRITE


class Ready(Command):
    """Wait until ``source`` can be read or written; the result is False if the deadline came first."""

    __slots__ = ("deadline", "direction", "registration", "source")

    def __init__(self, source: Source, direction: int, deadline: float | None) -> None:
        super().__init__()
        self.source = source
        self.direction = direction
        self.deadline = deadline  # on the loop's clock
        self.registration: Registration | None = None  # set by the poller while it waits

    def withdraw(self, task: TaskHandle[Any]) -> None:
        assert self.registration is not None
        self.registration.remove(task)

    def __str__(self) -> str:
        return f"waiting to {'read' if self.direction == READ else 'write'} {self.source!r}"


class Registration:
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
        wait.registration = self

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
        gone = [task for task, wait in self.waits.items() if not is_open(wait.source, self.fd)]
        self.fail(gone)
        return bool(gone)

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


class ZmqRegistration(Registration):
    """A ZeroMQ socket: its descriptor only says that its EVENTS are to be looked at."""

    def wake_waits(self) -> bool:
        """Look at EVENTS; True if a task was made ready."""
        if not self.waits:
            return False
        try:
            events = zmq_events(next(iter(self.waits.values())).source)
        except Exception as error:  # noqa: BLE001 - closed, or its context terminated: for the tasks
            if not self.fail_closed():
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
