"""A pool under seeded faults keeps its promises: P1, P3, P6, P7, P9; F1-F3, F5, F8, F9, F21, F22, F33.

``python -m tests.simulation --seed N`` replays a seed and prints what happens;
``--schedules 1000000`` plays as many.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulation.faults import Flaw, KillPoint, Moment
from tests.simulation.schedule import FAULTS_AT_LEAST, Schedule

SCHEDULES = 10_000
TOGETHER = 250

faults: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def nothing_is_logged() -> Iterator[None]:
    """Of the faults that are played, for as long as they are."""
    log = logging.getLogger("executor")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    yield
    log.setLevel(level)


@pytest.mark.parametrize("first", range(0, SCHEDULES, TOGETHER))
def test_whatever_workers_and_network_do_each_job_is_done_once_and_nothing_is_left(first: int) -> None:
    for seed in range(first, first + TOGETHER):
        try:
            result = Schedule(seed).run()
        except Exception as error:
            raise AssertionError(f"replay it: python -m tests.simulation --seed {seed}") from error
        assert result.faults.total() >= FAULTS_AT_LEAST or result.outcomes["no pool"]
        faults.update(result.faults)


def test_every_kind_of_fault_has_happened_in_these_schedules() -> None:
    if not faults:
        pytest.skip("no schedule was played")
    kinds = {each.name for kind in (KillPoint, Moment, Flaw) for each in kind}
    assert faults.keys() == kinds


def test_a_seed_gives_the_same_log_whatever_the_process_hashes_by() -> None:
    program = (
        "from tests.simulation.schedule import Schedule;"
        "print([Schedule(seed).run().log_hash for seed in range(40)])"
    )
    logs = {
        subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[2],
            env={"PYTHONHASHSEED": hash_seed},
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(logs) == 1
