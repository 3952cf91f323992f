"""What a run costs grows with the flow, not with its square: counted in calls, not in seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import Flow, FlowDefinitionError, FlowInstrument, Stream, node


@node
def numbers(count: int) -> Any:
    yield from range(count)


@node
def one_more(numbers: Stream[int]) -> Any:
    for number in numbers:
        yield number + 1


@node
def total(numbers: Stream[int]) -> int:
    return sum(numbers)


@node
def first(numbers: Stream[int]) -> int:
    for number in numbers:
        return number
    return -1


@node
async def cancel_at_first(numbers: Stream[int]) -> int:
    async for number in numbers:
        await numbers.cancel()
        return number
    return -1


@node
def one_after_the_other(ones: Stream[int], others: Stream[int]) -> int:
    return sum(ones) + sum(others)


@node
def same(value: int) -> int:
    return value


@node
def failing(value: int) -> int:
    raise ValueError(value)


def chain(length: int) -> None:
    with Flow() as f:
        value = same(1)
        for _ in range(length):
            value = same(value)
    f.run(workers=0)


def pipeline(depth: int, end: Callable[..., object] = total) -> None:
    with Flow() as f:
        stream = numbers(2)
        for _ in range(depth):
            stream = one_more(stream)
        end(stream)
    f.run(workers=0)


def cancelled_pipeline(depth: int) -> None:
    pipeline(depth, cancel_at_first)


def left_pipeline(depth: int) -> None:
    pipeline(depth, first)


def reconvergent(count: int) -> None:
    """Each needs an edge widened (rule 52)."""
    with Flow() as f:
        for _ in range(count):
            stream = numbers(5)
            one_after_the_other(one_more(stream), one_more(stream))
    f.run(workers=0)


def readers(count: int) -> None:
    with Flow() as f:
        stream = numbers(4)
        for _ in range(count):
            total(stream)
    f.run(workers=0)


def leaving_readers(count: int) -> None:
    with Flow() as f:
        stream = numbers(4)
        for _ in range(count):
            first(stream)
    f.run(workers=0)


def unreached(count: int) -> None:
    with Flow() as f:
        value = failing(1)
        for _ in range(count):
            value = same(value)
    with pytest.raises(ValueError, match="1"):
        f.run(workers=0, terminate_on_node_error=False, stop_at_node_generation=(5,))


def observed(count: int) -> None:
    with Flow() as f:
        for number in range(count):
            same(number)
    with FlowInstrument():
        f.run(workers=0)


def undefined(count: int) -> None:
    f = Flow()
    with pytest.raises(FlowDefinitionError, match="did you mean"), f:
        reading_undefined_names(f, count)


def reading_undefined_names(f: Flow, count: int) -> None:
    for number in range(count):
        setattr(f, f"node_{number}", same(getattr(f, f"nod_{number}")))


SIZE = 100


@pytest.mark.parametrize(
    "run",
    [
        chain,
        pipeline,
        cancelled_pipeline,
        left_pipeline,
        reconvergent,
        readers,
        leaving_readers,
        unreached,
        observed,
        undefined,
    ],
)
def test_twice_the_flow_takes_about_twice_the_calls(run: Callable[[int], None]) -> None:
    run(2)  # imports, and what is made once
    once, twice = calls_of(run, SIZE), calls_of(run, 2 * SIZE)
    assert twice < 2.4 * once, (once, twice)


def calls_of(run: Callable[[int], None], size: int) -> int:
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        run(size)
    finally:
        sys.setprofile(None)
    return calls
