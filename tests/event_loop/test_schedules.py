"""A program of everything, under a thousand orders: the same results, and nothing is left."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from orchestrator.event_loop import (
    AsyncQueue,
    Barrier,
    Condition,
    CountdownLatch,
    Event,
    EventLoop,
    Lock,
    TaskCancelled,
    VirtualClock,
    gather,
    race,
    sleep,
    spawn,
    timeout,
)

WORKERS = 4
ITEMS = 12


async def program() -> dict[str, Any]:  # noqa: C901, PLR0915 - the more in it the better
    """Queues, locks, conditions, latches, barriers, cancels and timeouts; its result has no order."""
    queue = AsyncQueue[int](maxsize=2)
    lock, condition = Lock(), Condition()
    latch, barrier, begun = CountdownLatch(WORKERS), Barrier(WORKERS), Event()
    taken: list[int] = []
    state = {"inside": 0, "total": 0, "ready": 0, "timeouts": 0, "cancelled": 0}

    async def produce(first: int) -> None:
        await begun.wait()
        for item in range(first, first + ITEMS):
            await queue.put(item)

    async def consume() -> None:
        await barrier.wait()
        latch.count_down()
        async for item in queue:
            taken.append(item)
            async with lock:
                assert state["inside"] == 0
                state["inside"] += 1
                await sleep(0)
                state["total"] += item
                state["inside"] -= 1
        async with condition:
            state["ready"] += 1
            condition.notify_all()

    async def give_up() -> None:
        try:
            with timeout(1):
                async with condition:
                    await condition.wait()
                await sleep(10)
        except TimeoutError:
            state["timeouts"] += 1

    async def be_cancelled() -> None:
        try:
            await AsyncQueue[int]().get()
        except TaskCancelled:
            async with lock:
                state["cancelled"] += 1
            raise

    impatient = [await spawn(give_up()) for _ in range(3)]
    doomed = [await spawn(be_cancelled()) for _ in range(3)]
    thieves = [await spawn(queue.get()) for _ in range(2)]  # cancelled before there is an item
    consumers = [await spawn(consume()) for _ in range(WORKERS)]
    await latch.wait()
    for thief in thieves:
        await thief.cancel()
    begun.set()
    await gather(produce(0), produce(1_000))
    queue.close()
    await gather(*(consumer.join() for consumer in consumers))
    async with condition:
        while state["ready"] < WORKERS:
            await condition.wait()
    for task in doomed:
        await task.cancel()
    for task in impatient:
        await task.join()
    winner = await race(sleep(3), sleep(2))
    return {**state, "taken": sorted(taken), "winner": winner}


EXPECTED = {
    "inside": 0,
    "total": sum(range(ITEMS)) + sum(range(1_000, 1_000 + ITEMS)),
    "ready": WORKERS,
    "timeouts": 3,
    "cancelled": 3,
    "taken": [*range(ITEMS), *range(1_000, 1_000 + ITEMS)],
    "winner": 2,
}


@pytest.mark.parametrize("block", range(10))
def test_a_thousand_schedules_end_alike_and_leave_no_task(block: int) -> None:
    for seed in range(100 * block, 100 * (block + 1)):
        loop = EventLoop(VirtualClock(), seed)
        assert loop.run_until_complete(program(), join=True) == EXPECTED, f"seed {seed}"
        assert not loop.has_living_tasks()


@pytest.mark.parametrize("block", range(5))
def test_cancels_at_random_moments_leave_every_primitive_usable(block: int) -> None:
    """Whoever is cancelled, when: the lock is free, the condition works, no item is lost."""
    for seed in range(40 * block, 40 * (block + 1)):
        EventLoop(VirtualClock(), seed).run_until_complete(_torment(Random(seed)), join=True)


async def _torment(random: Random) -> None:
    lock, queue = Lock(), AsyncQueue[int](maxsize=2)
    condition = Condition(lock)
    put: list[int] = []
    got: list[int] = []

    async def worker(number: int) -> None:
        async with lock:
            await sleep(random.choice([0, 1]))
        async with condition:
            if random.random() < 0.5:
                condition.notify()
            else:
                await condition.wait()
        await queue.put(number)
        put.append(number)
        got.append(await queue.get())

    tasks = [await spawn(worker(number)) for number in range(12)]
    for task in random.sample(tasks, 8):
        await sleep(random.choice([0, 0, 1]))
        task.cancel()
    while any(task.is_living for task in tasks):
        async with condition:
            condition.notify_all()
        await sleep(0)
        _check(queue)
    assert not lock.is_locked()
    queue.close()
    got += [item async for item in queue]
    assert sorted(got) == sorted(put)


def _check(queue: AsyncQueue[Any]) -> None:
    """The invariants that the queue's module states."""
    promised, reserved, resting = queue._promised, queue._reserved, len(queue)
    assert 0 <= promised <= resting
    assert not queue._getters or promised == resting
    assert queue.maxsize is not None
    assert resting + reserved <= queue.maxsize
    assert not queue._putters or resting + reserved == queue.maxsize
