"""What a node costs: independent no-op nodes on 2 workers, beside multiprocessing.Pool.

    python benchmarks/nodes.py

Prints nodes per second, the cost per node at 10,000 nodes as a ratio of that at 1,000, and chains.
"""

from __future__ import annotations

import multiprocessing
import statistics
from time import perf_counter

from orchestrator import Flow, Pool, node

ROUNDS = 5
FEW = 1_000
MANY = 10_000


@node
def nothing() -> None:
    return None


@node
def increment(x: int) -> int:
    return x + 1


def independent(count: int) -> Flow:
    with Flow() as flow:
        for _ in range(count):
            nothing()
    return flow


def chain(count: int) -> Flow:
    with Flow() as flow:
        value = increment(0)
        for _ in range(count - 1):
            value = increment(value)
    return flow


def seconds_per_node(flow: Flow, count: int, pool: Pool) -> float:
    started = perf_counter()
    flow.run(pool=pool)
    return (perf_counter() - started) / count


def peer_nothing(_: object) -> None:
    return None


def peer_seconds_per_call(pool: multiprocessing.pool.Pool) -> float:
    started = perf_counter()
    for _ in pool.imap(peer_nothing, range(MANY)):
        pass
    return (perf_counter() - started) / MANY


def main() -> None:
    figures: dict[str, list[float]] = {"few": [], "many": [], "chain": [], "peer": []}
    with multiprocessing.get_context("spawn").Pool(2) as peer, Pool(2) as pool:
        independent(10).run(pool=pool)
        peer_seconds_per_call(peer)
        for _ in range(ROUNDS):
            figures["few"].append(seconds_per_node(independent(FEW), FEW, pool))
            figures["many"].append(seconds_per_node(independent(MANY), MANY, pool))
            figures["chain"].append(seconds_per_node(chain(FEW), FEW, pool))
            figures["peer"].append(peer_seconds_per_call(peer))
    median = {name: statistics.median(values) for name, values in figures.items()}
    print(f"independent no-op nodes, {MANY}: {1 / median['many']:,.0f}/s")
    print(f"cost per node at {MANY} / at {FEW}: {median['many'] / median['few']:.2f}")
    print(f"chain of {FEW}: {median['chain'] * 1e6:.0f} us per node")
    print(
        f"cost per node / per call of multiprocessing.Pool.imap: {median['many'] / median['peer']:.2f}"
    )


if __name__ == "__main__":
    main()
