"""Stacks as the fault handler writes them, without the frames that tell a user nothing: ours."""

from __future__ import annotations

import re
from typing import Final

from executor.bootstrap import ROOT

_FRAME: Final = re.compile(r'^ *File "(?P<file>[^"]*)"')
_OURS: Final = tuple(f"{ROOT}/{package}/" for package in ("executor", "protocol"))


def of_the_user(trace: str) -> str:
    """The trace without our frames, which are below the body's; a thread that is all ours stays."""
    threads = trace.split("\n\n")
    return "\n\n".join(map(_without_ours, threads)).strip()


def _without_ours(thread: str) -> str:
    lines = thread.split("\n")
    frames = [line for line in lines if _FRAME.match(line)]
    if all(map(_is_ours, frames)):
        return thread
    return "\n".join(line for line in lines if not _is_ours(line))


def _is_ours(line: str) -> bool:
    frame = _FRAME.match(line)
    return frame is not None and frame["file"].startswith(_OURS)
