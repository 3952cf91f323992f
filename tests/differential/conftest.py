"""Thousands of flows are run here: their machines are let go of after each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.runtime.checked import CheckedMachine


@pytest.fixture(autouse=True)
def machines_are_let_go() -> Iterator[None]:
    yield
    CheckedMachine.made.clear()
