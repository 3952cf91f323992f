"""Flows on real worker processes: results, errors, and nothing left behind (items 8, 9 and FAULTS)."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from executor.body import Stream
from executor.code import encode_code
from executor.errors import RemoteTraceback, WorkerCrashed
from executor.pool import Pool
from orchestrator.coordinator import Coordinator
from orchestrator.errors import MissingDefaultError
from orchestrator.event_loop import EventLoop, sleep
from orchestrator.graph.compile import compile_flow
from orchestrator.graph.draft import parameter
from orchestrator.graph.flow import Flow
from orchestrator.graph.node import node
from orchestrator.pump import Pump
from orchestrator.running import ParameterError
from orchestrator.runtime.errors import (
    FlowTimeoutError,
    NodeError,
    RemoteError,
    TerminateLimitReached,
    ValueReleased,
)
from orchestrator.runtime.job import Job
from orchestrator.spec import FlowSpec, Locals
from protocol.serialization import dumps, loads
from tests.runtime.graphs import check_rule_19, mono_flow, stream_flow, values_of


@node
def double(x: int) -> int:
    return 2 * x


@node
def numbers(count: int) -> Any:
    yield from range(count)


@node
def total(chunks: Stream[int]) -> int:
    return sum(chunks)


@node
async def async_total(chunks: Stream[int]) -> int:
    found = 0
    async for chunk in chunks:
        found += chunk
    return found


@node
def pid_of(_: Any = None) -> int:
    return os.getpid()


def test_bodies_run_in_worker_processes_and_give_their_results(pool: Pool) -> None:
    with Flow() as f:
        f.four = double(double(1))
        f.pid = pid_of()
    report = f.run(pool=pool)
    assert f.four.get_data() == (4,)
    assert f.pid.get_data()[0] != os.getpid()
    assert report.status == "done"
    assert report.nodes["four"].runs == 1
    assert report.nodes["four"].bytes > 0


@pytest.mark.parametrize("workers", [0, 2])
def test_streams_of_all_kinds_cross_processes(workers: int) -> None:
    with Flow() as f:
        f.numbers = numbers(100)
        f.total = total(f.numbers)
        f.async_total = async_total(f.numbers)
        f.doubled = double.map(f.numbers)
        f.map_total = total(f.doubled)
    report = f.run(workers=workers)
    assert f.total.get_data() == f.async_total.get_data() == (4950,)
    assert f.map_total.get_data() == (9900,)
    assert report.nodes["numbers"].chunks == 100


def test_more_live_bodies_than_workers_make_a_pipeline(pool: Pool) -> None:
    @node
    def add_one(chunks: Stream[int]) -> Any:
        for chunk in chunks:
            yield chunk + 1

    with Flow() as f:
        stage = numbers(50)
        for _ in range(9):
            stage = add_one(stage)
        f.total = total(stage)
    f.run(pool=pool)
    assert f.total.get_data() == (1225 + 450,)


def test_rule_52_a_fork_is_repaired_at_once_beside_a_slow_unrelated_node(
    pool: Pool, tmp_path: Path
) -> None:
    @node
    def slow(path: str) -> bool:
        while not Path(path).exists():  # would be for ever, if the repair waited for quiet
            time.sleep(0.01)
        return True

    @node
    def negative(chunks: Stream[int]) -> Any:
        for chunk in chunks:
            yield -chunk

    @node
    def join(a: Stream[int], b: Stream[int], path: str) -> list[int]:
        seen = [*a, *b]
        Path(path).touch()
        return seen

    path = str(tmp_path / "joined")
    with Flow() as f:
        f.slow = slow(path)
        f.source = numbers(50)
        f.join = join(double.map(f.source), negative(f.source), path)
    report = f.run(pool=pool)
    assert f.join.get_data() == ([2 * x for x in range(50)] + [-x for x in range(50)],)
    assert f.slow.get_data() == (True,)
    assert report.widened


def test_a_flow_spec_is_plain_data_that_runs_where_it_is_decoded(pool: Pool) -> None:
    with Flow() as f:
        f.numbers = numbers(10)
        f.total = total(double.map(f.numbers))
    spec, local = compile_flow(f, workers=2, encode_code=encode_code, encode_value=dumps)
    assert local == Locals()
    decoded = msgspec.msgpack.decode(msgspec.msgpack.encode(spec), type=FlowSpec)
    assert decoded == spec
    coordinator = Coordinator(Job(decoded, Locals(), {}, {}), Pump(pool))
    EventLoop().run_until_complete(coordinator.run(), join=True, wait_for_spawned_tasks=False)
    [number] = [index for index, each in enumerate(decoded.nodes) if each.name == "total"]
    [final] = coordinator.machine.newest.finals[number].outputs or ()
    assert loads(final) == 90


def test_inline_nodes_and_worker_nodes_exchange_values(pool: Pool) -> None:
    seen: list[int] = []

    @node(placement="inline")
    def here(chunks: Stream[int]) -> Any:
        for chunk in chunks:
            seen.append(chunk)
            yield (chunk, os.getpid())

    @node
    def there(chunks: Stream[tuple[int, int]]) -> list[int]:
        return [chunk for chunk, pid in chunks if pid != os.getpid()]

    with Flow() as f:
        f.here = here(numbers(5))
        f.there = there(f.here)
    f.run(pool=pool)
    assert seen == [0, 1, 2, 3, 4]
    assert f.there.get_data() == ([0, 1, 2, 3, 4],)


def test_rule_37_a_class_keeps_its_state_on_one_worker(pool: Pool) -> None:
    class Counter:
        seen: list[int] = []  # noqa: RUF012 - each node gets a copy

        def call(self, x: int = 0) -> int:
            self.seen.append(x)
            return len(self.seen)

    counter = node(Counter)
    with Flow() as f:
        f.a = counter(f.b)
        f.b = counter(f.a)
    report = f.run(pool=pool, stop_at_node_generation={f.b: (5,)})
    assert report.status == "limit"
    assert f.b.get_data() == (6,)


def test_a_stop_limit_is_raised_by_run_until_complete(pool: Pool) -> None:
    @node
    def increment(x: int = 0) -> int:
        return x + 1

    with Flow() as f:
        f.count = increment(f.count)
    with pytest.raises(TerminateLimitReached, match=r"count reached generation \(3,\)"):
        f.run_until_complete(stop_at_node_generation=(3,), pool=pool)
    assert f.count.get_data() == (4,)


def test_a_pool_is_reused_and_its_workers_stay(pool: Pool) -> None:
    pids = set()
    for _ in range(3):
        with Flow() as f:
            f.pid = pid_of()
        f.run(pool=pool)
        pids |= set(f.pid.get_data())
    assert len(pids) <= 2


def test_parameters_are_given_at_run_time(pool: Pool) -> None:
    with Flow() as f:
        f.twice = double(parameter("x", 4))
    f.run(pool=pool)
    assert f.twice.get_data() == (8,)
    f.run(pool=pool, parameters={"x": 5})
    assert f.twice.get_data() == (10,)
    with pytest.raises(ParameterError, match="has no parameter 'y'; it has: x"):
        f.run(pool=pool, parameters={"y": 5})


def test_large_values_cross_and_are_released_when_read() -> None:
    @node
    def big() -> bytes:
        return b"x" * 3_000_000

    @node
    def length(value: bytes) -> int:
        return len(value)

    with Flow() as f:
        f.big = big()
        f.length = length(f.big)
        f.kept = node(keep=True)(big.__wrapped__)()
        f.length_of_kept = length(f.kept)
    f.run(workers=1)
    assert f.length.get_data() == (3_000_000,)
    assert len(f.kept.get_data()[0]) == 3_000_000
    with pytest.raises(ValueReleased, match="keep=True"):
        f.big.get_data()


@pytest.mark.parametrize("block", range(10))
def test_rule_19_holds_for_random_graphs_inline_and_on_workers(pool: Pool, block: int) -> None:
    """500 seeds: inline the reads are logged, on workers the results say what was read (I1)."""
    for seed in range(block * 50, (block + 1) * 50):
        reads: list[Any] = []
        flow, producers = mono_flow(seed, cyclic=seed % 3 > 0, reads=reads)
        try:
            flow.run(workers=0, stop_at_node_generation=(4,))
        except MissingDefaultError:  # pragma: no cover - every port has a default
            continue
        check_rule_19(flow, producers, reads)
        flow, producers = mono_flow(seed, cyclic=seed % 3 > 0, reads=None)
        flow.run(pool=pool, stop_at_node_generation=(4,))
        newest = [data[0] for data in values_of(flow).values() if data is not None]
        check_rule_19(flow, producers, newest)


@pytest.mark.parametrize("block", range(5))
def test_a4_random_streams_give_the_same_values_inline_and_on_workers(pool: Pool, block: int) -> None:
    for seed in range(block * 10, (block + 1) * 10):
        results = []
        unfinished: set[str] = set()
        for window in (0, 1, 8):
            choices: list[dict[str, Any]] = [{"workers": 0}, {"pool": pool}]
            for options in choices:
                flow = stream_flow(seed, window)
                unfinished |= set(flow.run(**options).unfinished)
                results.append(values_of(flow))
        first, *others = (
            {name: value for name, value in result.items() if name not in unfinished}
            for result in results
        )
        assert all(other == first for other in others), seed


# -- what goes wrong ------------------------------------------------------------------------------------


class OwnError(Exception):
    def __init__(self, code: int, why: str) -> None:
        super().__init__(code, why)
        self.code = code


def test_rule_67_a_node_s_own_exception_is_raised_with_the_remote_traceback(pool: Pool) -> None:
    @node
    def fails(x: int) -> None:
        raise OwnError(x, "because")

    with Flow() as f:
        f.bad = fails(7)
    with pytest.raises(OwnError) as caught:
        f.run(pool=pool)
    assert caught.value.code == 7
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert "in fails" in caught.value.__cause__.text
    assert "life_cycle" not in caught.value.__cause__.text
    (note,) = caught.value.__notes__
    assert re.fullmatch(r"raised in node 'bad', run 0, attempt 0, pid \d+", note)
    assert not note.endswith(f" {os.getpid()}")


def test_f16_an_exception_that_does_not_pickle_travels_as_text(pool: Pool) -> None:
    @node
    def fails() -> None:
        error = ValueError("deep")
        error.lock = threading.Lock()  # type: ignore[attr-defined]
        raise error

    with Flow() as f:
        f.bad = fails()
    with pytest.raises(RemoteError, match="ValueError: deep") as caught:
        f.run(pool=pool)
    (note,) = caught.value.__notes__
    assert re.fullmatch(r"raised in node 'bad', run 0, attempt 0, pid \d+", note)
    assert not note.endswith(f" {os.getpid()}")
    assert ".lock cannot be pickled" in str(caught.value.__cause__)


def test_f16_an_exception_that_does_not_unpickle_travels_as_text(pool: Pool) -> None:
    class PickyError(Exception):
        def __init__(self, code: int, why: str) -> None:
            super().__init__(f"{code}: {why}")

    @node
    def fails() -> None:
        raise PickyError(7, "two arguments")

    with Flow() as f:
        f.bad = fails()
    with pytest.raises(RemoteError, match="PickyError: 7: two arguments") as caught:
        f.run(pool=pool)
    assert "does not unpickle as it was" in str(caught.value.__cause__)


def test_f3_sys_exit_is_an_ordinary_node_error(pool: Pool) -> None:
    @node
    def leaves() -> None:
        sys.exit(3)

    with Flow() as f:
        f.bad = leaves()
    with pytest.raises(SystemExit) as caught:
        f.run(pool=pool)
    assert caught.value.code == 3
    assert "raised in node 'bad'" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("what", "named"),
    [("result", "result"), ("chunk", "chunk")],
)
def test_f15_a_result_that_does_not_pickle_names_the_node_and_the_path(
    pool: Pool, what: str, named: str
) -> None:
    @node
    def result() -> Any:
        return {"a": [1, threading.Lock()]}

    @node
    def chunk() -> Any:
        yield 1
        yield {"a": [1, threading.Lock()]}

    with Flow() as f:
        f.bad = result() if what == "result" else chunk()
        f.reader = double.map(f.bad)
    with pytest.raises(NodeError, match=r"node 'bad'.*\['a'\]\[1\]"):
        f.run(pool=pool)


def test_rule_48_a_stream_that_is_returned_is_refused_with_what_to_do_instead() -> None:
    @node(placement="thread")
    def hand_on(numbers: Stream[int]) -> Any:
        return numbers

    with Flow() as f:
        f.hand_on = hand_on(numbers(3))
    with pytest.raises(NodeError, match=r"'hand_on' .*pass on what you have read: 'yield from'"):
        f.run(workers=0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"timeout_s": -1}, "timeout_s must be a number of seconds above 0, not -1"),
        ({"timeout_s": "3"}, "timeout_s must be a number of seconds, not '3'"),
        ({"timeout_s": float("nan")}, "timeout_s must be a number of seconds above 0, not nan"),
        ({"parameters": ["p"]}, r"parameters= must be a mapping of names to values, not \['p'\]"),
        ({"context_factory": 3}, "context_factory= must be a function of a NodeInfo, not 3"),
        ({"workers": None, "pool": 2}, "pool= must be a Pool, not 2"),
    ],
)
def test_options_of_a_run_that_are_none_are_refused_before_anything_runs(
    options: dict[str, Any], says: str
) -> None:
    ran = []

    @node(placement="inline")
    def runs() -> None:
        ran.append(True)

    with Flow() as f:
        f.runs = runs()
    with pytest.raises((TypeError, ValueError), match=says):
        f.run(**{"workers": 0, **options})
    assert not ran


@pytest.mark.parametrize("streams", [False, True])
def test_f15_an_inline_value_that_cannot_leave_names_the_node_and_the_path(
    pool: Pool, streams: bool
) -> None:
    @node(placement="inline")
    def result() -> Any:
        return {"a": [1, threading.Lock()]}

    @node(placement="inline")
    def chunk() -> Any:
        yield {"a": [1, threading.Lock()]}

    with Flow() as f:
        f.bad = chunk() if streams else result()
        f.reader = total(f.bad) if streams else double(f.bad)
    with pytest.raises(NodeError, match=r"node 'bad'.*'reader', which runs in a worker.*\['a'\]\[1\]"):
        f.run(pool=pool)
    with Flow() as f:  # and the pool is as good as new
        f.four = double(2)
    f.run(pool=pool)


def test_f15_an_argument_that_does_not_pickle_names_the_node_and_the_path(pool: Pool) -> None:
    argument: Any = {"lock": threading.Lock()}
    with Flow() as f:
        f.bad = double(argument)
    with pytest.raises(TypeError, match=r"'x' of node 'bad'.*\['lock'\]"):
        f.run(pool=pool)


@pytest.mark.parametrize("how", ["os._exit(0)", "os.kill(os.getpid(), 9)"])
def test_f1_f3_a_worker_that_dies_fails_the_flow_by_name(how: str) -> None:
    @node
    def dies(how: str) -> None:
        exec(how, {"os": os})

    with Pool(2) as own:
        with Flow() as f:
            f.fine = double(1)
            f.bad = dies(how)
        with pytest.raises(WorkerCrashed) as caught:
            f.run(pool=own)
        assert "'bad'" in str(caught.value)
        assert ("SIGKILL" if "kill" in how else "exit") in str(caught.value)
        with Flow() as f:  # the worker was replaced
            f.four = double(2)
        f.run(pool=own)
        assert f.four.get_data() == (4,)


def test_a8_an_element_that_runs_when_its_map_is_cancelled_costs_nobody_a_worker(
    tmp_path: Path,
) -> None:
    @node
    def waits_from_the_second_on(x: int, path: str) -> int:
        while x and not Path(path).exists():
            time.sleep(0.01)
        return x

    @node(placement="inline")  # both workers are busy with elements
    def first(chunks: Stream[int]) -> int:
        for chunk in chunks:
            chunks.cancel()
        return chunk

    @node(placement="inline")
    async def later(x: int, path: str) -> int:
        await sleep(0.3)  # longer than the grace that a cancelled body gets
        Path(path).touch()
        return x

    path = str(tmp_path / "go")
    with Pool(2, grace_s=0.05) as own:
        own.wait_ready()
        before = {child.pid for child in psutil.Process().children(recursive=True)}
        with Flow() as f:
            f.mapped = waits_from_the_second_on.map(numbers(9), path)
            f.later = later(first(f.mapped), path)
        assert f.run(pool=own).status == "done"
        assert f.later.get_data() == (0,)
        assert {child.pid for child in psutil.Process().children(recursive=True)} == before


def test_rule_71_a_timeout_ends_the_run_and_frees_the_workers() -> None:
    @node
    def waits(chunks: Stream[int]) -> int:
        return sum(chunks)

    @node
    def slow() -> Any:
        yield 1
        time.sleep(60)

    with Pool(2, grace_s=0.1) as own:
        with Flow() as f:
            f.slow = slow()
            f.waits = waits(f.slow)
        with pytest.raises(FlowTimeoutError, match="did not end within") as caught:
            f.run(pool=own, timeout_s=0.5)
        assert "slow" in str(caught.value)
        with Flow() as f:
            f.four = double(2)
        f.run(pool=own)
        assert f.four.get_data() == (4,)


def test_a_failing_node_closes_the_suspended_ones(tmp_path: Path) -> None:
    closed = tmp_path / "closed"

    @node
    def source(path: str) -> Any:
        try:
            yield from range(1000)
        finally:
            Path(path).write_text("closed")

    @node
    def fails(chunks: Stream[int]) -> None:
        next(iter(chunks))
        raise ValueError("enough")

    with Flow() as f:
        f.source = source(str(closed))
        f.fails = fails(f.source)
    with pytest.raises(ValueError, match="enough"):
        f.run(workers=2)
    assert closed.read_text() == "closed"


SCRIPT = """
import os, sys, time
from orchestrator import Flow, node

