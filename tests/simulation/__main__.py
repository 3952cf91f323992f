"""Plays schedules: ``python -m tests.simulation --seed 7`` or ``--schedules 100000``."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import Counter

from tests.simulation.faults import KillPoint
from tests.simulation.schedule import Schedule

FAILURES_AT_MOST = 20


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="play this one and print its log")
    parser.add_argument("--schedules", type=int, default=1_000)
    parser.add_argument("--first", type=int, default=0, help="the first seed of the schedules")
    parser.add_argument("--fail-fast", action="store_true", help="end with the first violation")
    arguments = parser.parse_args()
    logging.getLogger("executor").setLevel(logging.CRITICAL + 1)  # faults are what it plays
    if arguments.seed is not None:
        return play_one(arguments.seed)
    return play_many(
        arguments.first, arguments.schedules, 1 if arguments.fail_fast else FAILURES_AT_MOST
    )


def play_one(seed: int) -> int:
    schedule = Schedule(seed, trace=True)
    try:
        result = schedule.run()
    finally:
        print(*schedule.world.lines or (), sep="\n")
    print(f"hash {result.log_hash:08x}, {result.steps} steps")
    print("faults:", dict(result.faults))
    print("outcomes:", dict(result.outcomes))
    return 0


def play_many(first: int, schedules: int, failures_at_most: int) -> int:
    started = time.perf_counter()
    faults: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    passed: Counter[KillPoint] = Counter()
    steps = failures = fewest = 0
    for seed in range(first, first + schedules):
        try:
            result = Schedule(seed).run()
        except Exception as error:
            failures += 1
            print(f"seed {seed}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            if failures == failures_at_most:
                break
            continue
        faults += result.faults
        outcomes += result.outcomes
        passed += result.passed
        steps += result.steps
        fewest += result.faults.total() < 3
    seconds = time.perf_counter() - started
    print(
        f"{schedules} schedules of {steps / schedules:.0f} steps in {seconds:.1f} s, "
        f"{1e3 * seconds / schedules:.1f} ms each"
    )
    print(f"{faults.total()} faults ({fewest} schedules with fewer than 3):", dict(faults.most_common()))
    print("outcomes:", dict(outcomes.most_common()))
    print("kill points passed:", {point.name: passed[point] for point in KillPoint})
    print(f"{failures} violations")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
