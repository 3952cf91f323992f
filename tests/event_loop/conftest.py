"""Every test of the loop must close each descriptor that it opened, and end its threads."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    gc.collect()  # what others left
    descriptors = _descriptors()
    threads = threading.active_count()
    yield
    gc.collect()
    assert _descriptors() == descriptors, "a descriptor was left open"
    assert threading.active_count() == threads, "a thread was left"


def _descriptors() -> set[str]:
    """Names of the open descriptors; among them one for looking, the same both times."""
    return {path.name for path in Path("/proc/self/fd").iterdir()}
