"""The standard output and error of a worker process, marked by who prints."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from threading import get_ident
from typing import TYPE_CHECKING, Final

from executor.dropping import DroppingWriter
from executor.interrupting import Gate
from executor.marks import mark
from executor.page import CURRENT, PRINTED, Page

if TYPE_CHECKING:
    from typing_extensions import Buffer

_DESCRIPTORS: Final = (1, 2)


class Printing:
    """Replaces ``sys.stdout`` and ``sys.stderr``; ``settle`` after each step that ``has_printed``.

    ``gate`` is that of the bodies which print: set it before the first one runs. ``drops``: a body does
    not wait for its output to be read; what is not is dropped.
    """

    def __init__(self, secret: bytes, page: Page, pipes: Iterable[int], *, drops: bool = False) -> None:
        """Take over descriptors 1 and 2; ``pipes`` are what they are to be, and are closed."""
        self.has_printed = False
        self.gate = Gate()
        self.drops = drops
        self._cells = page.cells
        old = (sys.stdout, sys.stderr)
        for descriptor, pipe in zip(_DESCRIPTORS, pipes, strict=True):
            os.dup2(pipe, descriptor)
            os.close(pipe)
        self._raw = [_MarkedOutput(each, secret, page.cells, self) for each in _DESCRIPTORS]
        for raw, name, former in zip(self._raw, ("stdout", "stderr"), old, strict=True):
            stream = io.TextIOWrapper(
                _Noticing(raw, self),
                encoding=getattr(former, "encoding", None) or "utf-8",
                errors="backslashreplace" if name == "stderr" else getattr(former, "errors", None),
                line_buffering=True,
                write_through=True,
            )
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
        self._streams = (sys.stdout, sys.stderr)

    def settle(self) -> None:
        """A step is over: write out what it printed, and let what comes next be nobody's."""
        self.has_printed = False
        for stream in self._streams:
            with suppress(OSError, ValueError):  # a body may have closed it
                stream.flush()
        for raw in self._raw:
            raw.end_marked()
        self._cells[PRINTED] += 1


class _Noticing(io.BufferedWriter):
    """A buffer that notes when it is written to."""

    def __init__(self, raw: _MarkedOutput, printing: Printing) -> None:
        super().__init__(raw)
        self._printing = printing

    def write(self, data: Buffer, /) -> int:
        self._printing.has_printed = True
        return super().write(data)


class _MarkedOutput(io.RawIOBase):
    """Writes to a descriptor, with a mark before it where another attempt than the last one prints."""

    def __init__(self, descriptor: int, secret: bytes, cells: memoryview, printing: Printing) -> None:
        super().__init__()
        self.name = "<stdout>" if descriptor == 1 else "<stderr>"
        self._descriptor = descriptor
        self._secret = secret
        self._cells = cells
        self._printing = printing
        self._thread = get_ident()
        self._marked = 0
        self._pipe = os.fstat(descriptor).st_ino
        self._dropping = DroppingWriter(descriptor) if printing.drops else None

    def fileno(self) -> int:
        return self._descriptor

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def write(self, data: Buffer, /) -> int:
        # Threads that bodies start print too. No signal is handled there, and the gate is not theirs.
        if get_ident() != self._thread:
            return self._write(data)
        gate = self._printing.gate
        was_open, gate.is_open = gate.is_open, False  # interrupted here, Python would write it again
        try:
            return self._write(data)
        finally:
            gate.is_open = was_open

    def _write(self, data: Buffer) -> int:
        number: int = self._cells[CURRENT]
        if number != self._marked:
            self._tell_dropped()  # of whoever has printed before
            self._mark(number)
        if self._dropping is None:
            return os.write(self._descriptor, data)
        self._dropping.write(data)
        return memoryview(data).nbytes

    def end_marked(self) -> None:
        if self._marked:
            with suppress(OSError):
                self._tell_dropped()
                self._mark(0)

    def _tell_dropped(self) -> None:
        if self._dropping is not None:
            self._dropping.tell_dropped()

    def _mark(self, number: int) -> None:
        if self._dropping is not None and not self._dropping.has_room():
            return  # nor is there for what was to follow
        # A body may have put a file of its own in the pipe's place.
        if os.fstat(self._descriptor).st_ino == self._pipe:
            os.write(self._descriptor, mark(self._secret, number))
            self._marked = number
