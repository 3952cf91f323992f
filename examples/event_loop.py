"""A tour of the event loop: tasks, a queue, a timeout, a cancel.

python examples/event_loop.py
"""

from __future__ import annotations

from orchestrator.event_loop import AsyncQueue, EventLoop, TaskCancelled, gather, sleep, spawn, timeout


async def produce(queue: AsyncQueue[int], name: str, delay_s: float) -> None:
    for number in range(3):
        await sleep(delay_s)
        await queue.put(number)
        print(f"{name} put {number}")


async def consume(queue: AsyncQueue[int]) -> int:
    return sum([number async for number in queue])  # ends when the queue is closed and empty


async def watch() -> None:
    try:
        while True:
            await sleep(1)
    except TaskCancelled:
        print("watch: cancelled, cleaning up")
        await sleep(0.01)
        raise


async def main() -> int:
    queue = AsyncQueue[int](maxsize=2)
    watching = await spawn(watch())
    consuming = await spawn(consume(queue))

    await gather(produce(queue, "fast", 0.02), produce(queue, "slow", 0.05))
    queue.close()
    total = await consuming.join()

    try:
        async with timeout(0.05):
            await sleep(10)
    except TimeoutError as error:
        print(f"timeout: {error}")

    await watching.cancel()
    return total


if __name__ == "__main__":
    print("total", EventLoop().run_until_complete(main(), join=True))
