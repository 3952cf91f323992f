"""Flows on a pool of real workers: who runs first, what may run at once, what is refused."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.pool import Pool
from orchestrator import Flow, InvalidFlowError, Stream, node
from orchestrator.errors import NotEnoughResources
from orchestrator.graph.compile import compile_flow
from protocol.serialization import dumps


def noted(path: Path, name: str) -> None:
    with path.open("a") as file:
        file.write(f"{name}\n")


@node
def note(path: Path, name: str, *_: object) -> str:
    noted(path, name)
    return name


@node(priority=-1)
def urgent(path: Path, name: str) -> None:
    noted(path, name)


@node(resources={"gpu": 1})
def exclusive(path: Path) -> None:
    noted(path, "begins")
    time.sleep(0.01)
    noted(path, "ends")


@node(cpus=2)
def on_both(path: Path) -> None:
    exclusive.__wrapped__(path)


def test_lower_priority_numbers_and_then_the_critical_path_go_first(tmp_path: Path) -> None:
    path = tmp_path / "order"
    with Flow() as flow:
        note(path, "alone")
        first = note(path, "first of three")
        second = note(path, "second of three", first)
        note(path, "third of three", second)
        urgent(path, "urgent")
    with Pool(1) as pool:  # no worker is ready yet, so all wait in line
        flow.run(pool=pool)
    assert path.read_text().splitlines()[:2] == ["urgent", "first of three"]


def test_nodes_that_claim_one_thing_run_one_after_the_other(tmp_path: Path) -> None:
    path = tmp_path / "order"
    with Flow() as flow:
        for _ in range(4):
            exclusive(path)
    with Pool(2, resources={"gpu": 1}) as pool:
        flow.run(pool=pool)
    assert path.read_text().split() == ["begins", "ends"] * 4


def test_a_node_that_claims_all_processors_runs_alone(tmp_path: Path) -> None:
    path = tmp_path / "order"
    with Flow() as flow:
        for _ in range(3):
            on_both(path)
    flow.run(workers=2)
    assert path.read_text().split() == ["begins", "ends"] * 3


def test_a_claim_beyond_what_the_pool_has_is_refused_before_anything_runs(tmp_path: Path) -> None:
    path = tmp_path / "order"
    with Flow() as flow:
        note(path, "other")
        exclusive(path)
    with pytest.raises(NotEnoughResources, match=r"'exclusive#0'.*gpu=1, and the pool has no 'gpu'"):
        flow.run(workers=1)
    with (
        Pool(1, resources={"gpu": 0.5}) as pool,
        pytest.raises(InvalidFlowError, match=r"gpu=0\.5\. Ask"),
    ):
        flow.run(pool=pool)
    assert not path.exists()
    flow.run(workers=0)  # inline, nothing is claimed


def test_what_makes_no_sense_is_refused_where_the_node_is_written() -> None:
    with pytest.raises(TypeError, match="priority must be a number, not 'high'"):
        node(priority="high")(note.__wrapped__)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="placement='inline' uses none"):
        node(cpus=1, placement="inline")(note.__wrapped__)

    def generate() -> Iterator[int]:
        yield 1

    def read(stream: Stream[int]) -> int:
        return sum(stream)

    for body in (generate, read):
        with pytest.raises(ValueError, match="reads or writes a stream cannot have cpus="):
            node(resources={"gpu": 1})(body)
    with pytest.raises(ValueError, match=r"number from 0 on, not -1"), Pool(1, resources={"gpu": -1}):
        pass


def test_options_and_the_length_of_the_path_are_in_the_spec(tmp_path: Path) -> None:
    path = tmp_path
    with Flow() as flow:
        a = note(path, "a")
        b = note(path, "b", a)
        note(path, "c", a, b)
        urgent(path, "d")
        on_both(path)
    spec, _ = compile_flow(flow, workers=1, encode_code=lambda _: b"", encode_value=dumps)
    assert [each.criticality for each in spec.nodes] == [2, 1, 0, 0, 0]
    assert [each.priority for each in spec.nodes] == [0, 0, 0, -1, 0]
    assert spec.nodes[4].demand == (("cpus", 2),)


@node
def make(_: Path, path: Path) -> bytes:
    noted(path, "made")
    time.sleep(0.011)  # too long to be sent ahead
    return bytes(100_000)


@node
def use(data: bytes, path: Path) -> int:
    noted(path, "used")
    return len(data)


@node
def add_up(*sizes: int) -> int:
    return sum(sizes)


def test_a_wide_fan_out_uses_what_it_makes_before_it_makes_more(tmp_path: Path) -> None:
    path = tmp_path / "order"
    with Flow() as flow:
        flow.total = add_up(*[use(make(note(path, "start"), path), path) for _ in range(12)])
    flow.run(workers=1)
    assert flow.total.get_data() == (1_200_000,)
    unused, most = 0, 0
    for event in path.read_text().split():
        unused += {"made": 1, "used": -1}.get(event, 0)
        most = max(most, unused)
    assert most <= 2


MEGABYTE = 1 << 20


@node
def megabyte(number: int) -> bytes:
    return bytes([number]) * MEGABYTE


@node
def sizes(*values: bytes) -> tuple[int, int, int]:
    """What there is, how much memory this process has, and how much it has had at most."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    now, peak = (int(lines[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
    return sum(map(len, values)), now, peak


def test_a_worker_never_holds_what_it_gathers_twice() -> None:
    width = 64
    with Flow() as flow:
        flow.sizes = sizes(*[megabyte(number) for number in range(width)])
    flow.run(workers=1)
    [(gathered, now, peak)] = flow.sizes.get_data()
    assert gathered == width * MEGABYTE
    assert peak < now + width * MEGABYTE / 2
