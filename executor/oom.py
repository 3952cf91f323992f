"""Whether the kernel has killed a process because memory ran out (FAULTS F4)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from executor.sizing import own_cgroups

_MACHINE: Final = Path("/proc/vmstat")
_COUNT: Final = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def kernel_kills() -> int:
    """How many it has killed so far in our control group, else on this machine; 0 if it does not say."""
    return first_count([*_events(own_cgroups()), _MACHINE])


def first_count(files: Iterable[Path]) -> int:
    """What the first of these files says that says anything."""
    for file in files:
        try:
            found = _COUNT.search(file.read_text())
        except OSError:
            continue
        if found is not None:
            return int(found[1])
    return 0


class OomWatch:
    """Tells whether a worker that SIGKILL has ended was the kernel's victim."""

    def __init__(self, kills: Callable[[], int] = kernel_kills) -> None:
        self._kills = kills
        self._explained = self._seen = kills()

    def explains_kill(self) -> bool:
        """Ask once for each SIGKILL that nobody here has sent: each of the kernel's explains one."""
        if self._kills() <= self._explained:
            return False
        self._explained += 1
        return True

    def forget_others(self) -> None:
        """To be called from time to time: what has explained no death since then was of others."""
        self._explained = max(self._explained, self._seen)
        self._seen = self._kills()


def _events(groups: Iterable[Path]) -> Iterable[Path]:
    for group in groups:
        yield group / "memory.events"  # version 2
        yield group / "memory.oom_control"
