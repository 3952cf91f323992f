"""Pools of real processes: results, deaths and clean-up (FAULTS F1-F3, F9, F10, F19, F25, F26, F33)."""

from __future__ import annotations

import collections
import ctypes
import itertools
import os
import random
import re
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from executor import bootstrap, roster
from executor.body import Stream
from executor.code import BodyCode, encode_code
from executor.errors import PoolBroken, PoolClosed
from executor.host import Code, Input, Invocation, WorkerLoss
from executor.pool import Pool
from protocol.messages import (
    UNLIMITED,
    AttemptKey,
    Digest,
    ErrorReport,
    Missing,
    NodeId,
    RunId,
    StreamInput,
)
from protocol.serialization import dumps, loads
from protocol.values import Value

RUN = RunId(1)


class Owner:
    """Drives a pool as a coordinator does, and keeps what it reports."""

    def __init__(self, pool: Pool, run: RunId = RUN) -> None:
        self.pool = pool
        self.run = run
        self.results: dict[int, Any] = {}
        self.errors: dict[int, ErrorReport] = {}
        self.losses: dict[int, WorkerLoss] = {}
        self.cancellations: list[int] = []
        self.emitted: dict[int, list[Any]] = {}
        self.waiting: list[int] = []
        self.taken: list[int] = []
        pool.attach(run, self)

    def invoke(
        self, node: int, body: Callable[..., object], *inputs: Input, credit: int = UNLIMITED
    ) -> AttemptKey:
        key = AttemptKey(self.run, NodeId(node), 0)
        code = Code(Digest(body.__qualname__.encode()), encode_code(BodyCode(body)))
        self.pool.invoke(Invocation(key, code, list(inputs), credit, name=f"n{node}"))
        return key

    def until(self, condition: Callable[[], object]) -> None:
        """Pump until something holds; pytest's own timeout is the limit."""
        self.pool.flush()
        while not condition():
            self.pool._pump()

    def result(self, node: int, body: Callable[..., object], *inputs: Input) -> Any:
        self.invoke(node, body, *inputs)
        self.until(lambda: self.ended(node))
        assert node in self.results, (self.errors, self.losses, self.cancellations)
        return self.results.pop(node)

    def ended(self, node: int) -> bool:
        return any(node in ends for ends in (self.results, self.errors, self.losses, self.cancellations))

    # -- Reports ----------------------------------------------------------------------------------

    def chunks(self, key: AttemptKey, first: int, count: int, width: int, values: list[Value]) -> None:
        self.emitted.setdefault(key.node, []).extend(map(loads, values))

    def read(self, key: AttemptKey, port: int, upto: int) -> None:
        self.taken.append(key.node)

    def wait(self, key: AttemptKey, port: int, chunk: int, resting_on: int) -> None:
        self.waiting.append(key.node)

    def cancel_stream(self, key: AttemptKey, port: int) -> None: ...

    def cancel_thrown(self, key: AttemptKey, merged: int, emitted: int) -> None: ...

    def completed(
        self,
        key: AttemptKey,
        emitted: int,
        seconds: float,
        outputs: list[Value],
        missing: Missing | None,
        state: Value | None = None,
    ) -> None:
        self.results[key.node] = loads(outputs[0]) if outputs else missing

    def failed(
        self, key: AttemptKey, emitted: int, seconds: float, error: ErrorReport, cause: Value | None
    ) -> None:
        self.errors[key.node] = error

    def cancelled(self, key: AttemptKey) -> None:
        self.cancellations.append(key.node)

    def lost(self, key: AttemptKey, loss: WorkerLoss) -> None:
        self.losses[key.node] = loss


@pytest.fixture(scope="module")
def shared_pool() -> Iterator[Pool]:
    with Pool(2, grace_s=1.0) as pool:
        pool.wait_ready()
        yield pool


@pytest.fixture
def owner(shared_pool: Pool) -> Iterator[Owner]:
    """An owner of two ready workers; whatever it does to them, the next test has two again."""
    shared_pool.wait_ready()
    yield Owner(shared_pool)
    shared_pool.detach(RUN)
    shared_pool._machine.check()
    while shared_pool._machine.attempts():
        shared_pool._pump()
    shared_pool.wait_ready()


# -- bodies ----------------------------------------------------------------------------------------


def double(x: int) -> int:
    return 2 * x


def about_the_process() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "leads its session": os.getsid(0) == os.getpid(),
        "ignores ctrl-c": signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
        "path": list(sys.path),
        "stdin": os.readlink("/proc/self/fd/0"),  # noqa: PTH115
        "oom": int(Path("/proc/self/oom_score_adj").read_text()),
        "recursion": sys.getrecursionlimit(),
        "main": sorted(vars(sys.modules["__main__"])),
        "threads for blas": os.environ["OMP_NUM_THREADS"],
    }


