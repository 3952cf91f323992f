"""The code census beside multiprocessing.Pool(2).map on the same files, in one run.

    python benchmarks/census.py [DIRECTORY]

Prints the speed-up over one process of each, and their ratio. Interleaved, medians of several rounds.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import multiprocessing
import statistics
import sys
import sysconfig
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any

from orchestrator import Pool

ROUNDS = 3


def load_example() -> ModuleType:
    path = Path(__file__).parent.parent / "examples" / "code_census.py"
    spec = importlib.util.spec_from_file_location("code_census", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["code_census"] = module
    spec.loader.exec_module(module)
    return module


example = load_example()


def measure(arguments: tuple[str, str]) -> Any:
    return example.measure.__wrapped__(*arguments)


def timed_serial(jobs: list[tuple[str, str]]) -> float:
    started = perf_counter()
    example.tally.__wrapped__(map(measure, jobs))
    return perf_counter() - started


def timed_peer(jobs: list[tuple[str, str]], pool: Any) -> float:
    started = perf_counter()
    example.tally.__wrapped__(pool.map(measure, jobs))
    return perf_counter() - started


def timed_ours(root: str, pool: Pool) -> float:
    started = perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        example.flow.run(pool=pool, parameters={"root": root})
    return perf_counter() - started


def main() -> None:
    root = sys.argv[1] if len(sys.argv) > 1 else sysconfig.get_paths()["stdlib"]
    jobs = [(path, root) for path in example.list_files.__wrapped__(root)]
    times: dict[str, list[float]] = {"serial": [], "peer": [], "ours": []}
    with multiprocessing.Pool(2) as peer, Pool(2) as pool:
        for _ in range(ROUNDS):
            times["serial"].append(timed_serial(jobs))
            times["peer"].append(timed_peer(jobs, peer))
            times["ours"].append(timed_ours(root, pool))
    serial, theirs, ours = (statistics.median(times[name]) for name in ("serial", "peer", "ours"))
    print(f"{len(jobs)} files, one process: {serial:.2f} s")
    print(f"speed-up of multiprocessing.Pool(2).map: {serial / theirs:.2f}")
    print(f"speed-up of the flow on 2 workers: {serial / ours:.2f}")
    print(f"ours / theirs: {theirs / ours:.2f}")


if __name__ == "__main__":
    main()
