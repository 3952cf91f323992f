"""What a task of an executor costs: tiny tasks on 2 workers, beside the executors that others use.

    python benchmarks/executors.py

Throughput: 2,000 tasks in flight at once. Latency: submit one, wait for its result, 200 times. All take
turns, round by round, each time another first, so that what else the machine does falls on all alike.
Printed are medians, and of the ratios within a round the median and the quartiles.
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

ROUNDS = 21
MANY = 2_000
SINGLE = 200


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
        names = list(peers)
        for number in range(ROUNDS):
            first = number % len(names)
            for name in names[first:] + names[:first]:
                peers[name].measure()
    ours = peers.pop("ours")
    print(f"{'ours':20} {line(ours)}")
    for name, peer in peers.items():
        rates = ratios(ours.rates, peer.rates)
        latencies = ratios(ours.latencies_us, peer.latencies_us)
        print(f"{name:20} {line(peer)}   ours: {rates} times the tasks, {latencies} times the latency")


def line(peer: Peer) -> str:
    rate, latency = statistics.median(peer.rates), statistics.median(peer.latencies_us)
    return f"{rate:9,.0f} tasks/s {latency:6.0f} us one at a time"


def ratios(ours: list[float], theirs: list[float]) -> str:
    """The median of the ratios, round by round, and between what half of them lie."""
    low, middle, high = statistics.quantiles([a / b for a, b in zip(ours, theirs, strict=True)], n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    main()
