"""The planted defects still fit; ``python -m tests.simulation.mutants`` shows that they are found."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import ROOT, planted
from tests.simulation.planted import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_defect_still_fits(mutant: Mutant) -> None:
    compile(planted(mutant, (ROOT / mutant.file).read_text()), mutant.file, "exec")


def test_every_planted_defect_has_a_name_of_its_own() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