def draw() -> float:
    time.sleep(0.01)  # so that one worker does not draw twice
    return random.random()


def total(chunks: Stream[int]) -> int:
    return sum(chunks)


def numbers(count: int) -> Any:
    yield from range(count)


def end_by(how: str) -> None:
    if how == "os._exit(0)":
        os._exit(0)
    if how == "os._exit(3)":
        os._exit(3)
    if how == "segmentation fault":
        ctypes.string_at(0)
    os.kill(os.getpid(), getattr(signal, how))


def sleep(seconds: float) -> None:
    time.sleep(seconds)


def spin(_: Stream[int]) -> None:
    while True:
        pass


def sleep_long(_: Stream[int]) -> None:
    time.sleep(1000)


def spin_after_a_chunk(chunks: Stream[int]) -> Any:
    yield next(chunks)
    while True:
        pass


def clean_up_slowly(_: Stream[int]) -> None:
    """Its ``finally`` takes longer than a signal that was not taken takes to be sent again."""
    try:
        time.sleep(1000)
    finally:
        time.sleep(0.03)


def swallow_for_ever() -> None:
    while True:
        try:
            time.sleep(1000)
        except BaseException:
            pass


def loop_in_c() -> None:
    collections.deque(itertools.repeat(None), maxlen=0)


def work_a_little(number: int) -> int:
    sum(range(number % 7 * 1000))
    return number


def sleep_after_a_chunk(chunks: Stream[int]) -> None:
    next(chunks)
    time.sleep(1000)


def start_a_child() -> int:
    return subprocess.Popen(["sleep", "1000"]).pid


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_for(condition: Callable[[], object]) -> None:
    while not condition():
        time.sleep(0.001)  # nothing to wait on: these are not our children


# -- running ---------------------------------------------------------------------------------------


def test_a_body_runs_in_a_worker_and_its_result_comes_back(owner: Owner) -> None:
    assert owner.result(1, double, dumps(21)) == 42


def test_large_values_go_and_come_whole(owner: Owner) -> None:
    array = np.arange(1 << 20)
    assert np.array_equal(owner.result(1, double, dumps(array)), 2 * array)


def test_a_worker_is_a_session_of_its_own_with_our_path_and_without_our_main(owner: Owner) -> None:
    found = owner.result(1, about_the_process)
    assert found["pid"] != os.getpid()
    assert found["leads its session"]
    assert found["ignores ctrl-c"]
    assert found["path"] == sys.path
    assert found["stdin"] == "/dev/null"
    assert found["oom"] >= 500
    assert found["recursion"] == sys.getrecursionlimit()
    assert "__file__" not in found["main"]
    assert int(found["threads for blas"]) >= 1


def test_many_attempts_all_end_in_any_order(owner: Owner) -> None:
    for node in range(2_000):
        owner.invoke(node, double, dumps(node))
    owner.until(lambda: len(owner.results) == 2_000)
    assert owner.results == {node: 2 * node for node in range(2_000)}


def test_more_bodies_live_than_workers_exist(owner: Owner) -> None:
    """Suspended readers hold no place; what is said to those that wait in line is not lost."""
    keys = [owner.invoke(node, total, StreamInput()) for node in range(20)]
    owner.pool.deliver(keys[19], 0, 0, [dumps(5)])
    owner.until(lambda: len(owner.waiting) == 20)
    for key in keys:
        owner.pool.deliver(key, 0, 1 if key is keys[19] else 0, [dumps(1), dumps(2)])
        owner.pool.end_stream(key, 0, 3 if key is keys[19] else 2)
    owner.until(lambda: len(owner.results) == 20)
    assert [owner.results[node] for node in range(20)] == [3] * 19 + [8]


def test_a_generator_rests_at_its_gate_until_it_may_produce(owner: Owner) -> None:
    key = owner.invoke(1, numbers, dumps(5), credit=2)
    owner.until(lambda: len(owner.emitted.get(1, [])) == 2)
    assert owner.result(2, double, dumps(1)) == 2
    assert owner.emitted[1] == [0, 1]
    owner.pool.produce(key, UNLIMITED)
    owner.until(lambda: owner.ended(1))
    assert owner.emitted[1] == [0, 1, 2, 3, 4]
    assert owner.results[1] == 10


def test_workers_have_different_random_numbers(owner: Owner) -> None:
    owner.invoke(1, draw)
    owner.invoke(2, draw)
    owner.until(lambda: len(owner.results) == 2)
    assert owner.results[1] != owner.results[2]


