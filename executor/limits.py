"""What a pool allows its workers, checked when it is said."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, TypedDict


class LimitOptions(TypedDict, total=False):
    """The fields of :class:`Limits`, as options of a pool."""

    grace_s: float
    timeout_s: float | None
    unresponsive_after_s: float
    memory_soft_bytes: int | None
    memory_hard_bytes: int | None
    max_runs_per_worker: int | None


GRACE_S: Final = 5.0
"""A body that was cancelled may go on for so long, wherever it runs."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What they mean is said at :class:`~executor.pool.Pool`. None: no limit.

    Raises:
        TypeError, ValueError: one of them is not what it must be; the message names it.
    """

    grace_s: float = GRACE_S
    timeout_s: float | None = None
    unresponsive_after_s: float = 30.0
    memory_soft_bytes: int | None = None
    memory_hard_bytes: int | None = None
    max_runs_per_worker: int | None = None

    def __post_init__(self) -> None:
        _check_seconds("grace_s", self.grace_s, allows_zero=True)
        _check_seconds("unresponsive_after_s", self.unresponsive_after_s)
        check_timeout(self.timeout_s)
        for name in ("memory_soft_bytes", "memory_hard_bytes", "max_runs_per_worker"):
            check_limit(name, getattr(self, name))
        soft, hard = self.memory_soft_bytes, self.memory_hard_bytes
        if soft is not None and hard is not None and soft > hard:
            raise ValueError(f"memory_soft_bytes ({soft}) must not exceed memory_hard_bytes ({hard})")


def check_limit(name: str, count: object) -> None:
    """Refuse what is neither None nor a positive integer."""
    if count is None:
        return
    if not isinstance(count, int) or isinstance(count, bool):
        raise TypeError(f"{name} must be an integer or None, not {count!r}")
    if count < 1:
        raise ValueError(f"{name} must be at least 1, not {count}")


def check_timeout(timeout_s: object) -> None:
    """Refuse a ``timeout_s`` that is neither None nor a time."""
    if timeout_s is not None:
        _check_seconds("timeout_s", timeout_s)


def _check_seconds(name: str, seconds: object, *, allows_zero: bool = False) -> None:
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        raise TypeError(f"{name} must be a number of seconds, not {seconds!r}")
    if math.isnan(seconds) or seconds < 0 or (seconds == 0 and not allows_zero):
        raise ValueError(f"{name} must be a number of seconds above 0, not {seconds}")


NO_LIMITS: Final = Limits()
