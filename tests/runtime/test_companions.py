"""Flow.create_task: coroutines that run beside a flow, in its event loop (SEMANTICS 64, 69, 78)."""

from __future__ import annotations

import gc
import logging
import signal
import threading
import weakref
from collections.abc import AsyncIterator
from weakref import WeakSet

import pytest

from executor.body import Stream
from executor.surroundings import current_flow, current_node
from orchestrator import coordinator
from orchestrator.companions import Companions
from orchestrator.event_loop import Event, EventLoop, TaskCancelled, TaskHandle, sleep, spawn
from orchestrator.graph.flow import Flow
from orchestrator.graph.node import node
from orchestrator.runtime.errors import FlowTimeoutError
from orchestrator.runtime.machine import FlowMachine
from tests.runtime.checked import CheckedMachine
from tests.runtime.virtual_time import in_virtual_time


def test_a_task_given_before_the_run_starts_with_it_and_the_run_waits_for_it() -> None:
    async def beside() -> object:
        await sleep(0.02)
        return current_flow(), current_node()

    @node(placement="inline")
    def quick() -> None: ...

    with Flow() as f:
        f.quick = quick()
    task = f.create_task(beside())
    assert task.is_living
    f.run(workers=0)
    assert task.outcome() == (f, None)


def test_an_inline_body_joins_it_and_it_works_with_the_bodies() -> None:
    is_ready = Event()

    async def beside() -> int:
        await is_ready.wait()
        return 7

    @node(placement="inline")
    async def joins() -> int:
        is_ready.set()
        return await task.join()

    with Flow() as f:
        f.joins = joins()
    task = f.create_task(beside())
    f.run(workers=0)
    assert f.joins.get_data() == (7,)


def test_rule_78_another_thread_starts_one_during_the_run_and_wakes_the_loop() -> None:
    let_go = Event()
    runs = threading.Event()

    async def beside() -> str:
        let_go.set()
        return threading.current_thread().name

    def meanwhile() -> None:
        assert runs.wait(60)
        tasks.append(f.create_task(beside()))

    @node(placement="inline")
    async def waits() -> bool:
        runs.set()
        return await let_go.wait(timeout=60)

    tasks: list[TaskHandle[str]] = []
    with Flow() as f:
        f.waits = waits()
    thread = threading.Thread(target=meanwhile)
    thread.start()
    f.run(workers=0)
    thread.join()
    assert f.waits.get_data() == (True,)
    assert tasks[0].outcome() == threading.current_thread().name


def test_rule_69_its_error_is_for_who_joins_it_and_the_flow_goes_on() -> None:
    async def fails() -> None:
        raise LookupError("beside")

    @node(placement="inline")
    async def works() -> int:
        await sleep(0.001)
        return 1

    with Flow() as f:
        f.works = works()
    task = f.create_task(fails())
    f.run(workers=0)
    assert f.works.get_data() == (1,)
    with pytest.raises(LookupError, match="beside"):
        task.outcome()


def test_an_endless_one_is_ended_by_the_timeout_of_the_run() -> None:
    ended = []

    async def endless() -> None:
        try:
            await sleep(600)
        finally:
            ended.append(True)

    @node(placement="inline")
    def quick() -> None: ...

    with Flow() as f:
        f.quick = quick()
    task = in_virtual_time(f).create_task(endless())
    with pytest.raises(FlowTimeoutError, match="tasks beside the nodes"):
        f.run(workers=0, timeout_s=0.02)
    assert ended == [True]
    assert task.is_cancelled


def test_f11_a_second_ctrl_c_ends_the_run_at_once_and_nothing_is_said_of_what_is_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @node(placement="inline")
    async def endless() -> None:
        await sleep(600)

    async def presses_twice() -> None:
        await sleep(0.001)
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)

    with Flow() as f:
        f.endless = endless()
    f.create_task(presses_twice())
    with pytest.raises(KeyboardInterrupt):
        f.run(workers=0)
    CheckedMachine.made.clear()  # it was left in the middle
    gc.collect()
    assert caplog.text == ""


def test_a_run_that_fails_does_not_wait_for_it(caplog: pytest.LogCaptureFixture) -> None:
    async def endless() -> None:
        await sleep(600)

    @node(placement="inline")
    def fails() -> None:
        raise LookupError("node")

    with Flow() as f:
        f.fails = fails()
    task = f.create_task(endless())
    with caplog.at_level(logging.ERROR), pytest.raises(LookupError, match="node"):
        f.run(workers=0)
    with pytest.raises(TaskCancelled):
        task.outcome()
    assert caplog.text == ""


def test_a_run_that_is_done_is_in_time_whatever_its_clean_up_takes() -> None:
    @node
    async def numbers() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            await sleep(60)

    @node
    def first(numbers: Stream[int]) -> int:
        return next(iter(numbers))

    with Flow() as f:
        f.numbers = numbers()
        f.first = first(f.numbers)
    assert in_virtual_time(f).run(workers=0, timeout_s=1).unfinished == ("numbers",)


def test_b21_a_flow_keeps_neither_the_tasks_that_have_ended_nor_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def beside() -> int:
        return 1

    @node(placement="inline")
    async def spawns() -> None:
        await spawn(beside())

    with Flow() as f:
        f.spawns = spawns()
    tasks = WeakSet(f.create_task(beside()) for _ in range(300))
    monkeypatch.setattr(coordinator, "FlowMachine", FlowMachine)  # others are kept, to be looked at
    f.run(workers=0)
    f.create_task(beside())
    gc.collect()
    assert not tasks
    assert not [found for found in gc.get_objects() if isinstance(found, FlowMachine)]
    f.run(workers=0)  # the task that is left


def test_companions_of_a_run_without_end_are_forgotten_while_others_live() -> None:
    async def endless() -> None:
        await sleep(600)

    async def beside() -> int:
        return 1

    companions = Companions()
    held = []

    async def main() -> None:
        lasting = await spawn(endless())
        companions.add(lasting)
        for _ in range(500):
            task = await spawn(beside())
            held.append(weakref.ref(task))
            companions.add(task)
        del task
        assert sum(ref() is not None for ref in held) <= 70
        assert companions.living() == [lasting]

    EventLoop().run_until_complete(main(), join=True, wait_for_spawned_tasks=False)
