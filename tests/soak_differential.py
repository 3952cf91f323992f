"""Compares many random graphs with the reference: ``python -m tests.soak_differential 10000``.

Each seed is run inline, under a simulated schedule, in a thread, on two workers, and with nodes in all
placements. Every failing run is printed with the command that shows it again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator

from executor.pool import Pool
from tests.differential.generate import random_graph
from tests.differential.running import Disagreement, Way, run_and_check

WINDOWS = (0, 1, 8)


def main() -> int:
    """Run what the command line asks for; 1 if a run differed."""
    options = _parser().parse_args()
    seeds: Iterable[int] = [options.seed]
    if options.seed is None:
        seeds = range(options.first, options.first + options.seeds)
    started = time.monotonic()
    failures = 0
    with Pool(2) as pool:
        pool.wait_ready()
        for number, seed in enumerate(seeds, 1):
            for way in [_way(options.way)] if options.way else _ways(seed):
                try:
                    run_and_check(random_graph(seed), way, pool)
                except Disagreement as error:
                    failures += 1
                    print(error, flush=True)
            if number % 100 == 0:
                print(
                    f"{number} seeds, {failures} failed, {time.monotonic() - started:.0f} s", flush=True
                )
    print(f"{failures} runs differ from the reference")
    return 1 if failures else 0


def _ways(seed: int) -> Iterator[Way]:
    """Inline and simulated at every window; the others take the windows in turn."""
    for window in WINDOWS:
        yield Way("inline", window, seed)
        yield Way("simulation", window, seed)
    yield Way("thread", WINDOWS[seed % 3])
    yield Way("process", WINDOWS[(seed + 1) % 3])
    yield Way("mixed", WINDOWS[(seed + 2) % 3])


def _way(words: list[str]) -> Way:
    where, window, *schedule = words
    return Way(where, int(window), int(schedule[0]) if schedule else None)  # type: ignore[arg-type]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", type=int, nargs="?", default=10_000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="this seed only")
    parser.add_argument("--way", nargs="+", help="one way only: where, window, schedule")
    return parser


if __name__ == "__main__":
    sys.exit(main())
