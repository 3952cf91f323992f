"""What a process may use of its machine: affinity and control groups."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from executor import sizing
from executor.sizing import (
    cgroup_directories,
    checked_size,
    cpus_allowed,
    usable_cores,
    usable_memory_bytes,
)


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("max 100000\n", math.inf),
        ("200000 100000\n", 2.0),
        ("50000 100000", 0.5),
        ("max", math.inf),
        ("300000", 3.0),
    ],
)
def test_a_quota_and_a_period_make_a_number_of_processors(text: str, cpus: float) -> None:
    assert cpus_allowed(text) == cpus


def test_all_groups_around_a_process_are_looked_at(tmp_path: Path) -> None:
    assert list(cgroup_directories("0::/user/job", tmp_path)) == [
        tmp_path / "user" / "job",
        tmp_path / "user",
        tmp_path,
    ]
    assert list(cgroup_directories("5:cpu,cpuacct:/job\n0::/", tmp_path)) == [
        *(tmp_path / controller / path for controller in ("cpu", "cpuacct") for path in ("job", ".")),
        tmp_path,
    ]


@pytest.mark.parametrize(
    ("files", "cores", "memory"),
    [
        ({}, None, None),
        ({"cpu.max": "100000 100000", "memory.max": "max"}, 1, None),
        ({"cpu.max": "max 100000", "memory.max": "1048576"}, None, 1 << 20),
        ({"cpu.cfs_quota_us": "50000", "cpu.cfs_period_us": "100000"}, 1, None),
        ({"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"}, None, None),
        ({"memory.limit_in_bytes": "2097152"}, None, 2 << 20),
    ],
)
def test_the_least_limit_counts(
    files: dict[str, str],
    cores: int | None,
    memory: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(sizing, "own_cgroups", lambda: [tmp_path / "none", tmp_path])
    assert usable_cores() == (len(os.sched_getaffinity(0)) if cores is None else cores)
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert usable_memory_bytes() == (physical if memory is None else memory)


@pytest.mark.parametrize("processors", [{3}, set(range(50))])
def test_a_pool_has_a_worker_for_each_processor_that_its_owner_may_use(
    processors: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizing, "own_cgroups", list)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: processors)
    assert usable_cores() == checked_size(None) == len(processors)


def test_this_process_may_use_something() -> None:
    assert 1 <= usable_cores() <= len(os.sched_getaffinity(0))
    assert usable_memory_bytes() > 0
