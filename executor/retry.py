"""When what failed is tried again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

OTHER_LOSSES_LIMIT: Final = 100
"""So many workers may die around a body that is not to blame, as far as can be seen: it may end the very
process that they are forked from, and would do so for ever."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a body may run before its failure counts, for its own errors and for lost workers apart.

    Args:
        attempts: how often a body may run that raises; 1: its first error counts.
        delay_s: how long to wait before the second attempt.
        backoff: each further delay is so many times the one before.
        jitter: each delay is longer by a random part of itself, up to this; 0.1 is a tenth.
        retry_on: the types of exceptions after which to try again; judged where the body ran.
        worker_loss_attempts: how often it may run if its worker dies under it. With 1 the body runs at
            most once: also when the worker died of something else while the body was waiting there.

    Raises:
        TypeError, ValueError: an argument is not what it must be.
    """

    attempts: int = 1
    delay_s: float = 0.0
    backoff: float = 2.0
    jitter: float = 0.0
    retry_on: tuple[type[BaseException], ...] = (Exception,)
    worker_loss_attempts: int = 3

    def __post_init__(self) -> None:
        for name in ("attempts", "worker_loss_attempts"):
            _check(name, getattr(self, name), (int,), least=1)
        for name, least in (("delay_s", 0), ("backoff", 1), ("jitter", 0)):
            _check(name, getattr(self, name), (int, float), least=least)
        types: object = self.retry_on
        if not isinstance(types, tuple) or not all(map(_is_exception_type, types)):
            raise TypeError(f"retry_on must be a tuple of types of exceptions, not {types!r}")

    @classmethod
    def of(cls, retries: int) -> RetryPolicy:
        """So many retries after an error; none at all, not even after the loss of a worker, for 0."""
        _check("retries", retries, (int,), least=0)
        return cls(attempts=retries + 1) if retries else cls(worker_loss_attempts=1)


def _check(name: str, given: Any, kinds: tuple[type, ...], *, least: float) -> None:
    if isinstance(given, bool) or not isinstance(given, kinds):
        raise TypeError(f"{name} must be a number, not {given!r}")
    number: Any = given
    if not number >= least:  # NaN is not
        raise ValueError(f"{name} must be at least {least}, not {given}")


def _is_exception_type(given: object) -> bool:
    return isinstance(given, type) and issubclass(given, BaseException)
