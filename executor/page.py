"""One page of memory that a worker shares with its coordinator.

The worker says in it which attempt it is stepping, at the cost of one store; the coordinator looks
there after a death to blame exactly that attempt (FAULTS P9). The page has no name: it is gone with the
last process that holds it.
"""

from __future__ import annotations

import mmap
import os
from typing import Final

CURRENT: Final = 0
"""The cell with the number of the attempt being stepped; 0 for none. Written by the worker."""

TARGET: Final = 1
"""The cell with the number of the attempt to interrupt; 0 for none. Written by the coordinator."""


class Page:
    """A mapping of the page. ``cells`` are signed 64-bit integers, zero at first."""

    def __init__(self, descriptor: int) -> None:
        """Map the page of a descriptor, which stays the caller's."""
        self._map = mmap.mmap(descriptor, mmap.PAGESIZE)
        self.cells = memoryview(self._map).cast("q")

    def close(self) -> None:
        self.cells.release()
        self._map.close()


def create_page() -> int:
    """A descriptor of a fresh page; not inherited by programs that are started."""
    descriptor = os.memfd_create("orchestrator-worker", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, mmap.PAGESIZE)
    return descriptor
