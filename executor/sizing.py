"""How many workers a pool has."""

from __future__ import annotations

import os
import sys


def usable_cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def checked_size(workers: int | None) -> int:
    """The size that was asked for, or one worker per usable processor.

    Raises:
        ValueError: it is not a positive number.
        RuntimeError: this system is not Linux.
    """
    if sys.platform != "linux":
        raise RuntimeError("worker processes need Linux; elsewhere run flows with workers=0")
    if workers is None:
        return usable_cores()
    if not _is_integer(workers) or workers < 1:
        raise ValueError(
            f"a pool needs a positive number of workers, not {workers!r}; "
            "without any, run the flow with workers=0 and no pool"
        )
    return workers


def _is_integer(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool)
