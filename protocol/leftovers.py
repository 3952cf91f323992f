"""Directories of sessions whose process has died: each holds a note of whose it is (FAULTS F10).

The note tells the process's pid, when it started, and in which pid namespace that holds. Neither a pid
that another process has now nor a container that shares the directory is taken for what it is not.

A process may be killed when it has made its directory and not written its note. So the note is a
symbolic link, which is there whole or not at all, and a directory without one is removed if it is
empty: whoever was about to claim it makes another.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

PREFIX: Final = "orchestrator-"

_MADE: Final = re.compile(rf"{PREFIX}[a-z0-9_]{{8}}")  # the names that tempfile gives
_NOTE: Final = "owner"
_START_TIME: Final = 19  # in /proc/PID/stat, counted from the field after the command


def make_directory(parent: Path) -> Path:
    """A new directory of this process's that only its user can enter.

    Raises:
        OSError: none can be made there.
    """
    while True:
        directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        with suppress(FileNotFoundError):  # swept before it had its note
            claim(directory)
            return directory


def claim(directory: Path) -> None:
    """Note in a directory that it is this process's."""
    pid = os.getpid()
    (directory / _NOTE).symlink_to(f"{_namespace()} {pid} {_start_time(pid)}")


def sweep(parent: Path) -> None:
    """Remove the directories that dead processes of this user have left in another one."""
    for path in parent.glob(f"{PREFIX}*"):
        if _is_left(path):
            shutil.rmtree(path, ignore_errors=True)  # its zygote may be at it too
        elif _MADE.fullmatch(path.name):
            with suppress(OSError):  # it is not empty, or not ours
                path.rmdir()


def _is_left(directory: Path) -> bool:
    try:
        if directory.lstat().st_uid != os.geteuid():
            return False
        namespace, pid, started = map(int, str((directory / _NOTE).readlink()).split())
    except (OSError, ValueError):  # it is being removed, or no directory of ours
        return False
    return namespace == _namespace() and _start_time(pid) != started


def _namespace() -> int:
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0


def _start_time(pid: int) -> int:
    """In ticks since the system was started; -1 if there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return -1
    return int(fields[_START_TIME])
