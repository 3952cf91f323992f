"""What a ``ProcessPoolExecutor`` does, ours does: each test here runs against both."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    as_completed,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from executor import ProcessExecutor

# The peer forks this process, which has threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

MakeExecutor: TypeAlias = Callable[..., Executor]
KINDS: dict[str, MakeExecutor] = {"peer": ProcessPoolExecutor, "ours": ProcessExecutor}


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest) -> MakeExecutor:
    return KINDS[request.param]


@pytest.fixture(scope="module", params=KINDS)
def pool(request: pytest.FixtureRequest) -> Iterator[Executor]:
    with KINDS[request.param](2) as executor:
        list(executor.map(time.sleep, [0.01] * 4))  # so that its workers exist before any test
        yield executor


# -- tasks -----------------------------------------------------------------------------------------


def add(x: int, y: int = 1) -> int:
    return x + y


def collect(*args: object, **kwargs: object) -> tuple[object, ...]:
    return args, kwargs


class OwnError(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code


def fail(code: int) -> None:
    raise OwnError(code, "on purpose")


def leave() -> None:
    raise SystemExit(3)


def die() -> None:
    os._exit(7)


def make_lock() -> Any:
    return threading.Lock()


def touch_after(seconds: float, path: Path) -> None:
    time.sleep(seconds)
    path.touch()


def wait_for_file(path: Path) -> str:
    while not path.exists():
        time.sleep(0.001)
    return path.name


_given: object = None


def set_given(value: object) -> None:
    global _given
    _given = value


def get_given() -> object:
    return _given


def fail_to_start() -> None:
    raise ValueError("no licence")


def add_each(numbers: range) -> list[int]:
    return [add(number) for number in numbers]


def until(condition: Callable[[], object]) -> None:
    while not condition():
        time.sleep(0.001)


class Gate:
    """Tasks that occupy every worker until they are let go; made inside the test's directory."""

    def __init__(self, pool: Executor, path: Path, workers: int = 2) -> None:
        self.path = path / "gate"
        self.futures = [pool.submit(wait_for_file, self.path) for _ in range(workers)]
        until(lambda: all(future.running() for future in self.futures))

    def open(self) -> None:
        self.path.touch()
        wait(self.futures)


# -- submit ----------------------------------------------------------------------------------------


def test_a_task_returns_what_its_function_does(pool: Executor) -> None:
    assert pool.submit(add, 2, y=3).result() == 5
    assert pool.submit(pow, 2, 5).result() == 32
    assert pool.submit("a-b".split, "-").result() == ["a", "b"]


def test_any_name_may_be_an_argument_of_the_function(pool: Executor) -> None:
    future = pool.submit(collect, 1, fn=2, self=3, timeout=4, priority=5)
    assert future.result() == ((1,), {"fn": 2, "self": 3, "timeout": 4, "priority": 5})


def test_an_exception_comes_whole_with_the_remote_traceback_as_its_cause(pool: Executor) -> None:
    future = pool.submit(fail, 7)
    with pytest.raises(OwnError, match="on purpose") as caught:
        future.result()
    assert caught.value.code == 7
    assert "in fail\n    raise OwnError(code" in str(caught.value.__cause__)
    assert future.exception() is caught.value


def test_an_exit_of_the_function_is_its_exception_and_ends_nothing(pool: Executor) -> None:
    assert isinstance(pool.submit(leave).exception(), SystemExit)
    assert pool.submit(add, 1).result() == 2


def test_what_is_large_goes_and_comes_whole(pool: Executor) -> None:
    array = np.arange(1 << 19)
    assert np.array_equal(pool.submit(np.negative, array).result(), -array)


def test_an_argument_that_does_not_pickle_fails_its_future_alone(pool: Executor) -> None:
    future = pool.submit(add, threading.Lock())  # type: ignore[arg-type]
    assert future.exception() is not None
    assert pool.submit(add, 1).result() == 2


def test_a_result_that_does_not_pickle_fails_its_future_alone(pool: Executor) -> None:
    assert pool.submit(make_lock).exception() is not None
    assert pool.submit(add, 1).result() == 2


def test_what_is_no_function_is_refused(pool: Executor) -> None:
    with pytest.raises(TypeError):
        pool.submit(3).result()  # type: ignore[arg-type]


def test_a_thousand_tasks_all_end(pool: Executor) -> None:
    futures = [pool.submit(add, number) for number in range(1_000)]
    assert [future.result() for future in futures] == list(range(1, 1_001))


def test_many_threads_may_submit_and_wait(pool: Executor) -> None:
    totals: list[int] = []

    def use() -> None:
        totals.append(sum(pool.submit(add, number).result() for number in range(50)))

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert totals == [1275] * 8


# -- futures ---------------------------------------------------------------------------------------


