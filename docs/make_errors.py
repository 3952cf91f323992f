"""Causes each error about worker processes once and writes ``docs/errors.md`` with what it says.

    python docs/make_errors.py

What differs from run to run (pids, paths, addresses, times, sizes) is replaced by what it stands for.
"""

from __future__ import annotations

import ctypes
import inspect
import os
import random
import re
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

from executor import bootstrap, resources
from executor.oom import OomWatch
from orchestrator import Flow, Pool, ProcessExecutor, Stream, node, spill

HERE = Path(__file__).parent
MIB = 1 << 20

Cause = Callable[[], None]
CAUSES: list[tuple[str, Cause]] = []


def cause(says: str) -> Callable[[Cause], Cause]:
    """Register a function that raises the error; ``says`` introduces it."""

    def register(function: Cause) -> Cause:
        CAUSES.append((says, function))
        return function

    return register


def run(body: Any, **limits: Any) -> None:
    """Run one node of this body, on a pool of one worker that prints nothing here."""
    with Flow() as flow:
        flow.fit = body()
    with Pool(1, show=lambda _: None, **limits) as pool:
        flow.run(pool=pool)


@cause(
    "C code reads memory that is not there. The worker's stack and its last output are part of the error"
)
def segmentation_fault() -> None:
    @node(retries=0)
    def fit() -> None:
        print("epoch 1")
        print("epoch 2")
        ctypes.string_at(0)

    run(fit)


@cause("Something kills the worker, as the kernel does when memory runs out")
def kill() -> None:
    @node(retries=0)
    def fit() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    run(fit)


@cause("The kernel kills the worker because memory ran out. This is said only where it says so itself")
def run_out_of_memory() -> None:
    @node(retries=0)
    def fit() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    kills = count(1)  # nobody's machine is to run out of memory for this page
    with mock.patch.object(resources, "OomWatch", return_value=OomWatch(lambda: next(kills))):
        run(fit)


@cause("A body ends the process instead of returning")
def exit_at_once() -> None:
    @node(retries=0)
    def fit() -> None:
        os._exit(3)

    run(fit)


@cause(
    "A body that ends its worker is run again on another one, and given up when that has happened thrice"
)
def poison() -> None:
    @node
    def fit() -> None:
        ctypes.string_at(0)

    run(fit)


@cause("A body computes for longer than it may. Its stack at that moment is part of the error")
def hang() -> None:
    @node(timeout_s=0.2)
    def fit() -> None:
        print("epoch 1")
        while True:
            pass

    run(fit)


@cause("A worker holds more memory than the pool allows")
def swell() -> None:
    @node
    def fit() -> None:
        held = []
        while True:
            held.append(bytearray(random.randbytes(MIB)))
            time.sleep(0.005)

    run(fit, memory_hard_bytes=100 * MIB)


@cause("A worker is stopped by a signal and does not go on")
def stop() -> None:
    @node(retries=0)
    def fit() -> None:
        os.kill(os.getpid(), signal.SIGSTOP)

    run(fit, unresponsive_after_s=0.2)


@cause("A body of a stream is run again after its worker died, and yields something else than before")
def differ() -> None:
    marker = Path(tempfile.mkdtemp()) / "died"

    @node
    def draw() -> Iterator[float]:
        yield random.random()
        if not marker.exists():
            marker.touch()
            time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGKILL)

    @node
    def total(numbers: Stream[float]) -> float:
        return sum(numbers)

    try:
        with Flow() as flow:
            flow.numbers = draw()
            flow.total = total(flow.numbers)
        flow.run(workers=2)
    finally:
        marker.unlink(missing_ok=True)
        marker.parent.rmdir()


@cause("The state of a node cannot be restored in the worker that takes the place of one that died")
def restore() -> None:
    class Model:
        runs = 0

        def __setstate__(self, state: dict[str, int]) -> None:
            raise LookupError("the weights are not here")

        def call(self, _: int = 0) -> int:
            self.runs += 1
            if self.runs == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return self.runs

    with Flow() as flow:
        flow.model = node(Model)(flow.model)
    flow.run(workers=1, stop_at_node_generation={flow.model: (5,)})