@node
def work(seconds):
    print("working", flush=True)
    time.sleep(seconds)

class Mine(Exception):
    pass

@node
def give(x, of=lambda value: value + 1):
    return of(x)

with Flow() as flow:
    flow.given = give(41)
    flow.work = work(float(sys.argv[1]))
flow.run(workers=2)
print(flow.given.get_data())
"""


def processes_of(script: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(script.pid).children(recursive=True)


def start(tmp_path: Path, seconds: float) -> subprocess.Popen[str]:
    path = tmp_path / "job.py"
    path.write_text(SCRIPT)
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    script = subprocess.Popen(
        [sys.executable, str(path), str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert script.stdout is not None
    assert script.stdout.readline() == "working\n"
    return script


def test_a_script_needs_no_main_guard(tmp_path: Path) -> None:
    script = start(tmp_path, 0)
    out, err = script.communicate()
    assert (script.returncode, out) == (0, "(42,)\n"), err
    assert [path.name for path in tmp_path.iterdir()] == ["job.py"]


def test_a_flow_runs_from_python_c_from_standard_input_and_interactively() -> None:
    code = SCRIPT.replace("sys.argv[1]", "0")
    # An interactive session ends a block with an empty line and runs statement by statement.
    typed = code.replace("\nflow.run", "\n\nflow.run")
    for arguments, given in ((["-c", code], None), (["-"], code), (["-i"], typed)):
        ended = subprocess.run(
            [sys.executable, *arguments], input=given, capture_output=True, text=True, check=True
        )
        assert "(42,)\n" in ended.stdout, ended.stderr


def test_p5_killing_the_coordinator_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    script = start(tmp_path, 100)
    workers = processes_of(script)
    assert len(workers) >= 2
    script.kill()
    script.communicate()
    gone, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive
    assert gone
    assert [path.name for path in tmp_path.iterdir()] == ["job.py"]


@pytest.mark.parametrize("presses", [1, 2])
def test_f11_ctrl_c_ends_the_run_and_leaves_nothing(tmp_path: Path, presses: int) -> None:
    script = start(tmp_path, 100)
    workers = processes_of(script)
    for _ in range(presses):
        script.send_signal(signal.SIGINT)
        time.sleep(0.05)  # two that come together are one
    _, err = script.communicate()
    assert "KeyboardInterrupt" in err
    assert "nobody joined" not in err
    assert "never awaited" not in err
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive
    assert [path.name for path in tmp_path.iterdir()] == ["job.py"]
