"""``docs/faults.md`` names code and tests that exist, and leaves out no fault."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "faults.md").read_text()
FAULTS = 33


@pytest.mark.parametrize(
    "named",
    sorted(set(re.findall(r"`((?:tests|executor|orchestrator|protocol|benchmarks)/[^`]+)`", PAGE))),
)
def test_what_the_page_names_exists(named: str) -> None:
    path, _, test = named.partition("::")
    text = (ROOT / path).read_text()
    assert not test or f"def {test}(" in text


def test_no_fault_is_left_out() -> None:
    assert {int(number) for number in re.findall(r"\bF(\d+)\b", PAGE)} == set(range(1, FAULTS + 1))
