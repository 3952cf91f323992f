"""What may be done with the output of workers, beside printing it as it comes: ``Pool(show=...)``."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

from executor.dropping import DroppingWriter
from executor.output import Print, Printed, pass_on
from protocol.messages import WHOLE


class TaggedPrint:
    """Prints with the node, and which run, element and attempt of it, at the head of each line.

    A run is named by its number from the second on, and so is an attempt. Nothing is held back: where
    another body prints in the midst of a line, that line is ended.
    """

    def __init__(self, show: Print = pass_on) -> None:
        self._show = show
        self._tags: dict[bool, str] = {}  # of the line that has begun on standard output or error

    def __call__(self, printed: Printed) -> None:
        tag = tag_of(printed)
        begun = self._tags.pop(printed.is_error, None)
        lines = printed.data.splitlines(keepends=True)
        parts = []
        if begun is not None and begun != tag:
            parts.append(b"\n")
        for number, line in enumerate(lines):
            if number or begun != tag:
                parts.append(tag.encode())
            parts.append(line)
        if lines and not lines[-1].endswith((b"\n", b"\r")):
            self._tags[printed.is_error] = tag
        self._show(replace(printed, data=b"".join(parts)))


def tag_of(printed: Printed) -> str:
    """What :class:`TaggedPrint` puts before a line.

    >>> from protocol.messages import AttemptKey, NodeId, RunId
    >>> tag_of(Printed(1, AttemptKey(RunId(1), NodeId(0), 2, attempt=1), False, b"", "fit"))
    '[fit run 2 attempt 1] '
    """
    key = printed.key
    if key is None:
        return f"[worker {printed.worker}] " if printed.worker else "[coordinator] "
    parts = [printed.node or "task"]
    if key.generation:
        parts.append(f"run {key.generation}")
    if key.element != WHOLE:
        parts.append(f"element {key.element}")
    if key.attempt:
        parts.append(f"attempt {key.attempt}")
    return f"[{' '.join(parts)}] "


class DroppingPrint:
    """Prints here what there is room for, and drops and counts the rest: it never waits.

    What stands in the place of standard output without being a file is printed to as ever.
    """

    def __init__(self) -> None:
        self._writers: dict[bool, DroppingWriter] = {}

    def __call__(self, printed: Printed) -> None:
        stream: Any = sys.stderr if printed.is_error else sys.stdout
        try:
            if printed.is_error not in self._writers:
                self._writers[printed.is_error] = DroppingWriter(stream.fileno())
            stream.flush()
            self._writers[printed.is_error].write(printed.data)
        except (OSError, ValueError, AttributeError):  # closed, or no file, or there is none
            pass_on(printed)
