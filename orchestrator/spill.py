"""Files without a name for values that the coordinator has no memory for."""

from __future__ import annotations

import os
import tempfile
from bisect import bisect_left
from itertools import count
from typing import IO, Final, NamedTuple

from msgspec import msgpack

from orchestrator.runtime.errors import SpillError
from protocol.values import Local, Value

LIMIT_BYTES: Final = 4 << 30
"""So much is put on the disk for one run, unless the disk has less."""


class DiskSpill:
    """Files in the system's temporary directory, for one run: together at most ``limit_bytes``.

    They have no name, so nothing is left of them whatever becomes of the process.
    """

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._left_bytes = limit_bytes
        self._files: list[DiskFile] = []

    def open(self) -> DiskFile:
        try:
            file = DiskFile(self)
        except OSError as error:
            raise SpillError(tempfile.gettempdir(), str(error)) from error
        self._files.append(file)
        return file

    def close(self) -> None:
        """Give back what is left of all files."""
        for file in list(self._files):
            file.close()

    def forget(self, file: DiskFile) -> None:
        self._files.remove(file)

    def reserve(self, size_bytes: int) -> None:
        if size_bytes > self._left_bytes:
            raise SpillError(tempfile.gettempdir(), "this run has used what it may of the disk")
        self._left_bytes -= size_bytes

    def give_back(self, size_bytes: int) -> None:
        self._left_bytes += size_bytes


class DiskFile:
    """A :class:`~orchestrator.runtime.chunk_log.SpillFile`; what is forgotten makes room."""

    def __init__(self, spill: DiskSpill) -> None:
        self._spill = spill
        self._file: IO[bytes] = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - has its own close
        self._numbers = count()
        self._blocks: dict[int, _Extent] = {}
        self._gaps: list[_Extent] = []  # by offset; no two of them touch
        self._end = 0

    def write(self, values: list[Value]) -> int:
        block = msgpack.encode([_parts(value) for value in values])
        extent = self._place(len(block))
        try:
            os.posix_fallocate(self._file.fileno(), extent.offset, len(block))
            os.pwrite(self._file.fileno(), block, extent.offset)
        except OSError as error:
            self._vacate(extent)
            raise SpillError(tempfile.gettempdir(), str(error)) from error
        number = next(self._numbers)
        self._blocks[number] = extent
        return number

    def read(self, block: int) -> list[Value]:
        offset, size = self._blocks[block]
        parts = msgpack.decode(
            os.pread(self._file.fileno(), size, offset), type=list[bytes | list[bytes]]
        )
        return [part if isinstance(part, bytes) else tuple(part) for part in parts]

    def forget(self, block: int) -> None:
        self._vacate(self._blocks.pop(block))

    def close(self) -> None:
        self._spill.give_back(self._end)
        self._spill.forget(self)
        self._file.close()

    def _place(self, size: int) -> _Extent:
        """Room for so many bytes: in the first gap that is large enough, or else at the end."""
        for index, (offset, room) in enumerate(self._gaps):
            if room >= size:
                self._gaps[index : index + 1] = [_Extent(offset + size, room - size)] * (room > size)
                return _Extent(offset, size)
        self._spill.reserve(size)
        self._end += size
        return _Extent(self._end - size, size)

    def _vacate(self, extent: _Extent) -> None:
        index = bisect_left(self._gaps, extent)
        self._gaps.insert(index, extent)
        self._join_with_next(index)
        if index:
            self._join_with_next(index - 1)

    def _join_with_next(self, index: int) -> None:
        """Make one gap of two that touch."""
        gap, *following = self._gaps[index : index + 2]
        if following and gap.offset + gap.size == following[0].offset:
            joined = _Extent(gap.offset, gap.size + following[0].size)
            self._gaps[index : index + 2] = [joined]


class _Extent(NamedTuple):
    offset: int
    size: int


def _parts(value: Value) -> object:
    assert not isinstance(value, Local), "what lives here by reference has no size to make it leave"
    return value if isinstance(value, bytes) else list(value)
