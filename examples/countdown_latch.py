"""Two consumers wait on a latch until a producer has counted it down twice.

python examples/countdown_latch.py
"""

from __future__ import annotations

from orchestrator.event_loop import CountdownLatch, EventLoop, sleep, spawn


async def consume(name: str, latch: CountdownLatch) -> str:
    print(f"{name}: start, waiting for data")
    await latch.wait()
    print(f"{name}: received")
    return f"{name} done"


async def produce(latch: CountdownLatch) -> None:
    print("producer: preparing data")
    await sleep(0.1)
    print("producer: notifying the consumers")
    latch.count_down()
    latch.count_down()
    print("producer: all notified")


async def main() -> list[str]:
    latch = CountdownLatch(2)
    consumers = [await spawn(consume(f"consumer {number}", latch)) for number in (1, 2)]
    await (await spawn(produce(latch))).join()
    return [await consumer.join() for consumer in consumers]


if __name__ == "__main__":
    print(EventLoop().run_until_complete(main(), join=True))
