"""The chunks of one run of a producer that somebody may still have to be given (SEMANTICS 52).

Theory of operation. Chunks are appended as rows, one value for each output that is read, and read back
by number. Up to ``memory_bytes`` they stay in memory; beyond it they go to a file, block by block, so
that an edge that was widened, or a reader far behind, costs the coordinator no memory. What nobody needs
any more is forgotten from the front. Values that live in this process by reference have no size here,
and so stay in memory.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import Final, NamedTuple, Protocol

from protocol.values import Value, size_bytes

MEMORY_BYTES: Final = 1 << 20
"""So much of a run's chunks stays in memory."""

READ_BYTES: Final = 1 << 20
"""A reader that is behind gets about so much at a time."""


_OVERHEAD_BYTES: Final = 64  # of a value in memory


class SpillFile(Protocol):
    """A file for blocks of values; gone when it is closed."""

    def write(self, values: list[Value]) -> int:
        """Append a block; its number.

        Raises:
            SpillError: the disk, or what may be used of it, is full.
        """

    def read(self, block: int) -> list[Value]: ...

    def forget(self, block: int) -> None:
        """It is not read any more: its room is free."""

    def close(self) -> None: ...


class Spill(Protocol):
    """Where such files can be had."""

    def open(self) -> SpillFile: ...


class Stored(NamedTuple):
    """Stands for a value in a :class:`ValueStore`."""

    block: int
    value: Value | None  # while there is memory for it


class ValueStore:
    """Keeps single values: in memory, together up to ``memory_bytes``, else in a file."""

    def __init__(self, spill: Spill, memory_bytes: int = MEMORY_BYTES) -> None:
        self._spill = spill
        self._file: SpillFile | None = None
        self._left_bytes = memory_bytes

    def put(self, value: Value) -> Stored:
        """What stands for the value.

        Raises:
            SpillError: it fits nowhere.
        """
        size = size_bytes(value)
        if size <= self._left_bytes:
            self._left_bytes -= size
            return Stored(-1, value)
        if self._file is None:
            self._file = self._spill.open()
        return Stored(self._file.write([value]), None)

    def take(self, stored: Stored) -> Value:
        """The value that ``put`` was given; it is kept no longer."""
        if stored.value is None:
            assert self._file is not None
            (value,) = self._file.read(stored.block)
            self._file.forget(stored.block)
            return value
        self._left_bytes += size_bytes(stored.value)
        return stored.value


class _Block(NamedTuple):
    first: int  # its first chunk
    number: int  # in the file


class ChunkLog:
    """The chunks of one run, ``count`` so far; ``width`` values each.

    ``keepers``: how many may need all of them again, from the first; while there are any, nothing is
    forgotten. ``is_whole`` tells whether they could have them: not after :meth:`give_up`.
    """

    __slots__ = (
        "_base",
        "_blocks",
        "_bytes",
        "_file",
        "_loaded",
        "_memory_bytes",
        "_rows",
        "_spill",
        "count",
        "is_whole",
        "keepers",
        "width",
    )

    def __init__(self, width: int, spill: Spill | None, memory_bytes: int = MEMORY_BYTES) -> None:
        self.width = width
        self.count = 0
        self._rows: list[Value] = []  # flat; the first one is of chunk _base
        self._base = 0
        self._bytes = 0
        self._blocks: deque[_Block] = deque()  # all before _base that were not forgotten
        self._loaded: tuple[int, list[Value]] | None = None
        self._spill = spill
        self._file: SpillFile | None = None
        self._memory_bytes = memory_bytes
        self.keepers = 0
        self.is_whole = True

    @property
    def first(self) -> int:
        """The first chunk that is kept; ``count`` if none is."""
        return self._blocks[0].first if self._blocks else self._base

    def append(self, values: list[Value], width: int) -> None:
        """Add rows of ``width`` values, of which the log keeps its own width.

        Raises:
            SpillError: they do not fit in memory, nor on the disk.
        """
        if width != self.width:
            rows = range(0, len(values), width)
            values = [value for row in rows for value in values[row : row + self.width]]
        self._rows += values
        self.count += len(values) // self.width
        if self._spill is not None:
            self._bytes += sum(map(size_bytes, values)) + _OVERHEAD_BYTES * len(values)
            if self._bytes > self._memory_bytes:
                self._write_out(self._spill)

    def skip(self, count: int) -> None:
        """So many more chunks exist, and nobody will ask for them."""
        assert self._base == self.count, "what is kept and what is not would be confused"
        self.count += count
        self._base = self.count

    def read(self, first: int, upto: int, output: int) -> list[Value]:
        """One output of the chunks from ``first`` on, before ``upto``: those at hand together."""
        if first >= self._base:
            rows, base = self._rows, self._base
        else:
            index = bisect_right(self._blocks, first, key=lambda block: block.first) - 1
            base, number = self._blocks[index]
            rows = self._load(number)
        width = self.width
        start = (first - base) * width + output
        return rows[start : (upto - base) * width : width]

    def give_up(self) -> None:
        """There is no room for all of it: who would need it again has to do without."""
        self.is_whole = False
        self.keepers = 0
        self.forget(self.count)

    def forget(self, upto: int) -> None:
        """Nobody will ask for the chunks before this one, but who needs all of them."""
        if self.keepers:
            return
        while self._blocks and self._end_of_first_block() <= upto:
            assert self._file is not None
            self._file.forget(self._blocks.popleft().number)
        gone = min(upto, self.count) - self._base
        # Not at each call: moving what is left costs as much as there is.
        if gone > 0 and gone * 2 * self.width >= len(self._rows):
            forgotten = self._rows[: gone * self.width]
            del self._rows[: gone * self.width]
            self._base += gone
            if self._spill is not None:
                self._bytes -= sum(map(size_bytes, forgotten)) + _OVERHEAD_BYTES * len(forgotten)

    def _end_of_first_block(self) -> int:
        return self._blocks[1].first if len(self._blocks) > 1 else self._base

    def close(self) -> None:
        """Give everything back."""
        self._rows.clear()
        self._blocks.clear()
        self._loaded = None
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write_out(self, spill: Spill) -> None:
        if self._file is None:
            self._file = spill.open()
        self._blocks.append(_Block(self._base, self._file.write(self._rows)))
        self._rows = []
        self._base = self.count
        self._bytes = 0

    def _load(self, number: int) -> list[Value]:
        if self._loaded is None or self._loaded[0] != number:
            assert self._file is not None
            self._loaded = (number, self._file.read(number))
        return self._loaded[1]
