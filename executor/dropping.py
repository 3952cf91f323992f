"""Output for which nobody waits: what a descriptor does not take at once is dropped, and counted."""

from __future__ import annotations

import logging
import os
import select
from contextlib import suppress
from typing import Any, Final

_ATOMIC_BYTES: Final = select.PIPE_BUF
"""A pipe that has room at all takes so much without making us wait."""


class DroppingLog(logging.Handler):
    """Logs to standard error, where nobody may be reading, and waits for nobody."""

    def __init__(self) -> None:
        super().__init__()
        self._writer = DroppingWriter(2)

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):  # closed
            self._writer.write(f"{self.format(record)}\n".encode(errors="replace"))


class DroppingWriter:
    """Writes to a descriptor. Where it was not read in time, a line says later how much is missing."""

    def __init__(self, descriptor: int) -> None:
        self.dropped_bytes = 0
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)

    def write(self, data: Any) -> None:
        """Write what there is room for.

        Raises:
            OSError: nobody will read it any more.
        """
        self.tell_dropped()
        rest = memoryview(data).cast("B")
        while rest and self.has_room():
            rest = rest[os.write(self._descriptor, rest[:_ATOMIC_BYTES]) :]
        self.dropped_bytes += len(rest)

    def tell_dropped(self) -> None:
        """Say what is missing, if something is and there is room to say it."""
        if self.dropped_bytes and self.has_room():
            note = f"\n[{self.dropped_bytes} bytes of output were dropped: they were not read in time]\n"
            self.dropped_bytes = 0
            os.write(self._descriptor, note.encode())

    def has_room(self) -> bool:
        return bool(self._poll.poll(0))
