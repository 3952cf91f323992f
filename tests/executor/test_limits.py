"""What a pool may be told to allow, and what it refuses to be told."""

from __future__ import annotations

import math
from typing import Any

import pytest

from executor.limits import LimitOptions, Limits


@pytest.mark.parametrize(
    "options",
    [
        {"grace_s": 0},
        {"timeout_s": 0.5, "unresponsive_after_s": math.inf},
        {"memory_soft_bytes": 1, "memory_hard_bytes": 1, "max_runs_per_worker": 1},
    ],
)
def test_limits_that_make_sense_are_taken(options: LimitOptions) -> None:
    Limits(**options)


@pytest.mark.parametrize(
    ("options", "kind", "told"),
    [
        ({"grace_s": -1}, ValueError, "grace_s must be a number of seconds above 0, not -1"),
        ({"grace_s": "1"}, TypeError, "grace_s must be a number of seconds, not '1'"),
        ({"timeout_s": 0}, ValueError, "timeout_s must be"),
        ({"timeout_s": math.nan}, ValueError, "timeout_s must be"),
        ({"unresponsive_after_s": True}, TypeError, "unresponsive_after_s must be"),
        ({"memory_hard_bytes": 1e9}, TypeError, "memory_hard_bytes must be an integer"),
        ({"max_runs_per_worker": 0}, ValueError, "max_runs_per_worker must be at least 1"),
        (
            {"memory_soft_bytes": 2, "memory_hard_bytes": 1},
            ValueError,
            r"memory_soft_bytes \(2\) must not exceed memory_hard_bytes \(1\)",
        ),
    ],
)
def test_limits_that_make_none_are_refused_by_name(
    options: Any, kind: type[Exception], told: str
) -> None:
    with pytest.raises(kind, match=told):
        Limits(**options)
