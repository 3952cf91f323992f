"""SIGINT and SIGTERM in a process that runs no event loop, but speaks with one that does."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

_ENDING: Final = (signal.SIGINT, signal.SIGTERM)


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
    descriptor = _eventfd()
    has_come = False

    def note(*_: object) -> None:
        nonlocal has_come
        if has_come:
            raise KeyboardInterrupt
        has_come = True
        os.eventfd_write(descriptor, 1)

    try:
        signal.signal(signal.SIGINT, note)
        yield descriptor
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.close(descriptor)
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
    """SIGINT and SIGTERM disturb nothing inside; the descriptor is readable once for each."""
    descriptor = _eventfd()
    try:
        with on_ending_signals(lambda *_: os.eventfd_write(descriptor, 1)):
            yield descriptor
    finally:
        os.close(descriptor)


def _eventfd() -> int:
    """One ``os.eventfd_read`` takes note of one signal."""
    return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK | os.EFD_SEMAPHORE)
