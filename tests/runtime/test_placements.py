"""Property: a flow gives the same values inline, in the thread and on two workers (I10, DESIGN 4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from executor.body import SKIP, Stream, StreamCancelled
from executor.pool import Pool
from orchestrator.event_loop import sleep
from orchestrator.graph.flow import Flow
from orchestrator.graph.node import node

PLACES = ("inline", "thread", "process")


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(2) as shared:
        shared.wait_ready()
        yield shared


# Bodies, each in all placements: sources of a stream, what makes one of another, what ends one.


def counts(count: int) -> Any:
    yield from range(count)


async def sleeps_and_counts(count: int) -> Any:
    for number in range(count):
        if number % 3 == 0:
            await sleep(0)
        yield number
    raise StopAsyncIteration(count)


def stops_when_cancelled(count: int) -> Any:
    try:
        yield from range(count)
    except StreamCancelled:
        return "cancelled"
    return "not cancelled"


def doubles(chunks: Stream[int]) -> Any:
    for chunk in chunks:
        yield 2 * chunk


async def pairs(chunks: Stream[int]) -> Any:
    async for chunk in chunks:
        yield chunk
        await sleep(0)
        yield -chunk


class Remembers:
    def __init__(self) -> None:
        self.seen: list[int] = []

    async def call(self, chunks: Stream[int]) -> Any:
        async for chunk in chunks:
            self.seen.append(chunk)
            yield len(self.seen) * chunk


def total(chunks: Stream[int]) -> int:
    return sum(chunks)


async def listed(chunks: Stream[int]) -> list[int]:
    return [chunk async for chunk in chunks]


async def first_three(chunks: Stream[int]) -> list[int]:
    taken = []
    async for chunk in chunks:
        taken.append(chunk)
        if len(taken) == 3:
            await chunks.cancel()
    return taken


def skips_odd(chunks: Stream[int]) -> Any:
    count = sum(1 for _ in chunks)
    return SKIP if count % 2 else count


SOURCES: tuple[Any, ...] = (counts, sleeps_and_counts, stops_when_cancelled)
STAGES: tuple[Any, ...] = (doubles, pairs, Remembers)
ENDS: tuple[Any, ...] = (total, listed, skips_odd)
TEMPLATES: dict[tuple[Callable[..., Any], str], Any] = {
    (body, place): node(placement=place, window=0)(body)  # type: ignore[call-overload]
    for body in (*SOURCES, *STAGES, *ENDS, first_three)
    for place in PLACES
}
Shape = tuple[int, Any, list[tuple[Any, int]], list[tuple[Any, int]]]
SHAPES: st.SearchStrategy[Shape] = st.tuples(
    st.integers(0, 12),
    st.sampled_from(SOURCES),
    st.lists(st.tuples(st.sampled_from(STAGES), st.integers(0, 2)), max_size=3),
    st.lists(st.tuples(st.sampled_from(ENDS), st.integers(0, 3)), min_size=1, max_size=3)
    | st.tuples(st.just(first_three), st.integers(0, 3)).map(lambda end: [end]),
)


def values(shape: Shape, place_of: Callable[[int], str], pool: Pool | None) -> list[object]:
    """Run one graph: a source, stages that read any stream before them, ends that read any stream."""
    count, source, stages, ends = shape
    number = iter(range(20))
    with Flow() as f:
        streams = [TEMPLATES[source, place_of(next(number))](count)]
        for body, reads in stages:
            streams.append(TEMPLATES[body, place_of(next(number))](streams[reads % len(streams)]))
        read = [
            TEMPLATES[body, place_of(next(number))](streams[reads % len(streams)])
            for body, reads in ends
        ]
        f.add_nodes(*read)
    f.run(workers=0) if pool is None else f.run(pool=pool)
    # How far a cancelled stream comes depends on the schedule (A4); what its canceller takes does not.
    compared = read if ends[0][0] is first_three else [*streams, *read]
    return [end.get_data() for end in compared]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shape=SHAPES, mixture=st.lists(st.sampled_from(PLACES), min_size=8, max_size=8))
def test_i10_placements_give_the_same_values(shape: Shape, mixture: list[str], pool: Pool) -> None:
    inline = values(shape, lambda _: "inline", None)
    assert values(shape, lambda _: "thread", None) == inline
    assert values(shape, lambda _: "process", pool) == inline
    assert values(shape, lambda number: mixture[number % 8], pool) == inline
