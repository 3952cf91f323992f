"""An exception of a body, made ready to leave the process it was raised in."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final

from protocol.messages import ErrorReport, Fault
from protocol.values import Value

_OURS: Final = frozenset(
    str(Path(__file__).with_name(name)) for name in ("hub.py", "attempt.py", "life_cycle.py", "body.py")
)


def describe(
    error: BaseException, fault: Fault, dump_exception: Callable[[BaseException], Value | None]
) -> tuple[ErrorReport, Value | None]:
    """The exception as text, and as an object if ``dump_exception`` can make it travel.

    The traceback begins with the user's first frame: ours tell the user nothing.
    """
    own = error.__traceback__
    try:
        text = "".join(traceback.format_exception(type(error), error, _users(own)))
    except Exception as broken:  # noqa: BLE001 - the exception's own __str__ may raise
        text = f"{type(error).__qualname__} (its text cannot be had: {broken!r})\n"
    report = ErrorReport(fault, type(error).__qualname__, _message(error), text)
    return report, dump_exception(error)


def _users(trace: TracebackType | None) -> TracebackType | None:
    first = trace
    while first is not None and first.tb_frame.f_code.co_filename in _OURS:
        first = first.tb_next
    return first if first is not None else trace


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a user's __str__
        return ""
