"""What workers print, as it reaches the pool's process."""

from __future__ import annotations

import io
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from executor.marks import MarkReader
from protocol.messages import AttemptKey

READ_BYTES: Final = 64 * 1024
READS_PER_PASS: Final = 16

_LAST_CHARACTERS: Final = 4096
_LAST_LINES: Final = 10


@dataclass(frozen=True, slots=True)
class Printed:
    """Output of a worker: ``key`` says whose it is, None if nobody there was being stepped.

    ``node`` is the name of its node.
    """

    worker: int
    key: AttemptKey | None
    is_error: bool
    data: bytes
    node: str = ""


Print: TypeAlias = Callable[[Printed], None]


@dataclass(frozen=True, slots=True)
class Piece:
    """Output as it was read; ``number`` names the attempt in the worker's page, 0 for none."""

    worker: int
    number: int
    is_error: bool
    data: bytes


class Outputs:
    """The reading ends of the pipes, each until nobody holds its other end.

    A worker that prints more than is read waits: nothing piles up here.
    """

    def __init__(self) -> None:
        self._pipes: dict[int, _Pipe] = {}
        self.changes = 0
        """Counts the pipes that were opened and closed."""

    def __contains__(self, source: object) -> bool:
        return source in self._pipes

    def __iter__(self) -> Iterator[int]:
        return iter(self._pipes)

    def open(self, worker: int, secret: bytes) -> tuple[int, int]:
        """Descriptors for what the worker writes to its standard output and error; the caller's.

        Raises:
            OSError: the system refused; then none was made.
        """
        output = os.pipe2(os.O_CLOEXEC)
        try:
            error = os.pipe2(os.O_CLOEXEC)
        except OSError:
            for end in output:
                os.close(end)
            raise
        for is_error, (read_end, _) in enumerate((output, error)):
            self.changes += 1
            os.set_blocking(read_end, False)
            self._pipes[read_end] = _Pipe(worker, bool(is_error), MarkReader(secret))
        return output[1], error[1]

    def read(self, source: int) -> Iterator[Piece]:
        """What is there to be read, up to a limit. At the end of the stream the pipe is closed."""
        pipe = self._pipes[source]
        for _ in range(READS_PER_PASS):
            try:
                data = os.read(source, READ_BYTES)
            except BlockingIOError:
                yield from pipe.held()
                return
            if not data:
                yield from pipe.held()
                self.changes += 1
                del self._pipes[source]
                os.close(source)
                return
            yield from pipe.pieces(pipe.marks.feed(data))

    def read_all(self, worker: int | None = None) -> Iterator[Piece]:
        """What has been printed until now, by a worker or by all.

        Leaves the pipes open, so that whoever polls them is told of their end. A pipe holds no more than
        one reading takes: what is printed while we read waits for the next call.
        """
        for source, pipe in list(self._pipes.items()):
            if worker is None or pipe.worker == worker:
                with suppress(BlockingIOError):
                    yield from pipe.pieces(pipe.marks.feed(os.read(source, READ_BYTES)))
                yield from pipe.held()

    def close(self) -> None:
        for source in self._pipes:
            os.close(source)
        self._pipes.clear()


@dataclass(frozen=True, slots=True)
class _Pipe:
    worker: int
    is_error: bool
    marks: MarkReader

    def pieces(self, parts: list[tuple[int, bytes]]) -> Iterator[Piece]:
        for number, data in parts:
            yield Piece(self.worker, number, self.is_error, data)

    def held(self) -> Iterator[Piece]:
        """What looked like the beginning of a mark, once the pipe is empty: marks come whole."""
        yield from self.pieces(self.marks.finish())


class LastOutput:
    """The last few lines that were printed, by attempt."""

    def __init__(self) -> None:
        self._parts: deque[tuple[int, str]] = deque()
        self._characters = 0

    def add(self, number: int, data: bytes) -> None:
        text = data[-_LAST_CHARACTERS:].decode(errors="replace")
        self._parts.append((number, text))
        self._characters += len(text)
        while self._characters - len(self._parts[0][1]) >= _LAST_CHARACTERS:
            self._characters -= len(self._parts.popleft()[1])

    def lines_of(self, number: int) -> tuple[str, ...]:
        text = "".join(text for owner, text in self._parts if owner == number)
        return tuple(text[-_LAST_CHARACTERS:].splitlines()[-_LAST_LINES:])


def pass_on(printed: Printed) -> None:
    """Print it here, where that is possible: as it was, to what standard output or error is now."""
    stream: Any = sys.stderr if printed.is_error else sys.stdout
    with suppress(OSError, ValueError, AttributeError):  # closed, or there is none
        if isinstance(stream, io.TextIOWrapper):
            stream.flush()
            stream.buffer.write(printed.data)
        else:  # something stands for it, as a display does
            stream.write(printed.data.decode(errors="replace"))
        stream.flush()
