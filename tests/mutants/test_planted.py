"""The defects that ``python -m tests.mutants`` plants still apply to the code as it is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.mutants.__main__ import planted
from tests.mutants.planted import MUTANTS, Mutant
from tests.mutants.pool import BY_SEED, POOL_MUTANTS

ROOT = Path(__file__).parents[2]
ALL = (*MUTANTS, *POOL_MUTANTS)


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_a_defect_applies_once_and_leaves_python(mutant: Mutant) -> None:
    path = ROOT / mutant.file
    compile(planted(mutant, path.read_text()), str(path), "exec")


def test_each_defect_has_a_name_of_its_own() -> None:
    assert max(Counter(mutant.name for mutant in ALL).values()) == 1


def test_the_tests_that_are_to_catch_them_exist() -> None:
    paths = {test.partition("::")[0] for mutant in MUTANTS for test in mutant.tests}
    assert not [path for path in paths if not (ROOT / path).exists()]
    assert {mutant.tests for mutant in POOL_MUTANTS} == {BY_SEED}
