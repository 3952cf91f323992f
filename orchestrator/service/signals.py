"""SIGINT and SIGTERM in a command that runs no event loop: both ask it to end, in the same way."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

_ENDING: Final = (signal.SIGINT, signal.SIGTERM)


def interrupt(*_: object) -> NoReturn:
    """A handler: raises KeyboardInterrupt wherever the code is."""
    raise KeyboardInterrupt


@contextmanager
def on_ending_signals(handler: Callable[[int, Any], Any] | signal.Handlers) -> Iterator[None]:
    """Have a handler for both while inside."""
    before = [(number, signal.signal(number, handler)) for number in _ENDING]
    try:
        yield
    finally:
        for number, previous in before:
            signal.signal(number, previous)


@contextmanager
def ending_signals_noted() -> Iterator[int]:
    """While inside they disturb nothing: one ``os.eventfd_read`` of the descriptor takes note of one."""
    descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK | os.EFD_SEMAPHORE)
    try:
        with on_ending_signals(lambda *_: os.eventfd_write(descriptor, 1)):
            yield descriptor
    finally:
        os.close(descriptor)
