"""The bodies beside a parallel map: they make a stream of a list, and one value of a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from executor.body import NO_VALUE, Stream


def split(items: Iterable[Any]) -> Iterator[Any]:
    """Each item as a chunk: what lets a map read a node that returns a list."""
    yield from items


def collect(chunks: Stream[Any]) -> list[Any]:
    """All chunks, in order: the final value of a map."""
    return list(chunks)


def are_equal(one: object, other: object) -> bool:
    """Whether a chunk that was yielded again is the one that was yielded before."""
    return bool(one == other)


def folding(accumulate: Callable[[Any, Any], object]) -> Callable[[Stream[Any]], object]:
    """A body that folds a stream with ``accumulate(accumulated, chunk)``, from its first chunk on.

    It returns NO_VALUE for a stream without chunks.
    """

    def fold(chunks: Stream[Any]) -> object:
        total = next(chunks, NO_VALUE)
        for chunk in chunks:
            total = accumulate(total, chunk)
        return total

    return fold
