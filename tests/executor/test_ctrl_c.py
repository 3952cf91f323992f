"""Ctrl-C at random moments: the run ends at once, the pool goes on (FAULTS F11)."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from orchestrator import Flow, Pool, Stream, node

TIMES = 50
LATEST_S = 0.05


@node
def count(upto: int) -> Iterator[int]:
    yield from range(upto)


@node
def total(numbers: Stream[int]) -> int:
    return sum(numbers)


@node
def spin(seconds: float) -> float:
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        pass
    return seconds


def run_again_and_again(flow: Flow, pool: Pool, timer: threading.Timer) -> None:
    timer.start()
    while True:
        flow.run(pool=pool)
        if timer.finished.is_set():  # it came between two runs, in a finalizer: Python loses it there
            os.kill(os.getpid(), signal.SIGINT)


# One that comes before the run has begun leaves a coroutine that nobody has awaited.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_fifty_interrupts_at_random_moments_end_their_run_and_no_worker_f11() -> None:
    with Flow() as flow:
        flow.numbers = count(50)
        flow.total = total(flow.numbers)
        flow.spun = spin(0.005)
    with Pool(2) as pool:
        pool.wait_ready()
        flow.run(pool=pool)
        workers = set(pool._peers)
        chance = random.Random(11)
        longest = 0.0
        for _ in range(TIMES):
            sent = [0.0]

            def interrupt(sent: list[float] = sent) -> None:
                sent[0] = time.monotonic()
                os.kill(os.getpid(), signal.SIGINT)

            timer = threading.Timer(chance.uniform(0, LATEST_S), interrupt)
            with pytest.raises(KeyboardInterrupt):
                run_again_and_again(flow, pool, timer)
            longest = max(longest, time.monotonic() - sent[0])
            timer.join()
        flow.run(pool=pool)
        assert flow.total.get_data() == (1225,)
        assert set(pool._peers) == workers
    assert longest < 5.0  # the grace, after which a worker would have had to be ended
