"""``docs/errors.md`` shows every error about worker processes as its script has caused it."""

from __future__ import annotations

from pathlib import Path

import pytest

from executor import errors, task_errors
from orchestrator.runtime.errors import NodeError, NonDeterministicReplay

PAGE = (Path(__file__).parents[1] / "docs" / "errors.md").read_text()
NEVER_RAISED_ALONE = {
    errors.WorkerError,  # a base
    errors.RemoteTraceback,  # a cause
    errors.InitializerFailed,  # told as ExecutorBroken
}
SHOWN = {
    each
    for module in (errors, task_errors)
    for each in vars(module).values()
    if isinstance(each, type) and issubclass(each, Exception) and each.__module__ == module.__name__
}


@pytest.mark.parametrize(
    "error",
    [
        *sorted(SHOWN - NEVER_RAISED_ALONE, key=lambda each: each.__name__),
        NodeError,
        NonDeterministicReplay,
    ],
)
def test_the_page_shows_the_error_and_what_it_says(error: type[Exception]) -> None:
    assert f"\n## {error.__name__}\n" in PAGE
    assert f"```text\n{error.__name__}: " in PAGE
