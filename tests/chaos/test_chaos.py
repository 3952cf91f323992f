"""Processes killed at every kill point and at any moment: same results, nothing left (F1, F10, F11)."""

from __future__ import annotations

import array
import fcntl
import os
import random
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator import Pool
from protocol.leftovers import sweep
from tests.chaos.flows import EXPECTED, everything

KILLS = 300
POINTS = 15
FAILED_STARTS = (0, 1)
"""Who dies at these points was never ready."""

TOGETHER = 2
RUNS_PER_WORKER = 10
"""After so many bodies a worker is drained, which is a kill point too."""

COORDINATOR_KILLS = 20
INTERRUPTS = 50
AT_ONCE = 5
PATIENCE_S = 10.0  # so long the machine may be busy with others

HERE = Path(__file__).parent


# -- workers ---------------------------------------------------------------------------------------


class Tokens:
    """A pipe for each kill point; every byte in it is a worker's death there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._pipes = []
        for point in range(POINTS):
            os.mkfifo(directory / f"K{point}")
            self._pipes.append(os.open(directory / f"K{point}", os.O_RDWR | os.O_NONBLOCK))

    def put(self, point: int) -> None:
        os.write(self._pipes[point], b"x")

    def left(self) -> int:
        """How many have killed nobody yet."""
        found = 0
        for pipe in self._pipes:
            waiting = array.array("i", [0])
            fcntl.ioctl(pipe, termios.FIONREAD, waiting)
            found += waiting[0]
        return found

    def close(self) -> None:
        for pipe in self._pipes:
            os.close(pipe)


@contextmanager
def deadly_pool(directory: Path) -> Iterator[tuple[Pool, Tokens]]:
    """A pool whose workers die where a token says so."""
    tokens = Tokens(directory)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ORCHESTRATOR_KILL_POINTS", str(directory))
            patch.setenv("PYTHONPATH", str(HERE / "injected"), prepend=os.pathsep)
            pool = Pool(2, max_runs_per_worker=RUNS_PER_WORKER)
        with pool:
            yield pool, tokens
    finally:
        tokens.close()


def results(pool: Pool) -> list[object]:
    flow, ends = everything()
    flow.run(pool=pool)
    return [end.get_data()[0] for end in ends]


@pytest.mark.parametrize("point", range(POINTS))
def test_workers_killed_at_a_point_cost_no_result(point: int, tmp_path: Path) -> None:
    """F1, P1, P2: every kill point, and each time the results of a run without faults."""
    left = KILLS // POINTS
    while left:
        # More failed starts than these would break the pool (F9).
        kills = min(left, 4) if point in FAILED_STARTS else left
        left -= kills
        directory = tmp_path / str(left)
        directory.mkdir()
        with deadly_pool(directory) as (pool, tokens):
            kill_workers(kills, point, pool, tokens)


def kill_workers(kills: int, point: int, pool: Pool, tokens: Tokens) -> None:
    for _ in range(kills // TOGETHER):
        for _ in range(TOGETHER):
            tokens.put(point)
        for _ in range(30):  # until so many have passed there
            assert results(pool) == EXPECTED
            if not tokens.left():
                break
        else:
            pytest.fail(f"nobody passed K{point}")
        pool.wait_ready()


def test_workers_killed_at_several_points_at_once_cost_no_result(tmp_path: Path) -> None:
    dice = random.Random(1)
    with deadly_pool(tmp_path) as (pool, tokens):
        for _ in range(10):
            for point in dice.sample(range(2, POINTS), 2):
                tokens.put(point)
            assert results(pool) == EXPECTED
        while tokens.left():
            assert results(pool) == EXPECTED


# -- coordinators ----------------------------------------------------------------------------------


@contextmanager
def victims(count: int, mark: str, runtime: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """So many coordinators whose flows run; ``mark`` is in the environment of all that they start."""
    environment = {**os.environ, "CHAOS_MARK": mark, "XDG_RUNTIME_DIR": str(runtime)}
    started = [
        subprocess.Popen(
            [sys.executable, str(HERE / "victim.py")],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for _ in range(count)
    ]
    try:
        for each in started:
            assert each.stdout is not None
            assert each.stdout.readline() == "begins\n"
        yield started
    finally:
        for each in started:
            each.kill()
            each.wait()
            assert each.stdout is not None
            each.stdout.close()


def marked(mark: str) -> list[int]:
    """The processes that one of these coordinators, or what it has started, has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"CHAOS_MARK={mark}".encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def assert_nothing_is_left(mark: str, runtime: Path, *, sweeps: bool = False) -> None:
    """``sweeps``: as the next start does, for one that was killed before its zygote had begun (F10)."""
    give_up = time.monotonic() + PATIENCE_S
    while left := (marked(mark), list(runtime.iterdir())):
        if left == ([], []):
            return
        if sweeps and not left[0]:
            sweep(runtime)
        assert time.monotonic() < give_up, f"left behind: processes {left[0]}, files {left[1]}"
        time.sleep(0.02)


@pytest.mark.parametrize("batch", range(COORDINATOR_KILLS // AT_ONCE))
def test_of_killed_coordinators_nothing_is_left_f10_p5(batch: int, tmp_path: Path) -> None:
    dice = random.Random(batch)
    mark = f"kill-{os.getpid()}-{batch}"
    with victims(AT_ONCE, mark, tmp_path) as started:
        for each in started:
            time.sleep(0.1 * dice.random())
            each.kill()
            each.wait()
        assert_nothing_is_left(mark, tmp_path, sweeps=True)


@pytest.mark.parametrize("batch", range(INTERRUPTS // AT_ONCE))
def test_interrupted_coordinators_end_and_leave_nothing_f11(batch: int, tmp_path: Path) -> None:
    dice = random.Random(batch)
    mark = f"interrupt-{os.getpid()}-{batch}"
    with victims(AT_ONCE, mark, tmp_path) as started:
        for each in started:
            time.sleep(0.05 * dice.random())
            each.send_signal(signal.SIGINT)
        for each in started:
            assert each.wait(PATIENCE_S) != 0
        assert_nothing_is_left(mark, tmp_path)
