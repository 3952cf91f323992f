"""``docs/errors.md`` shows every error about worker processes as its script has caused it."""

from __future__ import annotations

from pathlib import Path

import pytest

from executor import errors

PAGE = (Path(__file__).parents[1] / "docs" / "errors.md").read_text()
SHOWN = (
    errors.WorkerCrashed,
    errors.PoisonTask,
    errors.NodeTimeoutError,
    errors.MemoryLimitExceeded,
    errors.PoolBroken,
    errors.PoolClosed,
)


@pytest.mark.parametrize("error", SHOWN)
def test_the_page_shows_the_error_and_what_it_says(error: type[Exception]) -> None:
    assert f"\n## {error.__name__}\n" in PAGE
    assert f"```text\n{error.__name__}: " in PAGE
