"""Finds the handler of what a task has yielded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from orchestrator.event_loop.tasks import TaskHandle

Handler: TypeAlias = Callable[[TaskHandle[Any], Any], None]


class Handlers(dict[type, Handler]):
    """Handlers by type of command; what a type lacks it takes from its bases, and remembers."""

    def __missing__(self, command: type) -> Handler:
        handler = next((self[base] for base in command.__mro__[1:] if base in self), _refuse)
        self[command] = handler
        return handler


def _refuse(task: TaskHandle[Any], command: object) -> None:
    """The handler of what is no command."""
    msg = f"{task!r} awaited something that yielded {command!r}, which is no command of this event loop"
    if command is None or hasattr(command, "_asyncio_future_blocking"):
        msg += (
            "; it looks like asyncio's: use the counterpart in orchestrator.event_loop, or run the "
            'coroutine with asyncio (for a node: placement="thread")'
        )
    raise TypeError(msg)
