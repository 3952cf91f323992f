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
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from executor import bootstrap
from orchestrator import Flow, Pool, Stream, node

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
