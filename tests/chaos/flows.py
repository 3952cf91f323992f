"""A flow that passes every kill point, and what it must come to."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from orchestrator import Flow, Stream, node

NUMBERS = 6
CHUNKS = 8


def in_body() -> None:
    """The kill point in the middle of a body, where there is one."""
    injected: Any = sys.modules.get("sitecustomize")
    if hasattr(injected, "pass_point"):
        injected.pass_point(5)


@node
def square(number: int) -> int:
    in_body()
    return number * number


@node
def large(number: int) -> bytes:
    in_body()
    return bytes([number]) * 100_000


@node
def length(data: bytes) -> int:
    return len(data) + data[0]


@node
def count_up(upto: int) -> Iterator[int]:
    for number in range(upto):
        in_body()
        yield number


@node
def total(numbers: Stream[int]) -> int:
    return sum(numbers)


@node
def first_two(numbers: Stream[int]) -> int:
    found = []
    for number in numbers:
        found.append(number)
        if len(found) == 2:
            numbers.cancel()
            break
    return sum(found)


@node
class Tally:
    seen = 0

    def call(self, number: int) -> int:
        in_body()
        self.seen += number
        return self.seen


@node
def add(a: int, b: int) -> int:
    return a + b


def everything() -> tuple[Flow, list[Any]]:
    """The flow, and the nodes whose values are its results."""
    with Flow() as flow:
        ends: list[Any] = [square(number) for number in range(NUMBERS)]
        ends += [length(large(number)) for number in range(1, 3)]
        ends.append(total(count_up(CHUNKS)))
        ends.append(first_two(count_up(CHUNKS)))
        tally: Any = Tally
        tallied = tally(square(3))
        ends.append(tallied)
        ends.append(add(tallied, ends[1]))
    return flow, ends


EXPECTED = [
    *(number * number for number in range(NUMBERS)),
    *(100_000 + number for number in range(1, 3)),
    sum(range(CHUNKS)),
    1,
    9,
    10,
]
