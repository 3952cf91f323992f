"""Nodes in the thread (DESIGN 4): many async bodies at once, copies of values, ends of all kinds."""

from __future__ import annotations

import asyncio
import logging
import threading
from functools import partial
from typing import Any

import numpy as np
import pytest

from executor import asyncio_tasks, thread_host
from executor.body import Stream
from orchestrator.graph.flow import Flow
from orchestrator.graph.node import node
from orchestrator.runtime.errors import NodeError

PATIENCE_S = 60.0


@node(placement="thread")
async def sleeps(x: int, seconds: float) -> int:
    await asyncio.sleep(seconds)
    return x


@node(placement="thread")
def numbers(count: int) -> Any:
    yield from range(count)


@node(placement="thread")
def plain(x: int, seconds: float) -> float:
    return x + seconds


@node(placement="thread")
async def total(chunks: Stream[int]) -> int:
    return sum([chunk async for chunk in chunks])


def meeting_of(count: int) -> Any:
    """A node whose bodies end when so many of them run at a time."""
    present = 0
    complete = asyncio.Event()

    @node(placement="thread")
    async def meet(x: int) -> int:
        nonlocal present
        present += 1
        if present == count:
            complete.set()
        await complete.wait()
        return x

    return meet


def test_a_thousand_bodies_sleep_side_by_side() -> None:
    meet = meeting_of(1000)
    with Flow() as f:
        f.add_nodes(*(meet(x) for x in range(999)))
        f.last = meet(999)
    f.run(workers=0, timeout_s=PATIENCE_S)
    assert f.last.get_data() == (999,)


def test_streams_go_through_the_thread_and_code_need_not_pickle() -> None:
    lock = threading.Lock()  # it does not pickle

    @node(placement="thread")
    def doubled(chunks: Stream[int]) -> Any:
        for chunk in chunks:
            with lock:
                yield 2 * chunk

    with Flow() as f:
        f.numbers = numbers(100)
        f.total = total(doubled(f.numbers))
    f.run(workers=0)
    assert f.total.get_data() == (9900,)


def test_values_are_copied_for_each_reader_as_they_are_for_processes() -> None:
    arrays = []

    @node(placement="thread")
    def makes() -> Any:
        array = np.zeros(100_000)
        arrays.append(array)
        return array

    @node(placement="thread")
    def writes(array: Any, x: float) -> float:
        array[:] += x
        return float(array[0])

    with Flow() as f:
        f.made = makes()
        f.one = writes(f.made, 1.0)
        f.two = writes(f.made, 2.0)
    f.run(workers=0)
    assert f.one.get_data() == (1.0,)
    assert f.two.get_data() == (2.0,)
    assert arrays[0][0] == 0


def test_a_value_from_inline_that_does_not_pickle_is_an_error_that_names_its_node() -> None:
    @node(placement="inline")
    def lock() -> Any:
        return threading.Lock()

    @node(placement="thread")
    def takes(x: object) -> None: ...

    with Flow() as f:
        f.lock = lock()
        f.takes = takes(f.lock)
    with pytest.raises(NodeError, match=r"lock.*cannot go to node 'takes'"):
        f.run(workers=0)


def test_a_class_keeps_its_state_in_the_thread() -> None:
    @node(placement="thread")
    class Counter:
        count = 0

        async def call(self, last: int = 0) -> int:
            await asyncio.sleep(0)
            self.count += 1
            return self.count

    with Flow() as f:
        f.counter = Counter(f.counter)  # type: ignore[call-arg]  # of call, not of __init__
    assert f.run(workers=0, stop_at_node_generation=(4,)).status == "limit"
    assert f.counter.get_data() == (5,)


def test_an_error_is_raised_with_its_traceback() -> None:
    @node(placement="thread")
    async def fails() -> None:
        await asyncio.sleep(0)
        raise LookupError("gone")

    with Flow() as f:
        f.fails = fails()
    with pytest.raises(LookupError, match="gone") as caught:
        f.run(workers=0)
    assert "in fails" in str(caught.value.__cause__)


