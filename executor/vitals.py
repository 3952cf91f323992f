"""What the system says of a process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from executor.watching import Vitals

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")

# Fields of /proc/PID/stat, counted from the one after the command.
_STATE: Final = 0
_RESIDENT_PAGES: Final = 21


def vitals_of(pid: int) -> Vitals | None:
    """The memory a process holds, and whether a signal has stopped it; None if it is gone.

    One that is stopped by a debugger is not taken for stopped.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return Vitals(int(fields[_RESIDENT_PAGES]) * _PAGE_BYTES, fields[_STATE] == "T")
