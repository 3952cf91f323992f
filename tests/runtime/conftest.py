"""Every flow that a runtime test runs is run by a machine that checks the invariants I1-I9."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from executor.pool import Pool
from orchestrator import coordinator
from tests.runtime.checked import CheckedMachine


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(2) as shared:
        shared.wait_ready()  # so that what workers hold is there before the first test begins
        yield shared


@pytest.fixture
def mortal_pool(pool: Pool) -> Iterator[Pool]:
    """The pool, for a test in which workers die: those that come for them are no leak of the test."""
    yield pool
    pool.wait_ready()


@pytest.fixture(autouse=True)
def checked_machines(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    CheckedMachine.made.clear()
    monkeypatch.setattr(coordinator, "FlowMachine", CheckedMachine)
    yield
    for machine in CheckedMachine.made:
        machine.check_end()
