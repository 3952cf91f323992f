"""What a body prints, sent to whoever runs its flow instead of to where the worker's own output goes.

Only what goes through ``sys.stdout`` and ``sys.stderr``: what C code or a child process writes to the
descriptors goes where those lead.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import TextIO

Send = Callable[[int, str], bool]
"""Takes a descriptor, 1 or 2, and a text; False if no body is running: it is nobody's."""


class BodyOutput(io.TextIOBase):
    """Stands for a standard stream; what no body has written goes on to the stream."""

    def __init__(self, stream: TextIO, descriptor: int, send: Send) -> None:
        self._stream = stream
        self._descriptor = descriptor
        self._send = send

    @property
    def buffer(self) -> object:
        """Writes bytes past us."""
        return self._stream.buffer

    @property
    def encoding(self) -> str:  # type: ignore[override]  # an attribute there
        return "utf-8"

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if not self._send(self._descriptor, text):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return False


def divert(send: Send) -> None:
    """Have what bodies print given to ``send`` from now on."""
    # None where the descriptor is closed.
    if sys.stdout is not None:
        sys.stdout = BodyOutput(sys.stdout, 1, send)
    if sys.stderr is not None:
        sys.stderr = BodyOutput(sys.stderr, 2, send)
