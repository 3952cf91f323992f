"""How many workers a pool has, and how much memory: what this process may use of the machine."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

_CGROUPS: Final = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """How many processors this process may use: by its affinity and the limits of its control groups.

    Part of a processor counts as a whole one.
    """
    if sys.platform != "linux":
        return os.cpu_count() or 1
    allowed = min(map(_cpus_of, own_cgroups()), default=math.inf)
    return max(1, math.ceil(min(len(os.sched_getaffinity(0)), allowed)))


def usable_memory_bytes() -> int:
    """How much memory this process may use: what the machine has, or its control groups allow."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(min(physical, min(map(_memory_of, own_cgroups()), default=math.inf)))


def cpus_allowed(cpu_max: str) -> float:
    """The processors that a ``cpu.max`` allows: a quota and a period in microseconds, or no limit.

    >>> cpus_allowed("150000 100000"), cpus_allowed("max 100000")
    (1.5, inf)
    """
    quota, _, period = cpu_max.strip().partition(" ")
    return _amount(quota) / (_amount(period) if period else 100_000)


def cgroup_directories(membership: str, root: Path = _CGROUPS) -> Iterator[Path]:
    """The directories of a process's groups and of all groups around them, from ``/proc/self/cgroup``.

    Version 2 has one hierarchy, version 1 one for each controller.
    """
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        inside = PurePosixPath(path.lstrip("/"))
        for base in [root / each for each in controllers.split(",")] if controllers else [root]:
            for each in (inside, *inside.parents):
                yield base / each


def own_cgroups() -> list[Path]:
    """The directories of this process's control groups and of those around them."""
    # In a container the path may be one outside of it; the root is then the container's own group.
    return list(cgroup_directories(_read(Path("/proc/self/cgroup"))))


def _cpus_of(group: Path) -> float:
    version_2 = _read(group / "cpu.max")
    if version_2:
        return cpus_allowed(version_2)
    quota, period = _read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")
    if quota and period and _amount(quota) > 0:  # -1: no limit
        return _amount(quota) / _amount(period)
    return math.inf


def _memory_of(group: Path) -> float:
    limit = _read(group / "memory.max") or _read(group / "memory.limit_in_bytes")
    return _amount(limit) if limit else math.inf


def _amount(text: str) -> float:
    try:
        return float(text)
    except ValueError:  # "max"
        return math.inf


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


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
