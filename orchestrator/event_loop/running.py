"""Which loop and which task run in this thread."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

from orchestrator.event_loop.commands import NOT_ON_ASYNCIO

if TYPE_CHECKING:
    from orchestrator.event_loop.event_loop import EventLoop
    from orchestrator.event_loop.tasks import TaskHandle


class _Running(threading.local):
    loop: EventLoop | None = None  # the innermost loop that runs in this thread


running = _Running()


def current_event_loop() -> EventLoop:
    """The loop that runs in this thread.

    Raises:
        RuntimeError: none does.
    """
    loop = running.loop
    if loop is None:
        if _asyncio_runs():
            raise RuntimeError(NOT_ON_ASYNCIO)
        raise RuntimeError(
            "no event loop runs in this thread; call this inside a coroutine given to "
            "EventLoop().run_until_complete()"
        )
    return loop


def _asyncio_runs() -> bool:
    events: Any = sys.modules.get("asyncio.events")
    return events is not None and events._get_running_loop() is not None  # noqa: SLF001 - made for this


def current_task() -> TaskHandle[Any]:
    """The task that is being stepped in this thread.

    Raises:
        RuntimeError: none is, for instance in a callback of ``call_soon_threadsafe``.
    """
    task = current_event_loop().current
    if task is None:
        raise RuntimeError("no task is running now; call this inside a task, not inside a callback")
    return task
