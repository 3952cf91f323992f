"""Runs from threads that are not the main one, and from inside asyncio."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from executor.body import Stream
from orchestrator.graph.flow import Flow
from orchestrator.graph.node import node

PLACES: tuple[Any, ...] = ("inline", "thread", "process")
in_each_place = pytest.mark.parametrize("place", PLACES)


def run_in(place: Any) -> object:
    """Run a flow with a stream, an async body and a body that calls asyncio itself."""

    @node(placement=place)
    def numbers() -> Any:
        yield from range(10)

    @node(placement=place)
    async def total(chunks: Stream[int]) -> int:
        return sum([chunk async for chunk in chunks])

    @node(placement=place)
    def runs_asyncio(x: int) -> int:
        return asyncio.run(asyncio.sleep(0, x))

    with Flow() as f:
        f.total = runs_asyncio(total(numbers()))
    f.run(workers=1)
    return f.total.get_data()


@in_each_place
def test_a_flow_runs_in_a_coroutine_of_asyncio_which_goes_on_afterwards(place: Any) -> None:
    async def main() -> object:
        ticks = []
        ticking = asyncio.create_task(asyncio.sleep(0, "ticked"))
        data = run_in(place)
        ticks.append(await ticking)
        assert asyncio.get_running_loop() is asyncio.get_event_loop()
        async with asyncio.timeout(10):
            await asyncio.sleep(0)
        return data, ticks

    assert asyncio.run(main()) == ((45,), ["ticked"])


@in_each_place
def test_a_flow_runs_in_a_thread_of_asyncio_beside_the_loop(place: Any) -> None:
    async def main() -> object:
        return await asyncio.gather(asyncio.to_thread(run_in, place), asyncio.sleep(0, "beside"))

    assert asyncio.run(main()) == [(45,), "beside"]


def test_flows_run_at_the_same_time_in_several_threads() -> None:
    results: list[object] = []
    threads = [
        threading.Thread(target=lambda place=place: results.append(run_in(place))) for place in PLACES
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [(45,)] * 3


def test_an_inline_body_may_run_a_flow_of_its_own() -> None:
    @node(placement="inline")
    async def nests() -> object:
        return run_in("inline")

    with Flow() as f:
        f.nests = nests()
    f.run(workers=0)
    assert f.nests.get_data() == ((45,),)
