"""The options of an executor's tasks."""

from __future__ import annotations

from dataclasses import dataclass

from executor.host import Demand
from executor.limits import check_timeout
from executor.scheduling import check_priority


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """How tasks are run.

    ``priority``: lower numbers run first. ``timeout_s``: how long a task may compute. ``retries``: how
    often it is run again when it raised, took too long or lost its worker. ``demand``: what it claims of
    the pool's resources.

    Raises:
        TypeError, ValueError: one of them is not what it must be.
    """

    priority: float = 0
    timeout_s: float | None = None
    retries: int = 0
    demand: Demand = ()

    def __post_init__(self) -> None:
        check_priority(self.priority)
        check_timeout(self.timeout_s)
        check_integer("retries", self.retries, least=0)


def check_integer(name: str, number: object, *, least: int) -> None:
    """Refuse what is no integer, or is less than ``least``."""
    if not isinstance(number, int) or isinstance(number, bool):
        raise TypeError(f"{name} must be an integer, not {number!r}")
    if number < least:
        raise ValueError(f"{name} must be at least {least}, not {number}")
