"""What bodies may change of their process and others must not find changed (FAULTS F30)."""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import sys

# The wrapper in ``signal`` makes enumerations of what it returns, which takes ten times as long.
from _signal import getsignal  # type: ignore[import-not-found]
from contextlib import suppress
from typing import Any, Final

from executor.page import Page

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM, signal.SIGCHLD)
_TIMERS: Final = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_NO_TIME: Final = (0.0, 0.0)
_LIMITS: Final = (
    resource.RLIMIT_AS,
    resource.RLIMIT_CPU,
    resource.RLIMIT_DATA,
    resource.RLIMIT_FSIZE,
    resource.RLIMIT_NOFILE,
    resource.RLIMIT_STACK,
)
_STREAMS: Final = ("stdin", "stdout", "stderr")
_STANDARD: Final = (0, 1, 2)
_PAUSE_S: Final = 0.01  # then looking takes a hundredth of the time


class Custody:
    """The state of a worker's process as it was when this was made.

    It keeps duplicates of the standard descriptors, far from those that bodies close by accident.
    """

    def __init__(self, page: Page, traces: int) -> None:
        """``traces`` is the descriptor that stacks are written to, behind the page."""
        self._page = page
        self._traces = traces
        self._look_at = 0.0
        self._directory = os.open(".", os.O_PATH | os.O_CLOEXEC)
        self._directory_id = _identity(self._directory)
        self._umask = _umask()
        self._handlers: dict[int, Any] = {each: getsignal(each) for each in _SIGNALS}
        self._limits = {each: resource.getrlimit(each) for each in _LIMITS}
        self._streams = {name: getattr(sys, name) for name in _STREAMS}
        self._duplicates = {each: _duplicate(each) for each in _STANDARD}
        self._identities = {each: _identity(each) for each in _STANDARD}

    def restore(self, now: float) -> None:
        """Put back what is not as it was; what takes longer to look at, a few milliseconds later.

        What cannot be put back (a lowered hard limit) stays.
        """
        if _identity(".") != self._directory_id:
            os.fchdir(self._directory)
        os.umask(self._umask)
        if now >= self._look_at:
            self._look_at = now + _PAUSE_S
            self._restore_rest()

    def _restore_rest(self) -> None:
        self._restore_signals()
        self._page.make_room(self._traces)
        for kind, limits in self._limits.items():
            if resource.getrlimit(kind) != limits:
                with suppress(ValueError, OSError):
                    resource.setrlimit(kind, limits)
        for name, stream in self._streams.items():
            if getattr(sys, name) is not stream:
                setattr(sys, name, stream)
        for descriptor, duplicate in self._duplicates.items():
            if duplicate is not None and _identity(descriptor) != self._identities[descriptor]:
                os.dup2(duplicate, descriptor)

    def _restore_signals(self) -> None:
        for timer in _TIMERS:
            if signal.getitimer(timer) != _NO_TIME:
                signal.setitimer(timer, 0)  # its signal would end us, with nobody to handle it
        for number, handler in self._handlers.items():
            if getsignal(number) is not handler:
                signal.signal(number, handler)
        faulthandler.unregister(signal.SIGUSR2)  # Python does not know whether it is still set
        faulthandler.register(signal.SIGUSR2, self._traces)


def _identity(file: int | str) -> tuple[int, int] | None:
    try:
        found = os.stat(file)  # noqa: PTH116 - mostly of a descriptor
    except OSError:  # it is closed; of a directory: it was removed
        return None
    return found.st_dev, found.st_ino


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _duplicate(descriptor: int) -> int | None:
    try:
        return os.dup(descriptor)
    except OSError:  # it was closed from the beginning
        return None
