"""Inline async bodies that meet at queues, locks and streams, under seeded orders of the loop."""

from __future__ import annotations

from typing import Any

import pytest

from executor.body import Stream
from orchestrator.event_loop import (
    AsyncQueue,
    CountdownLatch,
    Event,
    EventLoop,
    Lock,
    gather,
    sleep,
    spawn,
    timeout,
)
from orchestrator.graph.flow import Flow
from orchestrator.graph.node import node

ITEMS = [(producer, item) for producer in range(3) for item in range(5)]


@node(placement="inline")
async def count(count: int) -> Any:
    for number in range(count):
        await sleep(0)
        yield number


@node(placement="inline")
async def add(one: Stream[int], other: Stream[int]) -> int:
    async def total(chunks: Stream[int]) -> int:
        return sum([chunk async for chunk in chunks])

    spawned = await spawn(total(one))
    with timeout(10):
        [gathered] = await gather(total(other))
    return gathered + await spawned.join()


@pytest.mark.parametrize("seed", range(20))
def test_no_wake_up_is_lost_whatever_the_order(seed: int) -> None:
    queue: AsyncQueue[tuple[int, int]] = AsyncQueue(2)
    lock = Lock()
    producing = CountdownLatch(3)
    is_closed = Event()

    @node(placement="inline")
    async def produce(producer: int) -> None:
        for item in range(5):
            async with lock:
                await sleep(0)
                await queue.put((producer, item))
        producing.count_down()

    @node(placement="inline")
    async def close() -> None:
        await producing.wait()
        queue.close()
        is_closed.set()

    @node(placement="inline")
    async def consume() -> list[tuple[int, int]]:
        taken = []
        async for item in queue:
            taken.append(item)
            if len(taken) % 2:
                await sleep(0)
        await is_closed.wait()
        return taken

    with Flow() as f:
        f.add_nodes(close(), *(produce(producer) for producer in range(3)))
        f.one, f.other = consume(), consume()
        f.counts, f.more = count(6), count(7)
        f.sum, f.sum_too = add(f.counts, f.more), add(f.more, f.counts)
    f._event_loop = EventLoop(seed=seed)
    f.run(workers=0, timeout_s=60)
    assert sorted(f.one.get_data()[0] + f.other.get_data()[0]) == ITEMS
    assert f.sum.get_data() == f.sum_too.get_data() == (36,)
