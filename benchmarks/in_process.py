"""Flows in one process, beside the in-process library that has the same semantics (flowno).

    python benchmarks/in_process.py

A chain, a cycle of two nodes and a stream, in turns: prints how many times as long theirs takes, in the
median and in the worst round, and what a generation and a chunk cost here at growing lengths, as ratios
to the shortest. Their cost grows with the square of the length: give it minutes. It is processor time,
so that a busy machine tells too; imports, and garbage of the round before, are counted to neither.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import AsyncIterator, Callable
from time import process_time
from typing import Any

import flowno as theirs_untyped

from orchestrator import Flow, Stream, node

flowno: Any = theirs_untyped  # it ships no types

ROUNDS = 3
CHAIN_ROUNDS = 7
CHAIN = 1_000
GENERATIONS = 4_000
CHUNKS = 4_000
LENGTHS = (1_000, 10_000, 100_000)


@node
def increment(x: int = 0) -> int:
    return x + 1


@node
def numbers(count: int) -> Any:
    yield from range(count)


@node
def total(chunks: Stream[int]) -> int:
    return sum(chunks)


async def _increment(x: int = 0) -> int:
    return x + 1


async def _numbers(count: int) -> AsyncIterator[int]:
    for index in range(count):
        yield index


async def _total(chunks: AsyncIterator[int]) -> int:
    result = 0
    async for chunk in chunks:
        result += chunk
    return result


their_increment = flowno.node(_increment)
their_numbers = flowno.node(_numbers)
their_total = flowno.node(stream_in=["chunks"])(_total)


def seconds(run: Callable[[], object]) -> float:
    gc.collect()
    started = process_time()
    run()
    return process_time() - started


def our_chain(count: int) -> Callable[[], object]:
    with Flow() as flow:
        value = increment(0)
        for _ in range(count - 1):
            value = increment(value)
    return lambda: flow.run(workers=0)


def our_cycle(generations: int) -> Callable[[], object]:
    with Flow() as flow:
        flow.one = increment(flow.two)
        flow.two = increment(flow.one)
    return lambda: flow.run(workers=0, stop_at_node_generation={flow.two: (generations - 1,)})


def our_stream(chunks: int) -> Callable[[], object]:
    with Flow() as flow:
        flow.total = total(numbers(chunks))
    return lambda: flow.run(workers=0)


def their_chain(count: int) -> Callable[[], object]:
    with flowno.FlowHDL() as flow:
        value = their_increment(0)
        for _ in range(count - 1):
            value = their_increment(value)
    run: Callable[[], object] = flow.run_until_complete
    return run


def their_cycle(generations: int) -> Callable[[], object]:
    with flowno.FlowHDL() as flow:
        flow.one = their_increment(flow.two)
        flow.two = their_increment(flow.one)

    def run() -> None:
        try:
            flow.run_until_complete(stop_at_node_generation=(generations - 1,))
        except flowno.TerminateLimitReached:
            pass

    return run


def their_stream(chunks: int) -> Callable[[], object]:
    with flowno.FlowHDL() as flow:
        flow.total = their_total(their_numbers(chunks))
    run: Callable[[], object] = flow.run_until_complete
    return run


def main() -> None:
    cases = (
        (f"chain of {CHAIN:,} nodes", our_chain, their_chain, CHAIN, CHAIN_ROUNDS),
        (f"cycle of {GENERATIONS:,} generations", our_cycle, their_cycle, GENERATIONS, ROUNDS),
        (f"stream of {CHUNKS:,} chunks", our_stream, their_stream, CHUNKS, ROUNDS),
    )
    for name, ours, theirs, count, rounds in cases:
        seconds(ours(10))
        seconds(theirs(10))
        turns = [(seconds(ours(count)), seconds(theirs(count))) for _ in range(rounds)]
        ratios = [other / mine for mine, other in turns]
        each = statistics.median(mine for mine, _ in turns) / count * 1e6
        print(
            f"{name}: flowno takes {statistics.median(ratios):.1f} times as long, "
            f"{min(ratios):.1f} in the worst of {rounds} rounds ({each:.1f} us each here)",
            flush=True,
        )
    for name, ours in (("generation", our_cycle), ("chunk", our_stream)):
        costs = [
            statistics.median(seconds(ours(length)) / length for _ in range(ROUNDS))
            for length in LENGTHS
        ]
        growth = ", ".join(
            f"{length:,}: {cost / costs[0]:.2f}" for length, cost in zip(LENGTHS, costs, strict=True)
        )
        print(f"cost per {name} relative to {LENGTHS[0]:,}: {growth}")


if __name__ == "__main__":
    main()
