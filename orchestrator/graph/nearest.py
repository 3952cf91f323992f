"""The hint in messages about a name that is not there."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from typing import Final

_LIMIT: Final = 2_000  # among more names, the search would take seconds


def did_you_mean(name: object, known: Collection[str], otherwise: str = "") -> str:
    """``"; did you mean 'this'?"``, or what to say where nothing is near."""
    if isinstance(name, str) and len(known) <= _LIMIT:
        for near in get_close_matches(name, known, n=1):
            return f"; did you mean {near!r}?"
    return otherwise
