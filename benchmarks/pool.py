"""How fast a pool comes up, sees a death and goes on, and what its crashes cost the others.

    python benchmarks/pool.py

Pools of 2 workers. Start-up is measured beside loky and a spawned ``ProcessPoolExecutor``.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import statistics
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path
from time import perf_counter

from orchestrator import ProcessExecutor

WORKERS = 2
ROUNDS = 5
DEATHS = 100
TASK_S = 0.002
INTERVAL_S = 0.1
STRETCH_S = 2.0


def nothing() -> None:
    return None


def pid_after(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def first_result_ms(make: Callable[[], Executor]) -> float:
    started = perf_counter()
    with make() as executor:
        futures = [executor.submit(pid_after, 0.0) for _ in range(WORKERS)]
        for future in futures:
            future.result()
        return 1000 * (perf_counter() - started)


def ours() -> Executor:
    return ProcessExecutor(WORKERS)


def spawned() -> Executor:
    return ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn"))


def loky() -> Executor:
    from loky import ProcessPoolExecutor as LokyExecutor  # noqa: PLC0415

    executor: Executor = LokyExecutor(WORKERS)
    return executor


def deaths_ms() -> list[float]:
    """From the submission of a task that kills its worker to the task's error."""
    found = []
    with ProcessExecutor(WORKERS) as executor:
        executor.submit(nothing).result()
        for _ in range(DEATHS):
            began = perf_counter()
            executor.submit(die).exception()
            found.append(1000 * (perf_counter() - began))
    return found


def tasks_per_second(*, crashes: bool) -> float:
    """Short tasks on one worker's share, while every 0.1 s a task kills its worker, or does not."""
    with ProcessExecutor(WORKERS) as executor:
        executor.submit(nothing).result()
        done = 0
        began = last = perf_counter()
        pending = [executor.submit(pid_after, TASK_S) for _ in range(4 * WORKERS)]
        while perf_counter() - began < STRETCH_S:
            pending.pop(0).result()
            done += 1
            pending.append(executor.submit(pid_after, TASK_S))
            if perf_counter() - last > INTERVAL_S:
                last = perf_counter()
                executor.submit(die if crashes else nothing)
        for future in pending:
            future.result()
        return done / STRETCH_S


def idle_worker_mib() -> float:
    """The proportional set size of a worker that has run a body."""
    with ProcessExecutor(WORKERS) as executor:
        pid = executor.submit(pid_after, 0.0).result()
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(text.partition("\nPss:")[2].split()[0]) / 1024


def main() -> None:
    makers = {"ours": ours, "loky": loky, "ProcessPoolExecutor (spawn)": spawned}
    times: dict[str, list[float]] = {name: [] for name in makers}
    for _ in range(ROUNDS):
        for name, make in makers.items():
            times[name].append(first_result_ms(make))
    for name, found in times.items():
        print(f"a result from each of {WORKERS} workers, {name}: {statistics.median(found):.0f} ms")
    found = sorted(deaths_ms())
    print(
        f"a task that kills its worker, to its error: median {statistics.median(found):.1f} ms, "
        f"p99 {found[int(len(found) * 0.99) - 1]:.1f} ms"
    )
    ratios = [tasks_per_second(crashes=True) / tasks_per_second(crashes=False) for _ in range(ROUNDS)]
    print(f"throughput while a worker dies every 0.1 s: {statistics.median(ratios):.2f} of what it is")
    print(f"an idle worker: {idle_worker_mib():.1f} MiB")


if __name__ == "__main__":
    main()
