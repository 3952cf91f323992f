"""Puts off the handlers of signals while the main thread does what they must not tear.

Python runs a signal's handler in the main thread between any two instructions, and what a handler raises
is raised there: ``KeyboardInterrupt`` most of all. A shielded stretch of code is free of that; the
handlers run when it is over. In other threads there is nothing to do.
"""

from __future__ import annotations

import signal
import threading

# The wrappers in ``signal`` make enumerations of what they return, which takes ten times as long.
from _signal import getsignal  # type: ignore[import-not-found]
from _signal import signal as set_handler
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Final, Self, TypeVar

T = TypeVar("T")

_Handler = Callable[[int, FrameType | None], Any]

_NUMBERS: Final = tuple(int(number) for number in signal.valid_signals())


class Shield:
    """Use it in a ``with`` block, once; one may lie within another."""

    __slots__ = ("_handlers", "_is_up", "_note", "_noted")

    def __init__(self) -> None:
        self._handlers: list[tuple[int, _Handler]] = []
        self._noted: list[int] = []
        self._is_up = True
        self._note = self._note_signal  # one object, to be recognised

    def __enter__(self) -> Self:
        if threading.get_ident() == threading.main_thread().ident:
            for number, handler in _python_handlers():
                self._handlers.append((number, handler))
                set_handler(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put the handlers back, and call those whose signals have come."""
        handlers = dict(self._handlers)
        if handlers:
            self._restore()
            while self._noted:
                number = self._noted.pop(0)
                handlers[number](number, None)

    def lower(self, function: Callable[..., T], *args: object) -> T:
        """``function(*args)``, during which handlers are called at once, raise what they may.

        Invariant: no instruction that may run a handler lies between the end of the call and the
        shield's being up again (as for ``interrupting.Gate``).
        """
        try:
            self._is_up = False
            while self._noted:
                self._call(self._noted.pop(0))
            return function(*args)
        finally:
            self._is_up = True

    def _note_signal(self, number: int, frame: FrameType | None) -> None:
        if self._is_up:
            self._noted.append(number)
        else:
            self._call(number, frame)

    def _call(self, number: int, frame: FrameType | None = None) -> None:
        for known, handler in self._handlers:
            if known == number:
                handler(number, frame)

    def _restore(self) -> None:
        number, handler = self._handlers.pop()
        try:
            if getsignal(number) is self._note:  # a handler may have set another one
                set_handler(number, handler)
        finally:  # whatever is raised by the one that is back
            if self._handlers:
                self._restore()


def _python_handlers() -> list[tuple[int, _Handler]]:
    """The handlers there are, with their signals. Most often they are those of the last call."""
    global _seen, _found  # noqa: PLW0603 - the main thread alone comes here
    handlers = list(map(getsignal, _NUMBERS))
    if handlers != _seen:
        _seen = handlers
        pairs = zip(_NUMBERS, handlers, strict=True)
        _found = [(number, handler) for number, handler in pairs if callable(handler)]
    return _found


_seen: list[object] = []
_found: list[tuple[int, _Handler]] = []
