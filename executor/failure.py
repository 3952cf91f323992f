"""An exception of a body, made ready to leave the process it was raised in."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final

from protocol.messages import ErrorReport, Fault
from protocol.serialization import SerializationError, dumps
from protocol.values import Value

TEXT_LIMIT: Final = 1 << 20
"""So many characters of a text travel at most; of a longer one the beginning and the end."""

_OURS: Final = frozenset(
    str(Path(__file__).with_name(f"{name}.py"))
    for name in (
        "hub",
        "attempt",
        "life_cycle",
        "body",
        "body_task",
        "asyncio_tasks",
        "unwinding",
        "task",
    )
)


def describe(
    error: BaseException,
    fault: Fault,
    dump_exception: Callable[[BaseException], Value | None],
    retry_on: tuple[type[BaseException], ...] = (),
) -> tuple[ErrorReport, Value | None]:
    """The exception as text, and as an object if ``dump_exception`` can make it travel.

    The traceback begins with the user's first frame: ours tell the user nothing. Where the object
    does not travel, the text says why.
    """
    cause = dump_exception(error)
    own = error.__traceback__
    try:
        text = "".join(traceback.format_exception(type(error), error, _users(own)))
    except Exception as broken:  # noqa: BLE001 - the exception's own __str__ may raise
        text = f"{type(error).__qualname__} (its text cannot be had: {broken!r})\n"
    if cause is None:
        text += _why_it_stays(error)
    report = ErrorReport(
        fault,
        type(error).__qualname__,
        sendable(_message(error)),
        sendable(text),
        os.getpid(),
        fault is Fault.BODY and isinstance(error, retry_on),
    )
    return report, cause


def sendable(text: str) -> str:
    """The text as a message can carry it: not too long, and without halves of characters.

    Those stand in texts that name a file whose name is no UTF-8.
    """
    if len(text) > TEXT_LIMIT:
        half = TEXT_LIMIT // 2
        text = f"{text[:half]}\n[... {len(text) - 2 * half} characters ...]\n{text[-half:]}"
    return text.encode(errors="backslashreplace").decode()


def _why_it_stays(error: BaseException) -> str:
    try:
        dumps(error)
    except SerializationError as reason:
        return f"The exception itself could not be sent: in the exception, {reason}\n"
    return "The exception itself could not be sent: it pickles, but does not unpickle as it was.\n"


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
