"""What planning costs per node: writing a flow, checking it, ``plan()``, and compiling it for workers.

    python benchmarks/planning.py

Each shape at 1,000, 10,000 and 100,000 nodes, in microseconds of processor time per node; the last
column is the cost per node at the largest size as a ratio of that at the smallest.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from time import process_time

from executor.code import encode_code
from orchestrator import Flow, node
from orchestrator.graph.compile import compile_flow
from protocol.serialization import dumps

SIZES = (1_000, 10_000, 100_000)


@node
def source(x: int = 0) -> int:
    return x


@node
def increment(x: int) -> int:
    return x + 1


@node
def join(left: int, right: int) -> int:
    return left + right


@node
def join_past(left: int, past: int = 0) -> int:
    return left + past


@node
def exchange(before: int = 0, after: int = 0) -> int:
    return before + after


def chain(_flow: Flow, count: int) -> None:
    last = source()
    for _ in range(count - 1):
        last = increment(last)


def stacked_diamonds(_flow: Flow, count: int) -> None:
    top = source()
    for _ in range(count // 3):
        top = join(increment(top), increment(top))


def fan_out(_flow: Flow, count: int) -> None:
    top = source()
    for _ in range(count - 1):
        increment(top)


def ladder_of_cycles(flow: Flow, count: int) -> None:
    """Rungs of two nodes that read each other, each rung fed by the one before."""
    left = source()
    for rung in range(count // 2):
        left = join_past(left, getattr(flow, f"right{rung}"))
        setattr(flow, f"right{rung}", increment(left))


def mesh(flow: Flow, count: int) -> None:
    """One component: every cell reads both its neighbours, and may begin."""
    for cell in range(count):
        before = getattr(flow, f"cell{max(0, cell - 1)}")
        after = getattr(flow, f"cell{min(count - 1, cell + 1)}")
        setattr(flow, f"cell{cell}", exchange(before, after))


def peeled(flow: Flow, count: int) -> None:
    """One component in which each cell can begin only when the one before it has."""
    setattr(flow, "cell0", exchange(after=flow.cell1))  # noqa: B010 - as the others
    for cell in range(1, count - 1):
        before = getattr(flow, f"cell{cell - 1}")
        setattr(flow, f"cell{cell}", join_past(before, getattr(flow, f"cell{cell + 1}")))
    setattr(flow, f"cell{count - 1}", increment(getattr(flow, f"cell{count - 2}")))


def tangle(flow: Flow, count: int) -> None:
    """One component: each cell reads two at random, of which it must await what is before it."""
    rng = random.Random(count)
    for cell in range(count):
        readings = [rng.randrange(count) for _ in range(2)]
        past = [getattr(flow, f"cell{other}") for other in readings]
        made = join_past(*past) if readings[0] < cell else exchange(*past)
        setattr(flow, f"cell{cell}", made)


def seconds(shape: Callable[[Flow, int], None], count: int) -> float:
    started = process_time()
    with Flow() as flow:
        shape(flow, count)
    flow.plan()
    compile_flow(flow, workers=2, encode_code=encode_code, encode_value=dumps)
    return process_time() - started


def main() -> None:
    seconds(chain, SIZES[0])
    print(f"{'us per node at':<18}" + "".join(f"{size:>10,}" for size in SIZES) + "     ratio")
    for shape in (chain, stacked_diamonds, fan_out, ladder_of_cycles, mesh, peeled, tangle):
        costs = [min(seconds(shape, size) for _ in range(2)) / size for size in SIZES]
        columns = "".join(f"{cost * 1e6:>10.1f}" for cost in costs)
        print(f"{shape.__name__:<18}{columns}{costs[-1] / costs[0]:>10.2f}")


if __name__ == "__main__":
    main()
