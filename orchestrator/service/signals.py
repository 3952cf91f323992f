"""SIGINT and SIGTERM in a process that runs no event loop, but speaks with one that does."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, NoReturn

_ENDING: Final = (signal.SIGINT, signal.SIGTERM)
_MANY: Final = 4096


@contextmanager
def interrupt_deferred() -> Iterator[int | None]:
    """Ctrl-C inside raises KeyboardInterrupt when this block ends, so that it tears nothing.

    Gives a descriptor that is readable from the signal on, for whoever waits inside. A second Ctrl-C is
    raised at once. Where another handler is installed, and in other threads than the main one, nothing
    is changed and None given.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield None
        return
    has_come = False

    def note(*_: object) -> None:
        nonlocal has_come
        if has_come:
            raise KeyboardInterrupt
        has_come = True

    with _woken_by_signals() as descriptor:
        try:
            signal.signal(signal.SIGINT, note)
            yield descriptor
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    if has_come:
        raise KeyboardInterrupt


def interrupt(*_: object) -> NoReturn:
    """A handler: raises KeyboardInterrupt wherever the code is."""
    raise KeyboardInterrupt


@contextmanager
def on_ending_signals(handler: Callable[[int, Any], Any] | signal.Handlers) -> Iterator[None]:
    """Have a handler for SIGINT and SIGTERM while inside."""
    before = [(number, signal.signal(number, handler)) for number in _ENDING]
    try:
        yield
    finally:
        for number, previous in before:
            signal.signal(number, previous)


@contextmanager
def ending_signals_noted() -> Iterator[int]:
    """SIGINT and SIGTERM disturb nothing inside; the descriptor has a byte to be read for each."""
    with _woken_by_signals() as descriptor, on_ending_signals(lambda *_: None):
        yield descriptor


@contextmanager
def _woken_by_signals() -> Iterator[int]:
    """A descriptor that has a byte for each signal, as soon as it comes.

    A handler in Python could say so too late: it runs between two steps of the interpreter, and
    whoever has just begun to wait takes none.
    """
    read_end, write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    outer = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    try:
        yield read_end
    finally:
        signal.set_wakeup_fd(outer)
        if outer != -1:  # somebody else's, as an event loop's, who would have been woken
            with suppress(OSError):
                os.write(outer, os.read(read_end, _MANY))
        os.close(write_end)
        os.close(read_end)
