"""The final value of a generator: what its chunks add up to, made where the generator runs.

SEMANTICS 42-44 and A5. Linear in the chunks: numbers are folded, strings and bytes are collected and
joined once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from executor.blueprint import FOLD_METHOD
from executor.code import Accumulate, LoadedCode
from protocol.messages import Absence, Missing

UNREAD_LIMIT_BYTES: Final = 1 << 20
"""Where nobody reads the final value and nobody asked for it, collecting stops here (A5)."""

_NO_CHUNK: Final = "the generator yielded no chunk"
_SUMMABLE: Final = (int, float, str, bytes)
_EMPTY: Final[dict[type, str | bytes]] = {str: "", bytes: b""}


def accumulator(code: LoadedCode, body: Callable[..., Any], *, is_read: bool) -> Accumulator | ChunkFold:
    """What adds up the chunks of one run; ``body`` is a bound method where the code is a class."""
    if code.shape.is_class:
        own = getattr(body.__self__, FOLD_METHOD, None)  # type: ignore[attr-defined]  # a method
        if own is not None:
            return ChunkFold(own, multiple_outputs=code.multiple_outputs)
    return Accumulator(code.accumulate, is_read=is_read)


class Accumulator:
    """Adds up the chunks of one run, each a tuple with one element per output."""

    __slots__ = ("_columns", "_how", "_kept_bytes", "_limit_bytes", "_reason")

    def __init__(self, how: Accumulate, *, is_read: bool) -> None:
        self._how = how
        self._columns: list[_Column] | None = None
        self._reason = _NO_CHUNK
        self._kept_bytes = 0
        self._limit_bytes = None if is_read or how is not None else UNREAD_LIMIT_BYTES

    def add(self, chunk: tuple[object, ...]) -> None:
        """Take one more chunk; what a folding function of the user's raises comes through."""
        columns = self._columns
        if columns is None:
            if self._reason is not _NO_CHUNK:
                return
            self._columns = columns = [_Column(self._how) for _ in chunk]
        if len(columns) != len(chunk):
            self._give_up(f"chunks of {len(columns)} and of {len(chunk)} outputs cannot be added")
            return
        for port, (column, element) in enumerate(zip(columns, chunk, strict=True)):
            try:
                self._kept_bytes += column.add(element)
            except _NotSummableError as error:
                self._give_up(f"output {port}: {error}")
                return
        if self._limit_bytes is not None and self._kept_bytes > self._limit_bytes:
            self._give_up(
                f"not kept: nothing reads it and it passed {self._limit_bytes} bytes; "
                "give the node accumulate= to have it"
            )

    def final(self) -> tuple[object, ...] | Missing:
        """The sum so far, one element per output, or why there is none."""
        if self._columns is None:
            return Missing(Absence.NO_VALUE, self._reason)
        return tuple(column.total() for column in self._columns)

    def _give_up(self, reason: str) -> None:
        self._columns = None
        self._reason = reason


class ShapeError(ValueError):
    """A result is not what the node's outputs ask for."""


class ChunkFold:
    """Adds up the chunks of one run by the node's own method, ``(accumulated, chunk)``.

    Both are what the body yields: with several outputs, tuples of one element each.
    """

    __slots__ = ("_fold", "_has_tuples", "_is_empty", "_total")

    def __init__(self, fold: Callable[[Any, Any], object], *, multiple_outputs: bool) -> None:
        self._fold = fold
        self._has_tuples = multiple_outputs
        self._is_empty = True
        self._total: object = None

    def add(self, chunk: tuple[object, ...]) -> None:
        """Take one more chunk; what the method raises comes through."""
        yielded = chunk if self._has_tuples else chunk[0]
        self._total = yielded if self._is_empty else self._fold(self._total, yielded)
        self._is_empty = False

    def final(self) -> tuple[object, ...] | Missing:
        if self._is_empty:
            return Missing(Absence.NO_VALUE, _NO_CHUNK)
        if not self._has_tuples:
            return (self._total,)
        if not isinstance(self._total, tuple):
            raise ShapeError(
                f"{FOLD_METHOD} returned {type(self._total).__name__}; "
                "with multiple_outputs=True it must be a tuple, one element per output"
            )
        return self._total


class _NotSummableError(Exception):
    pass


class _Column:
    """One output's chunks."""

    __slots__ = ("_collects", "_fold", "_parts", "_total", "_type")

    def __init__(self, how: Accumulate) -> None:
        self._collects = how is list
        self._fold: Callable[[Any, Any], object] | None = None if self._collects else how
        self._type: type | None = None  # which of _SUMMABLE; None before the first chunk
        self._total: Any = None
        self._parts: list[Any] = []

    def add(self, element: object) -> int:
        """Returns how many bytes it keeps because of this element."""
        if self._collects:
            self._parts.append(element)
            return 0
        if self._type is None:
            self._type = _summable_type(element) or type(element)
            self._total = element
        elif self._fold is not None:
            self._total = self._fold(self._total, element)
            return 0
        elif _summable_type(element) is not self._type:
            raise _NotSummableError(
                f"chunks of type {self._type.__name__} and {type(element).__name__} cannot be added"
            )
        elif self._type not in _EMPTY:
            self._total += element
            return 0
        if self._type in _EMPTY and self._fold is None:
            self._parts.append(element)
            return len(element)  # type: ignore[arg-type]  # str or bytes
        return 0

    def total(self) -> object:
        if self._collects:
            return self._parts
        if self._fold is None and self._type in _EMPTY:
            return _EMPTY[self._type].join(self._parts)
        return self._total


def _summable_type(element: object) -> type | None:
    # In this order: a bool sums as int (rule 42).
    return next((kind for kind in _SUMMABLE if isinstance(element, kind)), None)
