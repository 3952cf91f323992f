"""Who may use a pool: the thread and the process that made it."""

from __future__ import annotations

import os
import threading


class Ownership:
    """Remembers the thread and the process that it was made in."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._thread = threading.get_ident()

    def check(self) -> None:
        """Refuse any other.

        Raises:
            RuntimeError: this is another thread, or a fork.
        """
        if self._pid != os.getpid():
            raise RuntimeError("a pool does not survive a fork; make one in the new process")
        if self._thread != threading.get_ident():
            raise RuntimeError("a pool belongs to the thread that made it; make one in this thread")
