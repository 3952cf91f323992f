"""Says in words what a task is doing."""

from __future__ import annotations

from collections.abc import Iterator
from linecache import getline
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.event_loop.tasks import TaskHandle


def describe_task(task: TaskHandle[Any], current: TaskHandle[Any] | None) -> str:
    """One line about the task, then its stack, outermost frame first."""
    if task is current:
        doing = "running"
    elif task.wait is not None:
        doing = str(task.wait)
    else:
        doing = "ready to run"
    return "\n".join(
        [f"{task!r}: {doing}", *(_describe_frame(frame) for frame in _stack(task.coroutine))]
    )


def _stack(awaitable: Any) -> Iterator[FrameType]:
    """The frames of a coroutine and of what it awaits, as far as they are Python's."""
    while awaitable is not None:
        for prefix, inner in (("cr", "cr_await"), ("gi", "gi_yieldfrom")):
            if hasattr(awaitable, inner):
                frame = getattr(awaitable, f"{prefix}_frame")
                if frame is not None:
                    yield frame
                awaitable = getattr(awaitable, inner)
                break
        else:
            return


def _describe_frame(frame: FrameType) -> str:
    code = frame.f_code
    source = getline(code.co_filename, frame.f_lineno).strip()
    return f'  File "{code.co_filename}", line {frame.f_lineno}, in {code.co_name}\n    {source}'