def test_a_sleeping_body_is_cancelled_when_the_run_ends() -> None:
    cancelled = []
    sleeping = threading.Event()

    @node(placement="thread")
    async def sleeps_long() -> None:
        sleeping.set()
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            cancelled.append(True)
            raise

    @node(placement="inline")
    def fails_then() -> None:
        assert sleeping.wait(PATIENCE_S)
        raise ValueError("enough")

    with Flow() as f:
        f.sleeps = sleeps_long()
        f.fails = fails_then()
    with pytest.raises(ValueError, match="enough"):
        f.run(workers=0)
    assert cancelled == [True]


def test_a_blocked_body_that_does_not_end_is_logged_and_left_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    go_on = threading.Event()

    @node(placement="thread")
    def blocks() -> None:
        begun.set()
        assert go_on.wait(PATIENCE_S), "the run waited for it"
        went_on.append(True)

    @node(placement="inline")
    def fails_then() -> None:
        assert begun.wait(PATIENCE_S)
        raise ValueError("enough")

    begun = threading.Event()
    went_on: list[bool] = []

    monkeypatch.setattr(thread_host, "ThreadHost", partial(thread_host.ThreadHost, grace_s=0.05))
    with Flow() as f:
        f.blocks = blocks()
        f.fails = fails_then()
    with caplog.at_level(logging.ERROR), pytest.raises(ValueError, match="enough"):
        f.run(workers=0)
    assert went_on == []
    assert "a thread cannot be killed" in caplog.text
    go_on.set()  # the thread ends after all, and leaves nothing


def test_rule_64_a_body_that_waits_long_for_what_it_spawned_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    @node(placement="thread")
    async def spawns() -> int:
        asyncio.create_task(asyncio.sleep(0.1), name="forgotten")  # noqa: RUF006 - the host keeps it
        return 1

    monkeypatch.setattr(asyncio_tasks, "LONG_S", 0.02)
    with Flow() as f:
        f.spawns = spawns()
    f.run(workers=0)
    assert f.spawns.get_data() == (1,)
    assert "node 'spawns'" in caplog.text
    assert (
        "waits for 1 tasks that it spawned; await or cancel them in the body: forgotten" in caplog.text
    )


@pytest.mark.parametrize("body", [sleeps, plain])
def test_a_defect_of_the_thread_ends_the_run(body: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise AssertionError("a defect")

    monkeypatch.setattr("executor.reporter.Reporter.completed", fails)
    with Flow() as f:
        f.body = body(1, 0.001)
    with pytest.raises(AssertionError, match="a defect"):
        f.run(workers=0)


def test_a_map_has_as_many_elements_in_flight_as_it_may() -> None:
    with Flow() as f:
        f.met = meeting_of(200).map(numbers(200), ahead=200)
        f.total = total(f.met)
    f.run(workers=0, timeout_s=PATIENCE_S)
    assert f.total.get_data() == (19900,)


def test_a_run_without_such_nodes_starts_no_thread() -> None:
    seen = []

    @node(placement="inline")
    def looks() -> None:
        seen.append([thread.name for thread in threading.enumerate()])

    with Flow() as f:
        f.looks = looks()
    f.run(workers=0)
    assert not any("thread nodes" in name for name in seen[0])


def test_placements_mix_and_give_the_same_values() -> None:
    for first in ("inline", "thread", "process"):
        for second in ("inline", "thread", "process"):
            with Flow() as f:
                f.source = _numbers_in[first](20)
                f.total = _total_in[second](f.source)
            f.run(workers=1)
            assert f.total.get_data() == (190,), (first, second)


def _count(count: int) -> Any:
    yield from range(count)


def _add(chunks: Stream[int]) -> int:
    return sum(chunks)


_PLACES: tuple[Any, ...] = ("inline", "thread", "process")
_numbers_in = {place: node(placement=place)(_count) for place in _PLACES}
_total_in = {place: node(placement=place)(_add) for place in _PLACES}
