"""Serialized Python objects, as they pass through processes that never open them."""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview


class Local(NamedTuple):
    """A value that stays in its process: the object itself, by reference (inline placement)."""

    object: object


Frames: TypeAlias = tuple[Buffer, ...]
"""A pickle stream and its out-of-band buffers, each a frame of its own in an envelope."""

Value: TypeAlias = bytes | Frames | Local
"""What a node's input, result or chunk is while it travels.

``bytes`` is one self-contained pickle stream, small enough to ride inside a message.
"""


def size_bytes(value: Value) -> int:
    """How many bytes the value takes while it travels; a local one takes none.

    >>> size_bytes(b"abc"), size_bytes((b"head", bytearray(10))), size_bytes(Local([1]))
    (3, 14, 0)
    """
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, Local):
        return 0
    return sum(_length_bytes(part) for part in value)


def _length_bytes(part: Buffer) -> int:
    return part.nbytes if isinstance(part, memoryview) else len(part)


INLINE_LIMIT_BYTES: Final = 16 * 1024
"""A longer pickle stream travels as a frame of its own, so that it is never copied into a message."""

VALUE_LIMIT_BYTES: Final = 1 << 32
"""No larger value travels: it would exhaust memory long before it arrived."""
