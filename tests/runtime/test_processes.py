"""What changes when bodies run in other processes (SEMANTICS 16), where no other test shows it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from executor.body import NO_VALUE, SKIP, Stream
from executor.code import encode_code
from executor.pool import Pool
from orchestrator.graph.compile import compile_flow
from orchestrator.graph.flow import Flow
from orchestrator.graph.node import node
from orchestrator.instruments import FlowInstrument
from orchestrator.spec import EdgeInput
from protocol import messages
from protocol.serialization import dumps, loads

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(2) as shared:
        shared.wait_ready()
        yield shared


@node
def numbers(count: int) -> Any:
    yield from range(count)


@node
def total(chunks: Stream[int]) -> int:
    return sum(chunks)


@pytest.mark.parametrize(
    ("workers", "option", "window"), [(0, None, 0), (2, None, 1), (2, 0, 0), (0, 5, 5), (2, 64, 64)]
)
def test_16_6_the_window_is_1_across_processes_0_inline_and_what_is_asked(
    workers: int, option: int | None, window: int
) -> None:
    with Flow() as f:
        f.numbers = node(window=option)(numbers.__wrapped__)(3)
        f.total = total(f.numbers)
    spec, _ = compile_flow(f, workers=workers, encode_code=encode_code, encode_value=dumps)
    given = spec.nodes[1].ports[0].input
    assert isinstance(given, EdgeInput)
    assert given.window == window


@pytest.mark.parametrize("window", [0, 1, 8])
def test_16_7_a_cancel_is_a_message_and_the_sum_is_of_exactly_what_was_emitted(
    window: int, pool: Pool
) -> None:
    @node
    def first_two(chunks: Stream[int]) -> list[int]:
        seen = [next(chunks), next(chunks)]
        chunks.cancel()
        return [*seen, *chunks]

    @node
    def listed(chunks: Stream[int]) -> list[int]:
        return list(chunks)

    with Flow() as f:
        f.numbers = node(window=window)(numbers.__wrapped__)(100_000)
        f.cancels = first_two(f.numbers)
        f.sibling = listed(f.numbers)
    report = f.run(pool=pool)
    [seen] = f.sibling.get_data()
    assert f.cancels.get_data() == ([0, 1],)
    assert seen == list(range(len(seen)))
    assert 2 <= len(seen) < 100_000
    assert f.numbers.get_data() == (sum(seen),)
    assert report.nodes["numbers"].chunks == len(seen)


def test_16_4_what_bodies_print_comes_in_order_within_a_run_and_along_an_edge(tmp_path: Path) -> None:
    job = tmp_path / "job.py"
    job.write_text(
        """
from orchestrator import Flow, node

@node
def first():
    for line in range(20):
        print("first", line)
    return 1

@node
def second(x):
    print("second", x)

with Flow() as f:
    f.first = first()
    f.second = second(f.first)
f.run(workers=2)
"""
    )
    printed = subprocess.run(
        [sys.executable, str(job)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert printed.stdout.splitlines() == [*(f"first {line}" for line in range(20)), "second 1"]


def test_16_11_hooks_run_in_the_coordinator_only(pool: Pool) -> None:
    @node
    def pid_of() -> int:
        return os.getpid()

    hooked: set[int] = set()

    class Pids(FlowInstrument):
        def on_node_emitted_data(self, flow: Flow, node: Any, data: Any, run_level: int) -> None:
            hooked.add(os.getpid())

    with Flow() as f:
        f.pid = pid_of()
    with Pids():
        f.run(pool=pool)
    assert hooked == {os.getpid()}
    assert f.pid.get_data() != (os.getpid(),)


def test_16_12_a_worker_begins_with_what_the_process_had_and_a_random_generator_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    @node
    def surroundings(path: str, of: str, other: str) -> tuple[str, str | None, float]:
        drawn = random.random()
        (Path(path) / of).touch()
        while not (Path(path) / other).exists():  # so that each has a worker of its own
            time.sleep(0.001)
        return str(Path.cwd()), os.environ.get("OF_THE_TEST"), drawn

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OF_THE_TEST", "copied")
    with Flow() as f:
        f.one = surroundings(str(tmp_path), "one", "two")
        f.two = surroundings(str(tmp_path), "two", "one")
    f.run(workers=2, timeout_s=60)
    [(cwd, variable, first)], [(_, _, second)] = f.one.get_data(), f.two.get_data()
    assert (cwd, variable) == (str(tmp_path), "copied")
    assert first != second


@pytest.mark.parametrize("marker", [SKIP, NO_VALUE])
def test_16_13_a_marker_keeps_its_identity_on_the_way(marker: object, pool: Pool) -> None:
    assert loads(dumps(marker)) is marker

    @node
    def holds() -> list[object]:
        return [marker]

    with Flow() as f:
        f.held = holds()
    f.run(pool=pool)
    assert f.held.get_data()[0][0] is marker


def test_16_14_workers_tell_numbers_and_durations_and_no_time_of_day() -> None:
    said = typing.get_args(messages.FromWorker)
    fields = {field.name for kind in said for field in msgspec.structs.fields(kind)}
    assert {"first", "upto", "emitted", "seconds"} <= fields
    assert not {field for field in fields if "time" in field or field in ("at", "when", "clock")}


def test_16_15_a_run_that_is_stopped_returns_when_no_body_runs_any_more(
    tmp_path: Path, pool: Pool
) -> None:
    @node
    def writes(path: str) -> None:
        with Path(path).open("ab", buffering=0) as file:
            while True:
                file.write(b".")
                time.sleep(0.001)

    @node
    def waits_for(path: str) -> bool:
        while not Path(path).exists():
            time.sleep(0.001)
        return True

    path = tmp_path / "written"
    with Flow() as f:
        f.writes = writes(str(path))
        f.waits = waits_for(str(path))
    report = f.run(pool=pool, stop_at_node_generation={f.waits: (0,)})
    assert report.status == "limit"
    size = path.stat().st_size
    time.sleep(0.02)
    assert path.stat().st_size == size


def test_16_16_a_body_that_blocks_stops_no_other(tmp_path: Path, pool: Pool) -> None:
    @node
    def blocks(path: str) -> bool:
        while not Path(path).exists():
            time.sleep(0.001)
        return True

    @node
    def frees(path: str) -> None:
        Path(path).touch()

    path = str(tmp_path / "freed")
    with Flow() as f:
        f.blocks = blocks(path)
        f.frees = frees(path)
    f.run(pool=pool, timeout_s=60)
    assert f.blocks.get_data() == (True,)


@pytest.mark.parametrize("place", ["inline", "pool"])
def test_rule_70_a_flow_runs_again_and_its_generations_begin_anew(place: str, pool: Pool) -> None:
    """What a stopped run had under way is abandoned (rule 66): there is no generation to go on from."""

    @node
    def increment(x: int = 0) -> int:
        return x + 1

    with Flow() as f:
        f.count = increment(f.count)
        f.total = total(numbers(4))
    for _ in range(2):
        report = f.run(
            workers=0 if place == "inline" else None,
            pool=pool if place == "pool" else None,
            stop_at_node_generation={f.count: (3,)},
        )
        assert report.nodes["count"].runs == 4
        assert f.count.get_data() == (4,)
