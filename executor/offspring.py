"""What bodies start in their worker and leave running: other processes, and threads (FAULTS F26)."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from executor.failure import sendable


class Offspring(NamedTuple):
    """Pids, and the names of threads."""

    processes: list[int]
    threads: list[str]


class OffspringWatch:
    """Sees, between bodies, what the last of them has left. Looking costs a microsecond if nothing."""

    def __init__(self) -> None:
        self._processes: set[int] = set()
        self._threads = _threads()
        self._count = threading.active_count()

    def news(self) -> Offspring | None:
        """What runs now and did not when this was asked last; None if there is nothing of the kind."""
        if not self._processes and not _has_children() and threading.active_count() == self._count:
            return None
        processes, threads = set(running(children_of("self"))), _threads()
        found = Offspring(
            sorted(processes - self._processes),
            [sendable(thread.name) for thread in threads if thread not in self._threads],
        )
        self._processes, self._threads = processes, threads
        self._count = threading.active_count()
        return found if any(found) else None


def children_of(pid: int | str) -> list[int]:
    """The processes whose parent this is; none if it is gone, or the kernel keeps no such list."""
    found: list[int] = []
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    except OSError:
        pass
    return found


def running(pids: Iterable[int]) -> list[int]:
    """Those of them that have not ended and wait for their parents to notice."""
    return [pid for pid in pids if not _is_zombie(pid)]


def descendants_of(roots: Iterable[int]) -> Iterator[int]:
    """These processes and all that come from them."""
    for root in roots:
        yield root
        yield from descendants_of(children_of(root))


def command_of(pid: int) -> str:
    """The command line of a process; its name where it has none."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return line.strip() or Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "?"


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _threads() -> set[threading.Thread]:
    """Those that the interpreter would wait for at its end, but for the idle ones of executors."""
    executors = sys.modules.get("concurrent.futures.thread")
    idle = () if executors is None else vars(executors).get("_threads_queues", ())
    return {each for each in threading.enumerate() if not each.daemon and each not in idle}
