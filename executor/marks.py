"""Whose output it is: marks between the bytes that a worker prints.

Theory of operation. A worker's standard output is one stream of bytes for all bodies that it steps.
Where another body begins to print, the worker writes a mark: a secret of its birth, which no output
holds by chance, and the number of the attempt. The reader takes the marks out again. What is written
past Python (by C code, or a child process) has no mark of its own: it belongs to whoever has printed in
the same step, or, with number 0, to whoever is being stepped when it is read.
"""

from __future__ import annotations

import struct
from typing import Final

SECRET_BYTES: Final = 16
_NUMBER: Final = struct.Struct("<Q")


def mark(secret: bytes, number: int) -> bytes:
    """What is written before the output of an attempt; short enough for a pipe to take it whole."""
    return secret + _NUMBER.pack(number)


class MarkReader:
    """Takes the marks out of a stream that comes in pieces cut anywhere.

    >>> reader = MarkReader(b"0123456789abcdef")
    >>> reader.feed(b"C code" + mark(b"0123456789abcdef", 7) + b"Python")
    [(0, b'C code'), (7, b'Python')]
    """

    def __init__(self, secret: bytes) -> None:
        assert len(secret) == SECRET_BYTES
        self._secret = secret
        self._number = 0
        self._rest = b""  # it may be the beginning of a mark

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The output in ``data``, each part with its attempt's number."""
        data = self._rest + data
        pieces: list[tuple[int, bytes]] = []
        start = 0
        while (found := data.find(self._secret, start)) >= 0:
            end = found + SECRET_BYTES + _NUMBER.size
            if end > len(data):
                break
            self._add(pieces, data[start:found])
            (self._number,) = _NUMBER.unpack(data[end - _NUMBER.size : end])
            start = end
        cut = found if found >= 0 else len(data) - self._begun(data, start)
        self._add(pieces, data[start:cut])
        self._rest = data[cut:]
        return pieces

    def finish(self) -> list[tuple[int, bytes]]:
        """What was held back: nothing more is there, so it is no mark."""
        pieces: list[tuple[int, bytes]] = []
        self._add(pieces, self._rest)
        self._rest = b""
        return pieces

    def _add(self, pieces: list[tuple[int, bytes]], data: bytes) -> None:
        if data:
            pieces.append((self._number, data))

    def _begun(self, data: bytes, start: int) -> int:
        """How many bytes at the end of ``data`` may be the beginning of a mark."""
        for length in range(min(SECRET_BYTES - 1, len(data) - start), 0, -1):
            if data.endswith(self._secret[:length]):
                return length
        return 0
