"""What a ``ProcessExecutor`` does that a ``ProcessPoolExecutor`` does not."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

import orchestrator
from executor import ProcessExecutor
from executor.callables import BY_VALUE_LIMIT
from executor.futures import TaskFuture
from executor.task_errors import (
    ExecutorBroken,
    RemoteException,
    TaskCrashed,
    TaskNotLoadable,
    TaskNotPicklable,
    TaskTimeoutError,
)


@pytest.fixture(scope="module")
def shared_pool() -> Iterator[ProcessExecutor]:
    with ProcessExecutor(2) as executor:
        executor.submit(os.getpid).result()
        wait_for_workers(executor)
        yield executor


@pytest.fixture
def pool(shared_pool: ProcessExecutor) -> Iterator[ProcessExecutor]:
    """Two workers that are ready; so they are again for the next test, whatever this one does."""
    yield shared_pool
    wait_for_workers(shared_pool)


def wait_for_workers(executor: ProcessExecutor) -> None:
    assert executor._driver is not None
    resources = executor._driver._pool._resources
    until(lambda: sum(peer.connection is not None for peer in list(resources.peers.values())) == 2)


# -- tasks -----------------------------------------------------------------------------------------


def die(path: Path | None = None) -> str:
    """End this process, or do so only the first time."""
    if path is None or not path.exists():
        if path is not None:
            path.touch()
        os.kill(os.getpid(), signal.SIGSEGV)
    return "lived"


def add(x: int, y: int = 1) -> int:
    return x + y


def wait_for_file(path: Path) -> str:
    while not path.exists():
        time.sleep(0.001)
    return path.name


def mark_and_sleep(path: Path) -> None:
    path.touch()
    time.sleep(1000)


def sleep_stubbornly(path: Path) -> None:
    path.touch()
    while True:
        try:
            time.sleep(1000)
        except BaseException:
            pass


def fail_twice(directory: Path) -> int:
    tries = len(list(directory.iterdir()))
    (directory / str(tries)).touch()
    if tries < 2:
        raise ValueError(tries)
    return tries


class _OddError(Exception):
    def __init__(self, text: str, more: object) -> None:
        super().__init__(text)


def raise_odd() -> None:
    raise _OddError("odd", threading.Lock())


class _Unloadable:
    def __reduce__(self) -> Any:
        return _refuse, ()


def _refuse() -> None:
    raise ValueError("not here")


def submit_within(numbers: list[int]) -> int:
    with ProcessExecutor(2) as inner:
        return sum(inner.map(add, numbers))


def submit_within_and_leave(path: Path) -> None:
    inner = ProcessExecutor(1)
    inner.submit(mark_and_sleep, path)
    wait_for_file(path)
    os._exit(5)


def until(condition: Callable[[], object]) -> None:
    while not condition():
        time.sleep(0.001)


# -- functions of any kind -------------------------------------------------------------------------


def test_lambdas_closures_and_methods_are_tasks(pool: ProcessExecutor) -> None:
    base = [10]

    def over_base(x: int) -> int:
        return base[0] + x

    class Adder:
        def __init__(self, y: int) -> None:
            self.y = y

        def add(self, x: int) -> int:
            return self.y + x

    assert pool.submit(lambda: 41 + 1).result() == 42
    assert pool.submit(over_base, 1).result() == 11
    assert pool.submit(Adder(5).add, 1).result() == 6
    assert list(pool.map(lambda x: x * x, range(5), chunksize=2)) == [0, 1, 4, 9, 16]


def test_a_closure_is_sent_as_it_is_when_it_is_submitted(pool: ProcessExecutor) -> None:
    base = 1

    def over_base(x: int) -> int:
        return base + x

    first = pool.submit(over_base, 1)
    base = 100
    assert (first.result(), pool.submit(over_base, 1).result()) == (2, 101)


def test_ever_new_functions_are_run_though_workers_keep_only_some(pool: ProcessExecutor) -> None:
    count = BY_VALUE_LIMIT + 20
    futures = [pool.submit(lambda number=number: number) for number in range(count)]  # type: ignore[misc]
    assert [future.result() for future in futures] == list(range(count))


def test_what_cannot_travel_is_named(pool: ProcessExecutor) -> None:
    lock = threading.Lock()
    function = pool.submit(lambda: lock)
    with pytest.raises(TaskNotPicklable, match=r"<lambda>'.*the function.*lock"):
        function.result()
    with pytest.raises(TaskNotPicklable, match=r"'add': an argument.*lock"):
        pool.submit(add, lock).result()  # type: ignore[arg-type]
    with pytest.raises(TaskNotPicklable, match="'allocate_lock': its result"):
        pool.submit(threading.Lock).result()
    with pytest.raises(TaskNotLoadable, match=r"'add': an argument.*not here"):
        pool.submit(add, _Unloadable()).result()  # type: ignore[arg-type]
    with pytest.raises(RemoteException, match="raised _OddError: odd"):
        pool.submit(raise_odd).result()


def test_it_is_exported_where_one_looks_for_it() -> None:
    assert orchestrator.ProcessExecutor is ProcessExecutor


# -- cancelling ------------------------------------------------------------------------------------


def test_a_running_task_is_cancelled_and_others_go_on(pool: ProcessExecutor, tmp_path: Path) -> None:
    other = pool.submit(wait_for_file, tmp_path / "go on")
    future = pool.submit(mark_and_sleep, tmp_path / "runs")
    until((tmp_path / "runs").exists)
    until(future.running)
    assert future.cancel()
    assert future.cancel()
    assert future.cancelled()
    assert not future.running()
    with pytest.raises(CancelledError):
        future.result()
    assert next(as_completed([future])) is future
    assert pool.submit(add, 1).result() == 2  # by the worker that is free again
    (tmp_path / "go on").touch()
    assert other.result() == "go on"


def test_a_task_that_will_not_end_loses_its_worker_and_nobody_else_does(tmp_path: Path) -> None:
    with ProcessExecutor(2) as pool:
        other = pool.submit(wait_for_file, tmp_path / "go on")
        future = pool.submit(sleep_stubbornly, tmp_path / "runs")
        until((tmp_path / "runs").exists)
        future.cancel()
        assert pool.submit(add, 1).result() == 2
        (tmp_path / "go on").touch()
        assert other.result() == "go on"


def test_asyncio_cancels_what_runs_when_it_gives_up(pool: ProcessExecutor, tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        task = loop.run_in_executor(pool, mark_and_sleep, tmp_path / "runs")
        while not (tmp_path / "runs").exists():
            await asyncio.sleep(0.001)
        await asyncio.wait_for(task, 0.01)

    with pytest.raises(TimeoutError):
        asyncio.run(main())
    assert pool.submit(add, 1).result() == 2


def test_a_map_that_is_given_up_recalls_what_has_not_begun(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(20)]
    with ProcessExecutor(1) as pool:
        results = pool.map(wait_for_file, paths)
        paths[0].touch()
        assert next(results) == "0"
        results.close()  # type: ignore[attr-defined]  # it is a generator
        paths[1].touch()
        assert pool.submit(add, 1).result() == 2


# -- who drives ------------------------------------------------------------------------------------


def test_ctrl_c_in_a_wait_or_a_submission_leaves_the_executor_whole(
    pool: ProcessExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Python drops what is raised in a finalizer, and reports it: that would be interrupted, too.
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    main = threading.get_ident()
    armed = False
    over = threading.Event()

    def raise_if_armed(_: int, __: object) -> None:
        if armed:
            raise KeyboardInterrupt

    def interrupt() -> None:
        while not over.wait(0.001):
            signal.pthread_kill(main, signal.SIGINT)

    before = signal.signal(signal.SIGINT, raise_if_armed)
    thread = threading.Thread(target=interrupt)
    thread.start()
    interrupted = done = 0
    while interrupted < 50 or done < 50:
        try:
            armed = True
            assert pool.submit(add, done).result() == done + 1
            done += 1
        except KeyboardInterrupt:
            interrupted += 1
        finally:
            armed = False
    over.set()
    thread.join()
    signal.signal(signal.SIGINT, before)
    assert list(pool.map(add, range(100))) == list(range(1, 101))


def test_many_threads_submit_wait_and_cancel_at_once(pool: ProcessExecutor) -> None:
    failures: list[BaseException] = []

    def work(base: int) -> None:
        try:
            for number in range(base, base + 100):
                futures = [pool.submit(add, number + each) for each in range(3)]
                futures[1].cancel()
                called = threading.Event()
                futures[2].add_done_callback(lambda _: called.set())  # noqa: B023 - of this round
                assert futures[2].result(20) == number + 3
                assert futures[0].result(20) == number + 1
                assert called.wait(20)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(1000 * each,)) for each in range(6)]
    for thread in threads:
        thread.start()
    work(0)
    for thread in threads:
        thread.join()
    assert not failures


def test_callbacks_are_called_in_the_executors_own_thread_whoever_waits(pool: ProcessExecutor) -> None:
    assert pool._driver is not None
    for _ in range(20):
        called: list[int] = []
        future = pool.submit(add, 1)
        future.add_done_callback(lambda _: called.append(threading.get_ident()))  # noqa: B023
        future.result()
        until(lambda: called)  # noqa: B023
        assert set(called) <= {pool._driver.thread_id, threading.get_ident()}


def test_a_callback_that_takes_long_holds_up_no_other_task(pool: ProcessExecutor) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def take_long(_: object) -> None:
        entered.set()
        assert go_on.wait(20)

    pool.submit(add, 1).add_done_callback(take_long)
    assert entered.wait(20)
    assert [future.result(20) for future in [pool.submit(add, each) for each in range(20)]] == list(
        range(1, 21)
    )
    go_on.set()


# -- worker death ----------------------------------------------------------------------------------


def test_a_worker_that_dies_fails_the_task_it_ran_and_no_other(pool: ProcessExecutor) -> None:
    futures: list[TaskFuture[Any]] = [pool.submit(add, number) for number in range(100)]
    futures.insert(50, pool.submit(die))
    futures += [pool.submit(add, number) for number in range(100)]
    with pytest.raises(TaskCrashed, match=r"'die'.*SIGSEGV.*can be used further") as caught:
        futures.pop(50).result()
    assert isinstance(caught.value, BrokenProcessPool)
    assert [future.result() for future in futures] == 2 * list(range(1, 101))


def test_a_task_may_be_tried_again_after_its_worker_died_or_it_raised(
    pool: ProcessExecutor, tmp_path: Path
) -> None:
    again = pool.options(retries=2)
    assert again.submit(die, tmp_path / "died").result() == "lived"
    (tmp_path / "tries").mkdir()
    assert again.submit(fail_twice, tmp_path / "tries").result() == 2
    with pytest.raises(TaskCrashed, match="as it did in 3 attempts"):
        again.submit(die).result()


# -- options ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"priority": "high"}, "priority must be a number, not 'high'"),
        ({"priority": True}, "priority must be a number"),
        ({"priority": float("nan")}, "priority must be a finite number"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"retries": -1}, "retries must be at least 0, not -1"),
        ({"retries": 1.0}, "retries must be an integer"),
        ({"cpus": "all"}, "cpus must be a number"),
        ({"cpus": 3}, "asks for cpus=3, and the pool has cpus=2, could never run"),
        ({"resources": {"gpu": 1}}, "asks for gpu=1, and the pool has no 'gpu'"),
    ],
)
def test_options_that_are_not_what_they_must_be_are_refused(
    pool: ProcessExecutor, options: dict[str, Any], message: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        pool.options(**options)


def test_a_task_that_takes_too_long_is_ended_and_the_executor_goes_on(pool: ProcessExecutor) -> None:
    with pytest.raises(TaskTimeoutError, match=r"'sleep'.*timeout_s=0.1 allows no more"):
        pool.options(timeout_s=0.1).submit(time.sleep, 100).result()
    assert pool.submit(add, 1).result() == 2


def test_workers_are_replaced_after_so_many_tasks() -> None:
    with ProcessExecutor(1, max_tasks_per_child=2) as pool:
        pids = [pool.submit(os.getpid).result() for _ in range(6)]
    assert len(set(pids)) == 3


def test_options_are_no_arguments_of_the_function(pool: ProcessExecutor) -> None:
    assert pool.options(retries=1).submit(dict, retries=3).result() == {"retries": 3}
    assert list(pool.options(retries=1).map(add, range(3))) == [1, 2, 3]


# -- nesting ---------------------------------------------------------------------------------------


def test_a_task_may_have_an_executor_of_its_own(pool: ProcessExecutor) -> None:
    futures = [pool.submit(submit_within, [1, 2, 3]) for _ in range(2)]
    assert [future.result() for future in futures] == [9, 9]


def test_what_a_task_has_started_dies_with_its_worker(pool: ProcessExecutor, tmp_path: Path) -> None:
    with pytest.raises(TaskCrashed, match="exited with status 5"):
        pool.submit(submit_within_and_leave, tmp_path / "inner runs").result()
    assert pool.submit(add, 1).result() == 2


def test_an_executor_or_a_future_cannot_be_sent_to_a_task(pool: ProcessExecutor) -> None:
    with pytest.raises(TaskNotPicklable, match="make a ProcessExecutor of its own"):
        pool.submit(lambda: pool.submit(add, 1).result()).result()
    with pytest.raises(TaskNotPicklable, match=r"send its result\(\)"):
        pool.submit(str, pool.submit(add, 1)).result()


# -- the life of an executor -----------------------------------------------------------------------


def test_a_callback_that_would_wait_for_ever_is_told_so(pool: ProcessExecutor, tmp_path: Path) -> None:
    told: list[BaseException] = []
    other = pool.submit(wait_for_file, tmp_path / "file")

    def wait_here(_: object) -> None:
        try:
            other.result()
        except BaseException as error:
            told.append(error)

    pool.submit(time.sleep, 0.01).add_done_callback(wait_here)
    until(lambda: told)
    assert "a callback runs in the executor's own thread" in str(told[0])
    (tmp_path / "file").touch()


def test_a_callback_may_shut_the_executor_down() -> None:
    pool = ProcessExecutor(1)
    pool.submit(time.sleep, 0.01).add_done_callback(lambda _: pool.shutdown(wait=True))
    other = pool.submit(add, 1)
    assert other.result() == 2
    pool.shutdown()


def test_a_fork_cannot_use_it(pool: ProcessExecutor) -> None:
    future = pool.submit(time.sleep, 0.05)
    child = os.fork()
    if child == 0:
        refused = 0
        for use in (future.result, lambda: pool.submit(add, 1)):
            try:
                use()
            except RuntimeError as error:
                refused += "process" in str(error)
        pool.shutdown()
        os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    future.result()


def test_a_block_that_is_left_by_ctrl_c_cancels_everything(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), ProcessExecutor(1) as pool:  # noqa: PT012
        future = pool.submit(mark_and_sleep, tmp_path / "runs")
        until((tmp_path / "runs").exists)
        raise KeyboardInterrupt
    assert future.cancelled()


def test_a_context_that_forks_is_refused() -> None:
    ProcessExecutor(1, mp_context=get_context("spawn"))
    with pytest.raises(ValueError, match="never forked from this process"):
        ProcessExecutor(1, mp_context=get_context("fork"))


def test_a_broken_executor_says_why_to_everybody() -> None:
    def initialize(licence: str) -> None:
        raise ValueError(f"no {licence}")

    with ProcessExecutor(1, initializer=initialize, initargs=("licence",)) as pool:
        futures = [pool.submit(add, 1), pool.submit(add, 2)]
        for future in futures:
            with pytest.raises(ExecutorBroken, match="initializer raised ValueError: no licence"):
                future.result()
        with pytest.raises(ExecutorBroken, match="no licence"):
            pool.submit(add, 1)


# -- scripts ---------------------------------------------------------------------------------------


def start(script: str, path: Path) -> subprocess.Popen[str]:
    (path / "script.py").write_text(textwrap.dedent(script))
    return subprocess.Popen(
        [sys.executable, "script.py"],
        cwd=path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_script_needs_no_guard(tmp_path: Path) -> None:
    script = """
        from dataclasses import dataclass
        from executor import ProcessExecutor

        @dataclass
        class Point:
            x: int

        def move(point):
            return Point(point.x + step)

        step = 1
        pool = ProcessExecutor(2)
        print(pool.submit(move, Point(1)).result(), *pool.map(lambda x: x + step, range(3)))
    """
    process = start(script, tmp_path)
    out, err = process.communicate()
    assert (out, err) == ("Point(x=2) 1 2 3\n", "")


def test_what_the_initializer_sets_in_a_script_its_tasks_see(tmp_path: Path) -> None:
    script = """
        from executor import ProcessExecutor

        model, seen = None, []

        def load(name):
            global model
            model = name
            seen.append("loaded")

        def use(x):
            return model, seen, x

        with ProcessExecutor(1, initializer=load, initargs=("m",)) as pool:
            print(pool.submit(use, 1).result(), *pool.map(lambda x: (model, x), range(2)))
    """
    process = start(script, tmp_path)
    out, err = process.communicate()
    assert (out, err) == ("('m', ['loaded'], 1) ('m', 0) ('m', 1)\n", "")


@pytest.mark.parametrize(
    "waiting", ["pool.shutdown()", "future.result()", ""], ids=["shutdown", "result", "exit"]
)
def test_ctrl_c_ends_a_script_wherever_it_waits(waiting: str, tmp_path: Path) -> None:
    script = f"""
        import pathlib, time
        from executor import ProcessExecutor

        def work():
            pathlib.Path("runs").touch()
            time.sleep(1000)

        pool = ProcessExecutor(1)
        future = pool.submit(work)
        {waiting}
    """
    process = start(script, tmp_path)
    until((tmp_path / "runs").exists)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert "KeyboardInterrupt" in err


def waits(process: subprocess.Popen[str]) -> bool:
    """Whether its main thread has not run for a while."""

    def switches() -> list[str]:
        status = Path(f"/proc/{process.pid}/status").read_text()
        return [line for line in status.splitlines() if "ctxt_switches" in line]

    before = switches()
    time.sleep(0.1)
    return switches() == before


@pytest.mark.parametrize("signals", [1, 2])
def test_at_the_interpreters_end_ctrl_c_ends_also_what_will_not_and_a_second_one_at_once(
    signals: int, tmp_path: Path
) -> None:
    script = """
        import atexit, os, pathlib, time
        from executor import ProcessExecutor

        def work():
            pathlib.Path("runs").write_text(str(os.getpid()))
            while True:
                try:
                    time.sleep(1000)
                except BaseException:
                    pathlib.Path("interrupted").touch()

        def worker_is_there():
            for _ in range(1000):  # one that was killed may take a moment to end
                if not os.path.exists("/proc/" + pathlib.Path("runs").read_text()):
                    return False
                time.sleep(0.01)
            return True

        ProcessExecutor(1).submit(work)
        atexit.register(lambda: print(worker_is_there()))
        pathlib.Path("ends").touch()
    """
    process = start(script, tmp_path)
    until(lambda: (tmp_path / "runs").exists() and bool((tmp_path / "runs").read_text()))
    until((tmp_path / "ends").exists)
    until(lambda: waits(process))
    process.send_signal(signal.SIGINT)
    until((tmp_path / "interrupted").exists)
    if signals == 2:
        process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert out == "False\n"
    assert "failed" not in err
