"""How fast a pool comes up, sees a death and goes on, and what its crashes cost the others.

    python benchmarks/pool.py

Pools of 2 workers. Start-up is measured beside loky and a spawned ``ProcessPoolExecutor``.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import statistics
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, ProcessPoolExecutor, wait
from pathlib import Path
from time import perf_counter

from orchestrator import ProcessExecutor

WORKERS = 2
ROUNDS = 5
DEATHS = 100
INTERVAL_S = 0.1
PAUSE_S = 0.03
STRETCH_S = 0.5
STRETCHES = 30
COUNT = 100_000  # some milliseconds
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


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


def count_to(number: int) -> None:
    for _ in range(number):
        pass


def wait_and_die(seconds: float) -> None:
    time.sleep(seconds)
    die()


def tasks_of_others(
    executor: Executor, ends: Callable[[float], None], others: int, pause_s: float
) -> int:
    """What gets done beside a task that waits and then ``ends``, again and again.

    ``others`` tasks are there at a time, so many as there are other workers. After its end the odd one
    begins again ``pause_s`` later, so every 0.1 s: when its place has been filled again, or at once.
    """
    done = 0
    running = {executor.submit(count_to, COUNT) for _ in range(others)}
    odd = executor.submit(ends, INTERVAL_S - pause_s)
    resting_until = math.inf
    give_up = perf_counter() + STRETCH_S
    while (now := perf_counter()) < give_up:
        if odd.done() and resting_until == math.inf:
            resting_until = now + pause_s
        if now >= resting_until:
            odd, resting_until = executor.submit(ends, INTERVAL_S - pause_s), math.inf
        ended, running = wait(running, timeout=0.005, return_when=FIRST_COMPLETED)
        done += len(ended)
        running |= {executor.submit(count_to, COUNT) for _ in ended}
    wait([*running, odd])
    return done


def left_to_others(workers: int, pause_s: float) -> float:
    """What others get done while a worker dies every 0.1 s, as a part of what they do else."""
    done = {time.sleep: 0, wait_and_die: 0}
    with ProcessExecutor(workers) as executor:
        executor.submit(count_to, 1).result()
        for number in range(STRETCHES):
            order = list(done) if number % 2 else list(reversed(done))
            for ends in order:
                done[ends] += tasks_of_others(executor, ends, workers - 1, pause_s)
                time.sleep(pause_s)
    return done[wait_and_die] / done[time.sleep]


def processor_ms_per_death() -> tuple[float, float, float]:
    """Of the pool's process, of the zygote, and of a worker from its birth to its death."""
    with ProcessExecutor(WORKERS) as executor:
        zygote = executor.submit(os.getppid).result()
        before = (time.process_time(), *processor_s(zygote))
        for _ in range(DEATHS):
            executor.submit(die).exception()
        after = (time.process_time(), *processor_s(zygote))
        used = [1000 * (end - start) / DEATHS for start, end in zip(before, after, strict=True)]
        return used[0], used[1], used[2]


def processor_s(pid: int) -> tuple[float, float]:
    """What a process has used, and its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own_user, own_system, user, system = (int(each) / TICKS_PER_S for each in fields[11:15])
    return own_user + own_system, user + system


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
    for workers in (WORKERS, WORKERS + 1):
        left, shared = left_to_others(workers, PAUSE_S), left_to_others(workers, 0.0)
        print(
            f"while one of {workers} workers dies every 0.1 s, the others do {left:.3f} of what they do "
            f"else; {shared:.3f} if what kills it takes another's place until it has been replaced"
        )
    pool, zygote, worker = processor_ms_per_death()
    print(
        f"a death costs {pool:.1f} ms of a processor in the pool's process, {zygote:.1f} ms in the "
        f"zygote, and {worker:.1f} ms for the life of a worker"
    )
    print(f"an idle worker: {idle_worker_mib():.1f} MiB")


if __name__ == "__main__":
    main()