# -- deaths ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ("os._exit(0)", 0),
        ("os._exit(3)", 3),
        ("SIGKILL", -9),
        ("SIGTERM", -15),
        ("segmentation fault", -11),
    ],
)
def test_a_death_is_reported_with_its_status_and_charged_and_another_worker_comes(
    owner: Owner, how: str, status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    owner.invoke(1, end_by, dumps(how))
    owner.until(lambda: owner.ended(1))
    loss = owner.losses[1]
    assert (loss.status, loss.charged) == (status, True)
    assert loss.evidence.peak_bytes > 1 << 20
    assert ("Segmentation fault" in loss.evidence.trace) is (status == -11)
    assert not is_alive(loss.pid)
    assert owner.result(2, double, dumps(4)) == 8
    owner.pool.wait_ready()
    assert len(owner.pool._peers) == 2


def test_a_suspended_body_is_not_charged_with_the_death_of_its_worker_p9() -> None:
    with Pool(1) as pool:
        owner = Owner(pool)
        owner.invoke(1, total, StreamInput())
        owner.until(lambda: owner.waiting)
        owner.invoke(2, end_by, dumps("SIGKILL"))
        owner.until(lambda: len(owner.losses) == 2)
        assert {node: loss.charged for node, loss in owner.losses.items()} == {1: False, 2: True}


def test_a_worker_that_is_killed_while_idle_is_replaced(owner: Owner) -> None:
    before = owner.result(1, about_the_process)["pid"]
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: not is_alive(before))
    owner.until(lambda: before not in {pid_of(owner.pool, worker) for worker in owner.pool._peers})
    assert owner.result(2, double, dumps(4)) == 8


def pid_of(pool: Pool, worker: int) -> int:
    return pool._machine._workers[worker].pid


@pytest.mark.parametrize("body", [spin, sleep_long, spin_after_a_chunk, clean_up_slowly])
def test_a_cancelled_body_that_runs_is_interrupted_and_its_worker_lives_on(
    owner: Owner, body: Callable[..., object]
) -> None:
    workers = set(owner.pool._peers)
    key = owner.invoke(1, body, StreamInput())
    owner.pool.deliver(key, 0, 0, [dumps(1)])
    owner.pool.flush()
    wait_for(lambda: any(peer.stepping.number for peer in owner.pool._peers.values()))
    owner.pool.cancel(key)
    owner.until(lambda: owner.ended(1))
    assert (owner.cancellations, owner.losses, owner.errors) == ([1], {}, {})
    assert owner.result(2, double, dumps(4)) == 8
    assert set(owner.pool._peers) == workers


@pytest.mark.parametrize("body", [swallow_for_ever, loop_in_c])
def test_a_body_that_nothing_ends_costs_its_worker_after_the_grace_and_others_run_again(
    owner: Owner, body: Callable[..., object]
) -> None:
    workers = set(owner.pool._peers)
    suspended = [owner.invoke(node, total, StreamInput()) for node in range(10, 14)]
    owner.until(lambda: len(owner.waiting) == len(suspended))
    key = owner.invoke(1, body)
    owner.pool.flush()
    wait_for(lambda: any(peer.stepping.number for peer in owner.pool._peers.values()))
    owner.pool.cancel(key)
    owner.until(lambda: owner.ended(1))
    assert owner.cancellations == [1]
    assert len(set(owner.pool._peers) & workers) == 1
    assert owner.losses
    assert not any(loss.charged for loss in owner.losses.values())
    assert owner.result(2, double, dumps(4)) == 8


def test_interrupts_at_random_moments_lose_nothing_and_hit_nobody_else() -> None:
    """A dozen attempts go on; now and then one of them is cancelled, whatever it does."""
    with Pool(2) as pool:
        pool.wait_ready()
        owner = Owner(pool)
        workers = set(owner.pool._peers)
        chance = random.Random(7)
        live: dict[int, AttemptKey] = {}
        cancelled = set()
        for node in range(1_500):
            live[node] = owner.invoke(node, work_a_little, dumps(node))
            for victim in chance.sample(list(live), k=min(len(live), chance.randrange(3))):
                cancelled.add(victim)
                owner.pool.cancel(live.pop(victim))
            owner.pool.flush()
            owner.pool.on_deadline(time.monotonic())
            for ended in [each for each in live if owner.ended(each)]:
                del live[ended]
            owner.until(lambda: sum(not owner.ended(each) for each in live) < 10)
        owner.until(lambda: all(map(owner.ended, range(1_500))))
        assert (owner.losses, owner.errors) == ({}, {})
        assert set(owner.cancellations) <= cancelled
        assert len(owner.cancellations) + len(owner.results) == 1_500
        assert owner.results == {node: node for node in owner.results}
        assert set(owner.pool._peers) == workers


