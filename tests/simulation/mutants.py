"""Plants defects in a copy of the packages and lets the simulation find them.

    python -m tests.simulation.mutants [parts of names]

Prints the seed and the violation that found each; ends with 1 if one survived 10,000 schedules.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.simulation.planted import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
PACKAGES = ("orchestrator", "executor", "protocol", "tests")
SCHEDULES = 10_000


def main() -> int:
    survivors = 0
    for mutant in MUTANTS:
        if len(sys.argv) > 1 and not any(part in mutant.name for part in sys.argv[1:]):
            continue
        found = find(mutant)
        survivors += found is None
        print(f"{mutant.name}\n    {found or 'SURVIVED'}", flush=True)
    print(f"{survivors} survived")
    return 1 if survivors else 0


def planted(mutant: Mutant, text: str) -> str:
    """The file with the defect.

    Raises:
        ValueError: the text to be replaced does not stand there exactly once.
    """
    if text.count(mutant.old) != 1:
        raise ValueError(f"{mutant.name}: {mutant.file} holds its text {text.count(mutant.old)} times")
    return text.replace(mutant.old, mutant.new)


def find(mutant: Mutant) -> str | None:
    """What the simulation says of the defect, or None."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as path:
        copy = Path(path)
        for package in PACKAGES:
            shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
        target = copy / mutant.file
        target.write_text(planted(mutant, target.read_text()))
        command = (
            sys.executable,
            "-m",
            "tests.simulation",
            "--fail-fast",
            "--schedules",
            str(SCHEDULES),
        )
        run = subprocess.run(
            command,
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy)},
            capture_output=True,
            text=True,
            check=False,
        )
    if run.returncode == 0:
        return None
    return next(
        (line for line in run.stderr.splitlines() if line.startswith("seed ")), run.stderr[-300:]
    )


if __name__ == "__main__":
    sys.exit(main())
