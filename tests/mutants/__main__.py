"""Plants each defect in a copy of the packages and runs tests on it: ``python -m tests.mutants``.

Prints which test, or which seed of the simulation, caught which defect, or how long it hung; ends with 1
if one survived. Give names, or parts of them, to plant only those. ``--page`` makes a page of it, as
``docs/mutants.md`` was made.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.mutants.planted import MUTANTS, Mutant
from tests.mutants.pool import BY_SEED, POOL_MUTANTS

ROOT = Path(__file__).parents[2]
COPIED = ("orchestrator", "executor", "protocol", "tests", "pyproject.toml")
PATIENCE_S = 120.0
PYTEST = ("pytest", "-x", "-q", "--tb=no", "-p", "no:cacheprovider")
SEEDS = ("tests.simulation", "--fail-fast", "--schedules", "10000")
SEEDS_PATIENCE_S = 1800.0


def main() -> int:
    """Plant what the command line asks for."""
    options = _parser().parse_args()
    survivors = []
    rows = []
    for mutant in (*MUTANTS, *POOL_MUTANTS):
        if options.only and not any(part in mutant.name for part in options.only):
            continue
        started = time.monotonic()
        caught_by = _run(mutant)
        seconds = time.monotonic() - started
        print(
            f"{mutant.breaks:20} {mutant.name}\n{'':20} {caught_by or 'SURVIVED'} ({seconds:.0f} s)",
            flush=True,
        )
        rows.append((mutant.breaks, mutant.name, caught_by or "SURVIVED"))
        if caught_by is None:
            survivors.append(mutant.name)
    if options.page is not None:
        options.page.write_text(_page(rows))
    print(f"{len(survivors)} survived: {survivors}" if survivors else "all were caught")
    return 1 if survivors else 0


def _page(rows: list[tuple[str, str, str]]) -> str:
    """What was planted and caught, in Markdown."""
    table = [f"| {breaks} | {name} | {_shown(caught_by)} |" for breaks, name, caught_by in rows]
    return "\n".join((_HEAD, *table)) + "\n"


_HEAD = """\
# Planted defects

Each of these defects was planted in a copy of the packages, alone, and the tests meant for it were run:
the first that failed is named, or the first seed of the simulated pool and what was violated then. Made
by `python -m tests.mutants --page docs/mutants.md`; B numbers are bugs that the in-process library has.

| breaks | defect | caught by |
|---|---|---|"""


def _shown(caught_by: str) -> str:
    test, separator, name = caught_by.partition("::")
    if separator:
        return f"`{test}`: {name.replace('_', ' ')}"
    return re.sub(r"(AttemptKey|WorkerRecord)\([^)]*\)?", r"\1(...)", caught_by)[:120]


def _run(mutant: Mutant) -> str | None:
    """The first test that fails on the defect, or None."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as path:
        copy = Path(path)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, copy / name)
        target = copy / mutant.file
        target.write_text(planted(mutant, target.read_text()))
        return _first_failure(copy, mutant.tests)


def planted(mutant: Mutant, text: str) -> str:
    """The file with the defect.

    Raises:
        ValueError: the text to replace does not stand there exactly once.
    """
    found = text.count(mutant.old)
    if found != 1:
        raise ValueError(f"{mutant.name}: {mutant.file} holds its text {found} times")
    return text.replace(mutant.old, mutant.new)


def _first_failure(copy: Path, tests: tuple[str, ...]) -> str | None:
    by_seed = tests == BY_SEED
    command = [sys.executable, "-m", *(SEEDS if by_seed else (*PYTEST, *tests))]
    patience_s = SEEDS_PATIENCE_S if by_seed else PATIENCE_S
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    with tempfile.TemporaryFile() as output:  # not a pipe, which workers might hold open
        run = subprocess.Popen(
            command,
            cwd=copy,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            run.wait(patience_s)
        except subprocess.TimeoutExpired:
            return f"hung for {patience_s:.0f} s"
        finally:
            _end(run)
        output.seek(0)
        text = output.read().decode(errors="replace")
    if run.returncode == 0:
        return None
    if by_seed and (violation := re.search(r"^seed \d+: .*", text, re.MULTILINE)):
        return violation[0][:200]
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", text, re.MULTILINE)
    hung = " (by its timeout)" if "Timeout" in text else ""
    return failed[1].removeprefix("tests/") + hung if failed else f"it ended with {run.returncode}"


def _end(run: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(run.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    run.wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("only", nargs="*", help="parts of names")
    parser.add_argument("--page", type=Path, help="write a page of it there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
