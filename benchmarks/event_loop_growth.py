"""Whether a cancel, a timer and a look-up cost more beside many other tasks."""

from __future__ import annotations

import statistics
from time import perf_counter

from orchestrator.event_loop import EventLoop, current_event_loop, sleep, spawn

CROWDS = (1_000, 10_000, 100_000)
SAMPLES = 500
Costs = tuple[float, float, float]  # seconds for a cancel, a timer, a look-up


async def _beside(crowd: int) -> Costs:
    loop = current_event_loop()
    for _ in range(crowd):
        loop.create_task(sleep(1_000))
    coroutines = [sleep(1_000) for _ in range(SAMPLES)]
    for coroutine in coroutines:
        loop.create_task(coroutine)
    await sleep(0)

    started = perf_counter()
    for _ in range(SAMPLES):
        loop.timers.discard(loop.timers.add(loop.now() + 500, _nothing))
    timer_s = perf_counter() - started

    started = perf_counter()
    for coroutine in coroutines:
        loop.cancel(coroutine)  # finds the task, and cancels it
    look_up_s = perf_counter() - started

    await sleep(0)
    tasks = [await spawn(sleep(1_000)) for _ in range(SAMPLES)]
    started = perf_counter()
    for task in tasks:
        task.cancel()
    await sleep(0)
    cancel_s = perf_counter() - started
    return cancel_s / SAMPLES, timer_s / SAMPLES, look_up_s / SAMPLES


def _nothing() -> None:
    pass


def measure(rounds: int) -> None:
    print("\ncost of one operation beside other tasks, in us")
    print(f"  {'other tasks':>12}{'cancel':>10}{'timer':>10}{'look-up':>10}")
    taken: dict[int, list[Costs]] = {crowd: [] for crowd in CROWDS}
    for _ in range(rounds):
        for crowd in CROWDS:
            costs = EventLoop().run_until_complete(
                _beside(crowd), join=True, wait_for_spawned_tasks=False
            )
            assert costs is not None
            taken[crowd].append(costs)
    for crowd, all_costs in taken.items():
        medians = [statistics.median(column) * 1e6 for column in zip(*all_costs, strict=True)]
        print(f"  {crowd:12,}" + "".join(f"{median:10.2f}" for median in medians))
