"""Memory that was freed, given back to the system."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Final

_trim: Final[Callable[[int], int] | None] = getattr(ctypes.CDLL(None), "malloc_trim", None)


def trim() -> None:
    """Give back what lies free anywhere in the heap, where the C library can.

    Of itself it gives back only the end of what it holds: what lies before something still in use
    would be held though nobody uses it any more.
    """
    if _trim is not None:
        _trim(0)