def test_suspended_and_waiting_attempts_are_cancelled_without_a_kill(owner: Owner) -> None:
    pids = {pid_of(owner.pool, worker) for worker in owner.pool._peers}
    suspended = owner.invoke(1, total, StreamInput())
    owner.until(lambda: owner.waiting)
    owner.pool.cancel(suspended)
    owner.until(lambda: owner.ended(1))
    assert owner.cancellations == [1]
    assert {pid_of(owner.pool, worker) for worker in owner.pool._peers} == pids


def test_what_a_run_leaves_behind_is_given_up_when_it_detaches() -> None:
    with Pool(1, grace_s=0.1) as pool:
        owner = Owner(pool)
        owner.invoke(1, sleep, dumps(1000))
        owner.invoke(2, double, dumps(1))
        owner.pool.flush()
        pool.detach(RUN)
        second = Owner(pool)
        assert second.result(3, double, dumps(4)) == 8
        assert not owner.ended(1)


def test_when_the_zygote_dies_all_its_workers_go_and_others_come_f33() -> None:
    with Pool(2) as pool:
        owner = Owner(pool)
        before = owner.result(1, about_the_process)["pid"]
        owner.invoke(2, sleep, dumps(1000))
        pool.flush()
        zygote = pool._resources.nursery
        assert zygote is not None
        zygote._process.kill()
        owner.until(lambda: owner.ended(2))
        assert owner.losses[2].charged is False
        wait_for(lambda: not is_alive(before))
        assert owner.result(3, double, dumps(4)) == 8