def test_waiting_may_time_out_and_be_repeated(pool: Executor, tmp_path: Path) -> None:
    future = pool.submit(wait_for_file, tmp_path / "file")
    with pytest.raises(TimeoutError):
        future.result(timeout=0.01)
    with pytest.raises(TimeoutError):
        future.exception(timeout=0)
    assert not future.done()
    (tmp_path / "file").touch()
    assert future.result(timeout=60) == "file"
    assert future.done()
    assert not future.running()


def test_callbacks_are_called_once_with_the_future_in_order(pool: Executor) -> None:
    called: list[Any] = []
    future = pool.submit(add, 1)
    future.add_done_callback(called.append)
    future.add_done_callback(lambda future: called.append(future.result()))
    until(lambda: len(called) == 2)
    future.add_done_callback(lambda _: called.append("late"))
    assert called == [future, 2, "late"]


def test_a_callback_that_raises_harms_nobody(
    pool: Executor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    called = threading.Event()

    def raises(_: object) -> None:
        raise ValueError("in a callback")

    future = pool.submit(wait_for_file, tmp_path / "file")
    future.add_done_callback(raises)
    future.add_done_callback(lambda _: called.set())
    (tmp_path / "file").touch()
    assert called.wait(60)
    assert "in a callback" in caplog.text


def test_a_callback_may_submit(pool: Executor) -> None:
    results: list[int] = []

    def go_on(future: Future[int]) -> None:
        if future.result() < 10:
            pool.submit(add, future.result()).add_done_callback(go_on)
        else:
            results.append(future.result())

    pool.submit(add, 0).add_done_callback(go_on)
    until(lambda: results)
    assert results == [10]


def test_a_loop_may_be_kept_going_by_callbacks_as_joblib_does(pool: Executor) -> None:
    """A few batches are under way at a time; each that ends dispatches the next, whoever hears of it."""
    batches = iter([range(first, first + 5) for first in range(0, 200, 5)])
    results: list[int] = []
    lock = threading.Lock()

    def dispatch() -> None:
        with lock:
            batch = next(batches, None)
        if batch is not None:
            pool.submit(add_each, batch).add_done_callback(collect_and_go_on)

    def collect_and_go_on(future: Future[list[int]]) -> None:
        results.extend(future.result())
        dispatch()

    for _ in range(4):
        dispatch()
    until(lambda: len(results) == 200)
    assert sorted(results) == list(range(1, 201))


def test_futures_are_waited_for_together(pool: Executor, tmp_path: Path) -> None:
    slow: Future[Any] = pool.submit(wait_for_file, tmp_path / "file")
    quick: list[Future[Any]] = [pool.submit(add, number) for number in range(5)]
    done, not_done = wait([slow, *quick], return_when=FIRST_COMPLETED)
    assert done
    assert slow in not_done
    failing: Future[Any] = pool.submit(fail, 1)
    assert failing in wait([slow, failing], return_when=FIRST_EXCEPTION).done
    (tmp_path / "file").touch()
    assert wait([slow, *quick], return_when=ALL_COMPLETED).not_done == set()


def test_futures_come_as_they_complete(pool: Executor, tmp_path: Path) -> None:
    slow: Future[Any] = pool.submit(wait_for_file, tmp_path / "file")
    quick: Future[Any] = pool.submit(add, 1)
    ended = as_completed([slow, quick])
    assert next(ended) is quick
    (tmp_path / "file").touch()
    assert next(ended) is slow


def test_what_has_not_begun_can_be_cancelled_and_cancelled_again(pool: Executor, tmp_path: Path) -> None:
    gate = Gate(pool, tmp_path)
    pending = [pool.submit(touch_after, 0, tmp_path / "touched") for _ in range(20)]
    last = pending[-1]
    assert last.cancel()
    assert last.cancel()
    assert last.cancelled()
    assert last.done()
    with pytest.raises(CancelledError):
        last.result()
    with pytest.raises(CancelledError):
        last.exception()
    for future in pending:
        future.cancel()
    gate.open()
    assert last in wait([last]).done
    assert next(as_completed([last])) is last


def test_what_has_ended_cannot_be_cancelled(pool: Executor) -> None:
    future = pool.submit(add, 1)
    future.result()
    assert not future.cancel()
    assert not future.cancelled()


# -- map -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunksize", [1, 3, 100])
def test_map_gives_results_in_order(pool: Executor, chunksize: int) -> None:
    assert list(pool.map(add, range(20), chunksize=chunksize)) == list(range(1, 21))
    assert list(pool.map(add, range(9), iter(range(5)), chunksize=chunksize)) == [0, 2, 4, 6, 8]
    assert list(pool.map(add, [], chunksize=chunksize)) == []


@pytest.mark.parametrize("chunksize", [1, 2])
def test_map_raises_where_an_element_failed(pool: Executor, chunksize: int) -> None:
    results = pool.map(fail, [1, 2, 3], chunksize=chunksize)
    with pytest.raises(OwnError):
        next(results)
    assert list(results) == []


def test_map_submits_at_once_and_takes_its_time_to_be_read(pool: Executor, tmp_path: Path) -> None:
    pool.map(touch_after, [0], [tmp_path / "touched"])
    until((tmp_path / "touched").exists)


def test_map_may_time_out(pool: Executor, tmp_path: Path) -> None:
    results = pool.map(wait_for_file, [tmp_path / "file"], timeout=0.05)
    with pytest.raises(TimeoutError):
        next(results)
    (tmp_path / "file").touch()


def test_map_refuses_chunks_of_nothing(pool: Executor) -> None:
    with pytest.raises(ValueError, match="chunksize"):
        pool.map(add, [1], chunksize=0)


# -- asyncio ---------------------------------------------------------------------------------------


def test_asyncio_runs_functions_in_it(pool: Executor) -> None:
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        results: list[Any] = await asyncio.gather(
            *(loop.run_in_executor(pool, add, number) for number in range(50)),
            loop.run_in_executor(pool, fail, 1),
            return_exceptions=True,
        )
        return results

    results = asyncio.run(main())
    assert results[:50] == list(range(1, 51))
    assert isinstance(results[50], OwnError)


# -- the life of an executor -----------------------------------------------------------------------


def test_the_end_of_the_block_waits_for_what_was_submitted(make: MakeExecutor) -> None:
    with make(2) as executor:
        futures = [executor.submit(add, number) for number in range(20)]
    assert all(future.done() for future in futures)
    assert [future.result() for future in futures] == list(range(1, 21))
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(add, 1)
    executor.shutdown()
    executor.shutdown(wait=False, cancel_futures=True)


def test_an_executor_that_was_never_used_can_be_shut_down(make: MakeExecutor) -> None:
    executor = make(2)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.map(add, [1])


def test_a_shutdown_that_does_not_wait_lets_everything_end(make: MakeExecutor) -> None:
    executor = make(2)
    futures = [executor.submit(add, number) for number in range(20)]
    executor.shutdown(wait=False)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(add, 1)
    assert [future.result() for future in futures] == list(range(1, 21))
    executor.shutdown()


def test_a_shutdown_can_cancel_what_has_not_begun(make: MakeExecutor, tmp_path: Path) -> None:
    executor = make(1)
    gate = Gate(executor, tmp_path, workers=1)
    pending = [executor.submit(touch_after, 0, tmp_path / str(number)) for number in range(10)]
    executor.shutdown(wait=False, cancel_futures=True)
    until(lambda: pending[-1].cancelled())
    gate.open()
    executor.shutdown()
    assert gate.futures[0].result() == "gate"
    assert pending[-1].cancelled()
    assert not (tmp_path / "9").exists()


def test_an_executor_that_is_forgotten_ends_its_tasks_and_leaves_nothing(make: MakeExecutor) -> None:
    executor = make(1)
    future = executor.submit(add, 1)
    del executor
    gc.collect()
    assert future.result() == 2


def test_each_worker_is_initialized_before_its_first_task(make: MakeExecutor) -> None:
    with make(2, initializer=set_given, initargs=("licence",)) as executor:
        assert [executor.submit(get_given).result() for _ in range(20)] == ["licence"] * 20
        assert list(executor.map(get_given_for, range(10), chunksize=5)) == ["licence"] * 10


def get_given_for(_: int) -> object:
    return get_given()


def test_an_initializer_that_raises_breaks_the_executor(make: MakeExecutor) -> None:
    with make(1, initializer=fail_to_start) as executor:
        future = executor.submit(add, 1)
        with pytest.raises(BrokenProcessPool):
            future.result()
        with pytest.raises(BrokenProcessPool):
            executor.submit(add, 1).result()


def test_a_worker_that_dies_fails_its_task(make: MakeExecutor) -> None:
    with make(1) as executor, pytest.raises(BrokenProcessPool):
        executor.submit(die).result()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"max_workers": 0}, ValueError),
        ({"max_workers": -1}, ValueError),
        ({"max_workers": "2"}, TypeError),
        ({"initializer": 3}, TypeError),
        ({"max_tasks_per_child": 0}, ValueError),
        ({"max_tasks_per_child": 1.5}, TypeError),
    ],
)
def test_arguments_that_are_not_what_they_must_be_are_refused(
    make: MakeExecutor, arguments: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        make(**arguments)


AT_EXIT = """
import time
from {module} import {name}

def work(x):
    time.sleep(0.05)
    return x

def report(future):
    print(future.result(), flush=True)

executor = {name}(2)
for number in range(6):
    executor.submit(work, number).add_done_callback(report)
"""


@pytest.mark.parametrize(
    ("module", "name"),
    [("concurrent.futures", "ProcessPoolExecutor"), ("executor", "ProcessExecutor")],
)
def test_what_was_submitted_is_waited_for_at_the_interpreters_end(module: str, name: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", AT_EXIT.format(module=module, name=name)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert sorted(ended.stdout.split()) == list("012345")
    assert ended.stderr == ""
