"""Instruments: objects that are told what the loop does, for logs, traces and measurements.

``with instrument: loop.run_until_complete(...)`` installs one, for the thread that does it. Instruments
stack; the inner ones are told first. What a hook raises is logged and goes no further. With none
installed the loop, the queues and the sockets pay one look at an empty list. One that is installed
while a loop runs sees steps of tasks from the next pass on.
"""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from orchestrator.event_loop.outcomes import TaskCancelled
from orchestrator.event_loop.tasks import TaskHandle

if TYPE_CHECKING:
    from orchestrator.event_loop.commands import Command
    from orchestrator.event_loop.queues import AsyncQueue
    from orchestrator.event_loop.sockets import Socket

_log = logging.getLogger(__name__)


class EventLoopInstrument:
    """Base of instruments: hooks that do nothing. Hooks must not block; they run in the loop's thread.

    ``immediate`` tells whether the operation went through without waiting.
    """

    def on_queue_get(self, queue: AsyncQueue[Any], item: Any, immediate: bool) -> None:
        """A task took an item."""

    def on_queue_put(self, queue: AsyncQueue[Any], item: Any, immediate: bool) -> None:
        """A task put an item."""

    def on_socket_connect_start(self, socket: Socket, address: Any) -> None:
        """A task begins to connect."""

    def on_socket_connect_ready(self, socket: Socket, address: Any, immediate: bool) -> None:
        """The connection stands."""

    def on_socket_accept_start(self, socket: Socket) -> None:
        """A task begins to accept."""

    def on_socket_accept_ready(self, socket: Socket, connection: Socket, immediate: bool) -> None:
        """A connection was accepted."""

    def on_socket_recv_start(self, socket: Socket) -> None:
        """A task begins to receive."""

    def on_socket_recv_ready(self, socket: Socket, immediate: bool) -> None:
        """There is something to receive, or the peer has closed."""

    def on_socket_recv_data(self, socket: Socket, data: bytes) -> None:
        """Bytes were received; none at the end of the stream."""

    def on_socket_send_start(self, socket: Socket) -> None:
        """A task begins to send."""

    def on_socket_send_ready(self, socket: Socket, immediate: bool) -> None:
        """There was room to send."""

    def on_socket_send_data(self, socket: Socket, data: bytes) -> None:
        """The kernel took these bytes."""

    def on_socket_close(self, socket: Socket) -> None:
        """A socket is about to be closed."""

    def on_tls_handshake_complete(self, socket: Socket) -> None:
        """A TLS connection stands; ``socket.version()`` and ``socket.cipher()`` describe it."""

    def on_task_before_send(self, task: TaskHandle[Any]) -> None:
        """A task is about to run on."""

    def on_task_after_send(self, task: TaskHandle[Any], command: Command) -> None:
        """A task ran until it gave ``command``."""

    def on_task_before_throw(self, task: TaskHandle[Any], exception: BaseException) -> None:
        """``exception`` is about to be thrown into a task."""

    def on_task_after_throw(
        self, task: TaskHandle[Any], exception: BaseException, command: Command
    ) -> None:
        """A task caught ``exception`` and ran until it gave ``command``."""

    def on_task_completed(self, task: TaskHandle[Any], result: Any) -> None:
        """A task returned."""

    def on_task_error(self, task: TaskHandle[Any], exception: BaseException) -> None:
        """A task raised."""

    def on_task_cancelled(self, task: TaskHandle[Any], exception: BaseException) -> None:
        """TaskCancelled escaped from a task."""

    def __enter__(self) -> Self:
        _stack.instruments.append(self)
        installed.append(self)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _stack.instruments.remove(self)
        installed.remove(self)


class _Stack(threading.local):
    def __init__(self) -> None:
        self.instruments: list[EventLoopInstrument] = []  # outermost first


_stack: Final = _Stack()
installed: Final[list[EventLoopInstrument]] = []  # in any thread: whether it is worth to call notify


def notify(hook: str, *args: object) -> None:
    """Call a hook of this thread's instruments, the innermost first."""
    for instrument in reversed(_stack.instruments):
        try:
            getattr(instrument, hook)(*args)
        except Exception:  # noqa: BLE001 - an instrument never breaks what it looks at
            _log.exception("%r failed in %s", instrument, hook)


def observed_step(task: TaskHandle[Any]) -> Command:
    """``task.step()``, with all its hooks."""
    thrown = task.pending
    what, args = ("send", (task,)) if thrown is None else ("throw", (task, thrown))
    notify(f"on_task_before_{what}", *args)
    try:
        command = task.step()
    except StopIteration as stop:
        notify("on_task_completed", task, stop.value)
        raise
    except BaseException as error:
        is_cancelled = isinstance(error, TaskCancelled)
        notify("on_task_cancelled" if is_cancelled else "on_task_error", task, error)
        raise
    notify(f"on_task_after_{what}", *args, command)
    return command
