"""Memory that was freed, given back to the system."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Final

_trim: Final[Callable[[int], int] | None] = getattr(ctypes.CDLL(None), "malloc_trim", None)


def trim() -> None:
    """Give back what lies free anywhere in the heap, where the C library can.

    It keeps what is freed for the thread that has allocated it, and gives back only the end of that:
    frames that ZeroMQ's thread has received would be held though nobody uses them any more.
    """
    if _trim is not None:
        _trim(0)
