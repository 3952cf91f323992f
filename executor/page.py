"""A page of memory that a worker shares with its coordinator, and room for its stack traces behind it.

The worker says in it which attempt it is stepping, at the cost of one store; the coordinator looks
there after a death to blame exactly that attempt (FAULTS P9). The worker's fault handler writes behind
the page, as into a file. The memory has no name: it is gone with the last process that holds it.
"""

from __future__ import annotations

import mmap
import os
from typing import Final

CURRENT: Final = 0
"""The cell with the number of the attempt being stepped; 0 for none. Written by the worker."""

TARGET: Final = 1
"""The cell with the number of the attempt to interrupt; 0 for none. Written by the coordinator."""

SINCE: Final = 2
"""The time from which on the attempt being stepped has computed, breaks left out. Written by the worker,
before ``CURRENT``, on the clock of ``time.monotonic``, which all processes of a host share."""

PRINTED: Final = 3
"""The cell that changes when the worker has stepped a body that printed. Written by the worker."""

BEGUN: Final = 4
"""The cell with the number of the attempt that was begun last; attempts are begun in the order of their
numbers. Written by the worker, before it reads ``FENCE``."""

FENCE: Final = 5
"""The cell with the number of the first attempt that may not be begun now; 0 for none. Written by the
coordinator, before it reads ``BEGUN`` and sends ``Revoke``, upon which the worker takes it away."""

TRACED: Final = 6
"""The cell that says upto where in the mapping the coordinator has read the worker's stacks; 0 at first.
Written by the coordinator when it has read some, and by the worker when it starts over."""

TRACES_BYTES: Final = 64 * 1024


class Page:
    """A mapping of the page.

    ``cells`` are signed 64-bit integers, ``times`` the same as floating-point numbers; zero at first.
    """

    def __init__(self, descriptor: int) -> None:
        """Map the page of a descriptor, which stays the caller's."""
        self._map = mmap.mmap(descriptor, mmap.PAGESIZE + TRACES_BYTES)
        whole = memoryview(self._map)[: mmap.PAGESIZE]
        self.cells = whole.cast("q")
        self.times = whole.cast("d")
        whole.release()

    def trace(self) -> str:
        """The stacks that the worker has written since the last call; empty if none."""
        start = self.cells[TRACED] or mmap.PAGESIZE
        written = self._map.find(b"\0", start)
        text = self._map[start : written if written >= 0 else len(self._map)]
        if text:
            self.cells[TRACED] = start + len(text)
        return text.decode(errors="replace").strip()

    def make_room(self, traces: int) -> None:
        """In the worker: start over with its stacks, if they take much room and all have been read.

        ``traces`` is the descriptor that they are written to.
        """
        upto = os.lseek(traces, 0, os.SEEK_CUR)
        if upto > mmap.PAGESIZE + TRACES_BYTES // 2 and self.cells[TRACED] == min(upto, len(self._map)):
            os.lseek(traces, mmap.PAGESIZE, os.SEEK_SET)
            self._map[mmap.PAGESIZE :] = bytes(TRACES_BYTES)
            self.cells[TRACED] = 0

    def close(self) -> None:
        self.cells.release()
        self.times.release()
        self._map.close()


def create_page() -> int:
    """A descriptor of a fresh page; not inherited by programs that are started."""
    descriptor = os.memfd_create("orchestrator-worker", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, mmap.PAGESIZE + TRACES_BYTES)
    return descriptor
