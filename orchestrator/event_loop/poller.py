"""Waits until a descriptor is ready, a time has passed, or another thread calls.

Theory of operation. One selector per run of a loop, and one registration per descriptor in it. The
kernel forgets a descriptor that is closed and tells nobody. So the sources that are waited for are
looked through when tasks have run, at most every ``CHECK_INTERVAL_S``; ZeroMQ sockets each time,
because whoever uses one swallows the signal of its descriptor.
"""

from __future__ import annotations

import selectors
from contextlib import suppress
from time import monotonic
from typing import Any, Final

from orchestrator.event_loop.registrations import READ, Ready, Registration, ZmqRegistration
from orchestrator.event_loop.sources import HasFileno, descriptor, is_zmq, zmq_events
from orchestrator.event_loop.tasks import TaskHandle
from orchestrator.event_loop.waker import Waker

CHECK_INTERVAL_S: Final = 0.1


class Poller:
    """The descriptors of one run of one loop; only ``wake`` may be called from other threads."""

    def __init__(self) -> None:
        self.is_checked = True  # no code but the loop's has run since the sources were checked
        self.selector = selectors.DefaultSelector()
        self.registrations: dict[int, Registration] = {}
        self._zmq: dict[int, ZmqRegistration] = {}
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
        return any(registration.waits for registration in self.registrations.values())

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
        if is_zmq(source) and not source.closed and zmq_events(source) & wait.direction:
            return False
        fd = descriptor(source)
        registration = self.registrations.get(fd)
        if registration is None or not registration.serves(source):
            registration = (
                ZmqRegistration(self, fd, source) if is_zmq(source) else Registration(self, fd, source)
            )
        if isinstance(registration, ZmqRegistration):
            self._zmq[fd] = registration
        registration.add(task, wait)
        self.registrations[fd] = registration
        return True

    def poll(self, timeout_s: float | None) -> None:
        """Wait at most ``timeout_s`` (None: for ever) and make ready the tasks whose wait is over."""
        if self.registrations and not self.is_checked:
            timeout_s = self._look_through(timeout_s)
        for key, mask in self.selector.select(timeout_s):
            key.data.on_event(mask)

    def forget(self, source: HasFileno) -> None:
        """``source`` is about to be closed: tasks that wait for it are interrupted with an OSError."""
        registration = self.registrations.get(source.fileno())
        if registration is not None:
            registration.fail(list(registration.waits))
            self.drop(registration)

    def drop(self, registration: Registration) -> None:
        """Deregister; of a descriptor that was closed the kernel knows nothing any more."""
        fd = registration.fd
        if self.registrations.get(fd) is registration:  # and not a later one of the same number
            del self.registrations[fd]
            self._zmq.pop(fd, None)
            with suppress(KeyError):  # a selector forgets what it failed to modify
                self.selector.unregister(fd)

    def close(self) -> None:
        """Close the poller's own descriptors; nothing waits any more."""
        self.selector.close()
        self._waker.close()

    def _look_through(self, timeout_s: float | None) -> float | None:
        """Find what no descriptor reports; returns how long the poller may sleep."""
        # Also where other tasks are ready: a loop that is never idle must not starve these.
        if self._zmq and sum(registration.wake_waits() for registration in list(self._zmq.values())):
            timeout_s = 0
        due_in_s = self._check_due - monotonic()
        if due_in_s > 0:
            return due_in_s if timeout_s is None else min(timeout_s, due_in_s)
        self._check_due = monotonic() + CHECK_INTERVAL_S
        self.is_checked = True
        return (
            0
            if sum(registration.fail_closed() for registration in list(self.registrations.values()))
            else timeout_s
        )