@cause("Chunks wait for their reader, and there is room for them neither in memory nor on the disk")
def fill_the_disk() -> None:
    @node
    def blocks() -> Iterator[bytes]:
        for _ in range(100):
            yield bytes(1 << 16)

    @node
    def one_after_the_other(a: Stream[bytes], b: Stream[bytes]) -> int:
        return sum(map(len, a)) + sum(map(len, b))

    with Flow() as flow:
        flow.blocks = blocks()
        flow.joined = one_after_the_other(flow.blocks, flow.blocks)
    with mock.patch.object(spill.DiskSpill.__init__, "__defaults__", (3 << 20,)):
        flow.run(workers=2)


@cause("No worker comes up. What the last one printed is part of the error")
def broken() -> None:
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / "bootstrap.py"
        program.write_text("import a_module_that_is_not_installed\n")
        with (
            mock.patch.object(bootstrap, "__file__", str(program)),
            Pool(1, show=lambda _: None) as pool,
        ):
            pool.wait_ready()


@cause("A pool is used after its end")
def closed() -> None:
    with Pool(1) as pool:
        pass
    pool.wait_ready()


@cause("A task of an executor ends its worker")
def crash_a_task() -> None:
    with ProcessExecutor(1) as executor:
        executor.submit(os._exit, 3).result()


@cause("A task of an executor computes for longer than it may")
def hang_in_a_task() -> None:
    def fit() -> None:
        while True:
            pass

    with ProcessExecutor(1) as executor:
        executor.options(timeout_s=0.2).submit(fit).result()


@cause("What a task is given, or is to give, does not pickle")
def give_a_lock() -> None:
    with ProcessExecutor(1) as executor:
        executor.submit(print, {"lock": threading.Lock()}).result()


@cause("What a task is given does not unpickle in its worker")
def give_a_riddle() -> None:
    with ProcessExecutor(1) as executor:
        executor.submit(print, Riddle()).result()


@cause("A task raises what does not pickle; its traceback is chained to this")
def raise_a_lock() -> None:
    def fit() -> None:
        raise ValueError("too small", threading.Lock())

    with ProcessExecutor(1) as executor:
        executor.submit(fit).result()


@cause("The initializer of an executor fails")
def fail_to_begin() -> None:
    with ProcessExecutor(1, initializer=float, initargs=("one",)) as executor:
        executor.submit(print).result()


class Riddle:
    """Pickles, and does not unpickle."""

    def __reduce__(self) -> Any:
        return _no_answer, ()


def _no_answer() -> None:
    raise LookupError("no answer")


def error_of(function: Cause) -> BaseException:
    try:
        function()
    except Exception as error:  # noqa: BLE001 - that is what is wanted
        return error
    raise AssertionError(f"{function.__name__} was to raise an error")


def steadied(text: str) -> str:
    """The text without what differs from run to run."""
    for pattern, instead in (
        (r"pid \d+", "pid 4711"),
        (r"0x[0-9a-f]{8,}", "0x00007f0000000000"),
        (r'File "[^"]*/([^"/]+)"', r'File "\1"'),
        (r"\(/[^()]*/([^()/]+):\d+\)", r"(\1:1)"),
        (r"reached \d+ MiB", "reached 64 MiB"),
        (r"held \d+ MiB", "held 101 MiB"),
        (r"computed for [\d.]+ s", "computed for 0.2 s"),
        (r"line \d+", "line 1"),
    ):
        text = re.sub(pattern, instead, text)
    return "\n".join(line.rstrip() for line in text.split("\n"))


def page() -> str:
    parts = [
        "# Errors about worker processes\n\n",
        "What each one says, as `docs/make_errors.py` has caused it. Numbers and paths are examples.\n",
    ]
    for says, function in CAUSES:
        error = error_of(function)
        source = inspect.getsource(function).partition("\n")[2]
        body = re.search(r"^    @node.*?\n\n    (?=\S)", source, flags=re.DOTALL | re.MULTILINE)
        parts.append(f"\n## {type(error).__name__}\n\n{says}.\n")
        if body is not None:
            code = inspect.cleandoc("\n" + body.group().rstrip())
            parts.append(f"\n```python\n{code}\n```\n")
        parts.append(f"\n```text\n{type(error).__name__}: {steadied(str(error))}\n```\n")
    return "".join(parts)


if __name__ == "__main__":
    (HERE / "errors.md").write_text(page())