def test_if_no_worker_comes_up_the_pool_gives_up_and_says_how_they_ended_f9(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "program.py"
    program.write_text("import sys; print('no such module', file=sys.stderr); raise SystemExit(3)")
    monkeypatch.setattr(bootstrap, "__file__", str(program))
    with Pool(2) as pool:
        owner = Owner(pool)
        owner.invoke(1, double, dumps(1))
        owner.until(lambda: owner.ended(1))
        assert owner.losses[1].status == 3
        assert owner.losses[1].pid == 0
        assert pool.failure is not None
        assert pool.failure.statuses == (3, 3, 3)
        owner.invoke(2, double, dumps(1))
        assert not owner.ended(2)  # a verb makes no report
        owner.until(lambda: owner.ended(2))
        with pytest.raises(PoolBroken, match=r"exited with status 3(.|\n)*\| no such module"):
            pool.wait_ready()


# -- the end ---------------------------------------------------------------------------------------


def test_a_pool_that_nobody_has_used_for_long_after_it_was_made_comes_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its workers cannot say Hello before they are greeted, which is done when the pool is used."""
    monkeypatch.setattr(roster, "START_S", 0.0)
    with Pool(4, show=lambda _: None) as pool:
        pool.wait_ready()
        assert [status.worker for status in pool.statuses()] == [1, 2, 3, 4]


def test_closing_ends_workers_and_what_they_started_f26() -> None:
    with Pool(1) as pool:
        owner = Owner(pool)
        child = owner.result(1, start_a_child)
        worker = owner.result(2, about_the_process)["pid"]
        assert is_alive(child)
    assert not is_alive(worker)
    wait_for(lambda: not is_alive(child))
    pool.close()
    with pytest.raises(PoolClosed):
        pool.attach(RUN, owner)


def test_closing_waits_for_a_busy_worker_no_longer_than_the_grace() -> None:
    with Pool(1, grace_s=0.05) as pool:
        owner = Owner(pool)
        key = owner.invoke(1, sleep_after_a_chunk, StreamInput())
        pool.deliver(key, 0, 0, [dumps(1)])
        owner.until(lambda: owner.taken)
    assert owner.losses[1].status is None  # we ended it ourselves


def test_a_pool_that_is_closed_at_once_leaves_nothing() -> None:
    Pool(2).close()


def test_a_pool_that_is_forgotten_leaves_nothing() -> None:
    pool = Pool(2)
    pool.wait_ready()
    del pool  # the guard around this test looks


def test_what_a_body_prints_is_not_lost(capfd: pytest.CaptureFixture[str]) -> None:
    with Pool(1) as pool:
        Owner(pool).result(1, print_line)
        pool.detach(RUN)
        Owner(pool).result(2, print_unfinished)
    assert capfd.readouterr().out == "a line\nno newline"


def print_line() -> None:
    print("a line")


def print_unfinished() -> None:
    print("no newline", end="")


def test_when_the_owners_process_is_killed_workers_children_and_files_go_f10_p5(tmp_path: Path) -> None:
    script = """
        import subprocess, time
        from executor.pool import Pool
        from tests.executor.test_pool import Owner, about_the_process, dumps, sleep, start_a_child

        owner = Owner(Pool(2))
        child = owner.result(1, start_a_child)
        worker = owner.result(2, about_the_process)["pid"]
        owner.invoke(3, sleep, dumps(1000))
        owner.pool.flush()
        zygote = owner.pool._resources.nursery._process.pid
        print(child, worker, zygote, *owner.pool._resources._directory.path.parts[-1:], flush=True)
        time.sleep(1000)
    """
    root = Path(__file__).parents[2]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        *pids, directory = process.stdout.readline().split()
        assert (tmp_path / directory).is_dir()
        process.kill()
    wait_for(lambda: not any(is_alive(int(pid)) for pid in pids))
    assert list(tmp_path.iterdir()) == []


# -- misuse ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, -1, True, 1.5, "2"])
def test_a_pool_needs_a_positive_number_of_workers(workers: Any) -> None:
    with pytest.raises(ValueError, match="positive number of workers"):
        Pool(workers)


def test_more_workers_than_descriptors_are_refused_before_anything_starts_f14(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 200))
    with pytest.raises(OSError, match="use fewer workers, or raise the limit"):
        Pool(100)


def test_where_few_descriptors_are_allowed_a_pool_is_refused_or_works_f14() -> None:
    """Really: too many workers would let libzmq abort the process."""
    script = (
        "import resource\n"
        "from orchestrator import Pool\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (90, 110))\n"
        "try:\n"
        "    Pool(20)\n"
        "except OSError as error:\n"
        "    print(error)\n"
        "with Pool(3) as pool:\n"
        "    pool.wait_ready()\n"
        "    print(len(pool.statuses()))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    refusal, workers = done.stdout.splitlines()
    assert re.fullmatch(r"20 workers need up to \d+ open files here, and 110 are allowed; .*", refusal)
    assert workers == "3"


def test_elsewhere_than_on_linux_a_pool_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(RuntimeError, match="workers=0"):
        Pool(1)


def test_several_runs_share_a_pool_and_each_hears_of_its_own(owner: Owner) -> None:
    other = Owner(owner.pool, RunId(2))
    owner.invoke(99, sleep, dumps(1000))
    for each in (owner, other):
        for number in range(20):
            each.invoke(number, double, dumps(number + each.run))
    other.until(lambda: len(other.results) == 20)
    owner.pool.detach(RUN)
    assert other.results == {number: 2 * number + 4 for number in range(20)}
    assert other.result(50, double, dumps(1)) == 2  # what was given up concerns the other run alone
    owner.pool.detach(RunId(2))


def test_one_run_is_not_attached_twice(owner: Owner) -> None:
    with pytest.raises(RuntimeError, match="run 1 uses this pool already"):
        owner.pool.attach(RUN, owner)


def test_another_thread_is_refused(shared_pool: Pool) -> None:
    caught: list[BaseException] = []

    def use() -> None:
        try:
            shared_pool.close()
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert "belongs to the thread that made it" in str(caught[0])


def test_a_fork_is_refused_and_its_end_does_the_pool_no_harm_f25(owner: Owner) -> None:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            owner.pool.close()
        except RuntimeError as error:
            status = 0 if "fork" in str(error) else 2
        owner.pool._resources.release()
        os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    assert owner.result(1, double, dumps(4)) == 8


def test_strangers_and_garbage_on_the_socket_are_ignored_f19(owner: Owner) -> None:
    endpoint = owner.pool._resources._directory.endpoint
    with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        stranger.connect(endpoint)
        before = owner.pool.strangers
        stranger.send_multipart([b"garbage"])
        stranger.send_multipart([b"", b"more", b"garbage"])
        owner.until(lambda: owner.pool.strangers == before + 2)
    assert owner.result(1, double, dumps(4)) == 8


def test_a_users_package_named_like_ours_does_not_get_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "executor").mkdir()
    (tmp_path / "executor" / "__init__.py").write_text("raise ImportError('the wrong one')")
    script = """
        import sys
        from tests.executor.test_pool import Owner, Pool, double, dumps
        sys.path.insert(0, "")
        with Pool(1) as pool:
            print(Owner(pool).result(1, double, dumps(21)))
    """
    root = Path(__file__).parents[2]
    (tmp_path / "job.py").write_text(textwrap.dedent(script))
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-P", "job.py"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert (run.stdout, run.stderr) == ("42\n", "")
