"""What a task of an executor costs: tiny tasks on 2 workers, beside the executors that others use.

    python benchmarks/executors.py

Throughput: 5,000 tasks in flight at once. Latency: submit one, wait for its result, 500 times. All take
turns, round by round; medians, and in the last column the ratio to ours within the same round.
"""

from __future__ import annotations

import multiprocessing
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from loky import ProcessPoolExecutor as LokyExecutor

from executor import ProcessExecutor

ROUNDS = 7
MANY = 5_000
SINGLE = 500


@dataclass
class Peer:
    """``many`` runs tasks all at once, ``one`` runs a single one."""

    many: Callable[[int], object]
    one: Callable[[], object]
    rates: list[float] = field(default_factory=list)
    latencies_us: list[float] = field(default_factory=list)

    def measure(self) -> None:
        started = perf_counter()
        self.many(MANY)
        self.rates.append(MANY / (perf_counter() - started))
        each: list[float] = []
        for _ in range(SINGLE):
            started = perf_counter()
            self.one()
            each.append(perf_counter() - started)
        self.latencies_us.append(statistics.median(each) * 1e6)


def executor_peer(executor: Any) -> Peer:
    def many(count: int) -> None:
        futures = [executor.submit(abs, number) for number in range(count)]
        wait(futures)

    return Peer(many, lambda: executor.submit(abs, 1).result())


def pool_peer(pool: Any) -> Peer:
    def many(count: int) -> None:
        for result in [pool.apply_async(abs, (number,)) for number in range(count)]:
            result.get()

    return Peer(many, lambda: pool.apply(abs, (1,)))


def main() -> None:
    with ExitStack() as stack:
        peers = {
            "ours": executor_peer(stack.enter_context(ProcessExecutor(2))),
            "ProcessPoolExecutor": executor_peer(stack.enter_context(ProcessPoolExecutor(2))),
            "loky": executor_peer(stack.enter_context(LokyExecutor(2))),
            "mp.Pool": pool_peer(stack.enter_context(multiprocessing.Pool(2))),
        }
        for peer in peers.values():
            peer.many(200)  # workers start, and what is learnt of the tasks is learnt
        for _ in range(ROUNDS):
            for peer in peers.values():
                peer.measure()
    ours = peers["ours"]
    for name, peer in peers.items():
        rate, latency = statistics.median(peer.rates), statistics.median(peer.latencies_us)
        faster = statistics.median(a / b for a, b in zip(ours.rates, peer.rates, strict=True))
        sooner = statistics.median(
            b / a for a, b in zip(ours.latencies_us, peer.latencies_us, strict=True)
        )
        print(
            f"{name:20} {rate:9,.0f} tasks/s  {latency:5.0f} us one at a time"
            f"  (ours: {faster:.2f} times the tasks, {1 / sooner:.2f} times the latency)"
        )


if __name__ == "__main__":
    main()
