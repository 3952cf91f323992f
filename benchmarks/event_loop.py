"""What the event loop costs beside asyncio, uvloop and trio, measured in one run.

    python -m benchmarks.event_loop [--rounds N] [switches|queue|spawn|cancel|echo|growth ...]

Each line is a workload. The contenders take turns, so that a disturbance of the machine meets all of
them; each figure is the median of the rounds. The ratios are ours to theirs: above 1 ours is faster.
``growth`` shows the cost of one cancel, one timer and one look-up beside 1,000, 10,000 and 100,000 other
tasks: it must not grow with their number.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
from collections.abc import Callable, Coroutine
from typing import Any

import trio
import uvloop

from benchmarks import event_loop_growth as growth
from benchmarks import event_loop_others as others
from benchmarks import event_loop_ours as ours

Runner = Callable[[Callable[[], Coroutine[Any, Any, float]]], float]

SWITCHES = 200_000
ITEMS = 200_000
SPAWNS = 50_000
SLEEPERS = 20_000
CONNECTIONS = 1_000
MESSAGES = 20  # echoed on each connection


def with_ours(main: Callable[[], Coroutine[Any, Any, float]]) -> float:
    result = ours.EventLoop().run_until_complete(main(), join=True)
    assert result is not None
    return result


def with_asyncio(main: Callable[[], Coroutine[Any, Any, float]]) -> float:
    return asyncio.run(main())


def with_uvloop(main: Callable[[], Coroutine[Any, Any, float]]) -> float:
    result: float = uvloop.run(main())
    return result


def with_trio(main: Callable[[], Coroutine[Any, Any, float]]) -> float:
    return trio.run(main)


# Each main returns the seconds that its measured part took.
WORKLOADS: dict[
    str, tuple[int, str, list[tuple[str, Runner, Callable[[], Coroutine[Any, Any, float]]]]]
] = {
    "switches": (
        SWITCHES,
        "switches between 100 tasks",
        [
            ("ours", with_ours, lambda: ours.switches(SWITCHES)),
            ("asyncio", with_asyncio, lambda: others.switches(SWITCHES)),
            ("uvloop", with_uvloop, lambda: others.switches(SWITCHES)),
            ("trio", with_trio, lambda: others.trio_switches(SWITCHES)),
        ],
    ),
    "queue": (
        ITEMS,
        "items through a queue of 100",
        [
            ("ours", with_ours, lambda: ours.queue(ITEMS)),
            ("asyncio", with_asyncio, lambda: others.queue(ITEMS)),
            ("uvloop", with_uvloop, lambda: others.queue(ITEMS)),
            ("trio", with_trio, lambda: others.trio_queue(ITEMS // 10, scale=10)),
        ],
    ),
    "spawn": (
        SPAWNS,
        "tasks spawned and joined",
        [
            ("ours", with_ours, lambda: ours.spawn_and_join(SPAWNS)),
            ("asyncio", with_asyncio, lambda: others.spawn_and_join(SPAWNS)),
            ("uvloop", with_uvloop, lambda: others.spawn_and_join(SPAWNS)),
            ("trio", with_trio, lambda: others.trio_spawn_and_join(SPAWNS // 10, scale=10)),
        ],
    ),
    "cancel": (
        SLEEPERS,
        "sleepers cancelled and joined",
        [
            ("ours", with_ours, lambda: ours.cancel(SLEEPERS)),
            ("asyncio", with_asyncio, lambda: others.cancel(SLEEPERS)),
            ("uvloop", with_uvloop, lambda: others.cancel(SLEEPERS)),
            ("trio", with_trio, lambda: others.trio_cancel(SLEEPERS)),
        ],
    ),
    "echo": (
        CONNECTIONS * MESSAGES,
        f"messages echoed on {CONNECTIONS} TCP connections",
        [
            ("ours", with_ours, lambda: ours.echo(CONNECTIONS, MESSAGES)),
            ("asyncio sockets", with_asyncio, lambda: others.echo_sockets(CONNECTIONS, MESSAGES)),
            ("asyncio streams", with_asyncio, lambda: others.echo_streams(CONNECTIONS, MESSAGES)),
            ("asyncio protocols", with_asyncio, lambda: others.echo_protocols(CONNECTIONS, MESSAGES)),
            ("uvloop streams", with_uvloop, lambda: others.echo_streams(CONNECTIONS, MESSAGES)),
        ],
    ),
}


def measure(name: str, rounds: int) -> None:
    count, title, contenders = WORKLOADS[name]
    seconds: dict[str, list[float]] = {who: [] for who, _, _ in contenders}
    for _ in range(rounds):
        for who, run, main in contenders:
            seconds[who].append(run(main))
    rates = {who: count / statistics.median(taken) for who, taken in seconds.items()}
    print(f"\n{title}")
    for who, rate in rates.items():
        ratio = "" if who == "ours" else f"   ours / {who}: {rates['ours'] / rate:.2f}"
        print(f"  {who:18}{rate / 1e6:8.3f} M/s{ratio}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("workloads", nargs="*", choices=[*WORKLOADS, "growth", []])
    arguments = parser.parse_args()
    for name in arguments.workloads or [*WORKLOADS, "growth"]:
        if name == "growth":
            growth.measure(arguments.rounds)
        else:
            measure(name, arguments.rounds)


if __name__ == "__main__":
    main()
