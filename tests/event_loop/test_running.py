"""Rules 72, 73, 77: what a run does, waits for and returns."""

from __future__ import annotations

import logging
import threading
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any

import pytest

from orchestrator.event_loop import (
    AsyncQueue,
    Event,
    EventLoop,
    TaskCancelled,
    VirtualClock,
    current_event_loop,
    current_task,
    exit,  # noqa: A004
    sleep,
    spawn,
)


def run(main: Coroutine[Any, Any, Any]) -> Any:
    return EventLoop(VirtualClock()).run_until_complete(main, join=True)


async def fail() -> None:
    raise ValueError("as planned")


def test_rule_72_join_returns_the_value_of_the_root_task() -> None:
    async def main() -> int:
        return 7

    assert run(main()) == 7


def test_rule_72_join_raises_the_exception_of_the_root_task_without_frames_of_the_loop() -> None:
    with pytest.raises(ValueError, match="as planned") as caught:
        run(fail())
    assert "_pass" not in [entry.name for entry in caught.traceback]


def test_rule_72_without_join_nothing_is_returned_and_an_exception_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> int:
        return 7

    assert EventLoop().run_until_complete(main()) is None
    assert EventLoop().run_until_complete(fail()) is None
    assert "the root task failed" in caplog.text
    assert "as planned" in caplog.text


def test_rule_72_without_join_a_cancelled_root_task_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        current_task().cancel()
        await sleep(0)

    assert EventLoop().run_until_complete(main()) is None
    assert caplog.text == ""


@pytest.mark.parametrize("waits", [True, False])
def test_rule_72_spawned_tasks_are_waited_for_or_closed(waits: bool) -> None:
    log: list[str] = []

    async def child() -> None:
        try:
            await sleep(1)
            log.append("slept")
        finally:
            log.append("cleaned up")

    async def main() -> None:
        await spawn(child())

    loop = EventLoop(VirtualClock())
    loop.run_until_complete(main(), wait_for_spawned_tasks=waits)
    assert log == (["slept", "cleaned up"] if waits else ["cleaned up"])
    assert not loop.has_living_tasks()


def test_rule_72_a_root_task_that_nothing_can_wake_is_an_error_that_says_what_all_wait_for() -> None:
    async def main() -> None:
        await Event().wait()

    with pytest.raises(RuntimeError, match="exited without completing the root task") as caught:
        run(main())
    assert "waiting for an event" in str(caught.value)
    assert "test_running.py" in str(caught.value)


def test_rule_72_without_join_the_same_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        await Event().wait()

    assert EventLoop().run_until_complete(main()) is None
    assert "waiting for an event" in caplog.text


def test_rule_72_a_spawned_task_that_nothing_can_wake_is_closed_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> int:
        await spawn(AsyncQueue[int]().get())
        return 3

    assert run(main()) == 3
    assert "can never end" in caplog.text


def test_rule_72_a_task_that_only_another_thread_can_wake_is_waited_for() -> None:
    async def main() -> bool:
        event = Event()
        loop = current_event_loop()
        thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(event.set))
        thread.start()
        await event.wait()
        thread.join()
        return event.is_set()

    assert run(main()) is True


def test_rule_72_the_debugging_limit_bounds_each_sleep_of_the_poller_but_ends_nothing() -> None:
    async def main() -> float:
        return await sleep(0.02)

    assert EventLoop().run_until_complete(main(), join=True, _debug_max_wait_time=0.001)


def test_rule_72_the_debugging_limit_holds_where_there_is_no_deadline() -> None:
    async def main() -> None:
        event = Event()
        loop = current_event_loop()
        thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(event.set))
        thread.start()
        await event.wait()
        thread.join()

    EventLoop().run_until_complete(main(), join=True, _debug_max_wait_time=0.001)


def test_rule_73_a_spawned_task_starts_before_its_spawner_goes_on() -> None:
    log: list[str] = []

    async def child(name: str) -> None:
        log.append(f"{name} start")
        await sleep(0)
        log.append(f"{name} end")

    async def main() -> None:
        log.append("main start")
        await spawn(child("task1"))
        log.append("main end")
        await spawn(child("task2"))

    run(main())
    assert log[:3] == ["main start", "task1 start", "main end"]
    assert sorted(log[3:]) == ["task1 end", "task2 end", "task2 start"]


def test_rule_73_order_of_two_tasks_that_spawn_one_after_the_other() -> None:
    log: list[str] = []

    async def child(name: str) -> None:
        log.append(f"{name} start")
        await sleep(1)
        log.append(f"{name} end")

    async def main() -> None:
        log.append("main start")
        first = await spawn(child("task1"))
        log.append("main end")
        second = await spawn(child("task2"))
        await second.join()
        await first.join()

    run(main())
    assert log == ["main start", "task1 start", "main end", "task2 start", "task1 end", "task2 end"]


def test_rule_73_cancelling_a_parent_leaves_its_children_alone() -> None:
    async def child() -> str:
        await sleep(5)
        return "child"

    async def main() -> str:
        children = []

        async def parent() -> None:
            children.append(await spawn(child()))
            await sleep(100)

        handle = await spawn(parent())
        await sleep(1)
        await handle.cancel()
        return await children[0].join()

    assert run(main()) == "child"


def test_rule_77_exit_ends_the_loop_with_a_value_and_closes_other_tasks() -> None:
    log: list[str] = []

    async def other() -> None:
        try:
            await sleep(100)
        finally:
            log.append("closed")

    async def quitter() -> None:
        await exit("early")

    async def main() -> str:
        await spawn(other())
        await spawn(quitter())
        await sleep(100)
        return "late"

    assert run(main()) == "early"
    assert log == ["closed"]


def test_rule_77_exit_raises_its_exception_whether_joined_or_not() -> None:
    async def main() -> None:
        await exit(exception=ValueError("out"))

    for join in (True, False):
        with pytest.raises(ValueError, match="out"):
            EventLoop().run_until_complete(main(), join=join)


def test_rule_77_exit_without_join_returns_nothing() -> None:
    async def main() -> None:
        await exit("unread")

    assert EventLoop().run_until_complete(main()) is None


def test_rule_77_another_thread_may_end_the_loop() -> None:
    async def main() -> None:
        loop = current_event_loop()
        thread = threading.Thread(target=loop.exit, args=("from outside",))
        thread.start()
        try:
            await Event().wait()
        finally:
            thread.join()

    assert run(main()) == "from outside"


def test_rule_77_an_abandoned_task_is_cancelled_for_whoever_kept_its_handle() -> None:
    handles = []

    async def main() -> None:
        handles.append(await spawn(sleep(100)))
        await exit()

    run(main())
    assert handles[0].is_cancelled
    with pytest.raises(TaskCancelled, match="ended"):
        handles[0].outcome()


def test_a_task_that_awaits_while_it_is_abandoned_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def stubborn() -> None:
        try:
            await sleep(100)
        finally:
            await sleep(0)

    async def main() -> None:
        await spawn(stubborn())

    EventLoop(VirtualClock()).run_until_complete(main(), wait_for_spawned_tasks=False)
    assert "failed to clean up" in caplog.text


def test_a_task_spawned_by_the_clean_up_of_an_abandoned_one_is_closed_too() -> None:
    late = []

    async def fertile() -> None:
        try:
            await sleep(100)
        finally:
            late.append(current_event_loop().create_task(sleep(100)))

    async def main() -> None:
        await spawn(fertile())

    loop = EventLoop(VirtualClock())
    loop.run_until_complete(main(), wait_for_spawned_tasks=False)
    assert late[0].is_cancelled
    assert not loop.has_living_tasks()


def test_a_loop_runs_again_after_each_kind_of_end() -> None:
    async def succeed() -> int:
        await sleep(1)
        return 1

    async def leave() -> None:
        await spawn(sleep(9))
        await exit(2)

    loop = EventLoop(VirtualClock())
    assert loop.run_until_complete(succeed(), join=True) == 1
    assert loop.run_until_complete(leave(), join=True) == 2
    with pytest.raises(ValueError, match="as planned"):
        loop.run_until_complete(fail(), join=True)
    assert loop.run_until_complete(succeed(), join=True) == 1


@coroutine
def old_style() -> Generator[Any, Any, None]:
    yield


def test_a_loop_entered_twice_is_an_error_and_the_first_run_goes_on() -> None:
    async def main() -> str:
        for root in (sleep(1), old_style()):
            with pytest.raises(RuntimeError, match="running already"):
                current_event_loop().run_until_complete(root)
        return "unharmed"

    assert run(main()) == "unharmed"


def test_another_loop_may_run_inside_a_task() -> None:
    async def inner() -> EventLoop:
        await sleep(1)
        return current_event_loop()

    async def main() -> bool:
        loop = EventLoop(VirtualClock())
        return loop.run_until_complete(inner(), join=True) is loop and current_event_loop() is not loop

    assert run(main()) is True


def test_loops_run_in_several_threads_at_once() -> None:
    results: list[int] = []
    rendezvous = threading.Barrier(3)

    async def main(number: int) -> None:
        queue = AsyncQueue[int]()
        await spawn(queue.put(number))
        rendezvous.wait()
        results.append(await queue.get())

    threads = [
        threading.Thread(target=EventLoop().run_until_complete, args=(main(number),))
        for number in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [0, 1, 2]


def test_outside_a_loop_there_is_no_current_loop_and_no_current_task() -> None:
    with pytest.raises(RuntimeError, match="run_until_complete"):
        current_event_loop()
    with pytest.raises(RuntimeError, match="run_until_complete"):
        current_task()


def test_a_callback_has_no_current_task_and_its_failure_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        current_event_loop().call_soon_threadsafe(current_task)
        await sleep(1)

    run(main())
    assert "not inside a callback" in caplog.text


def test_system_exit_in_a_task_ends_the_loop_at_once() -> None:
    async def quitter() -> None:
        raise SystemExit(3)

    async def main() -> None:
        await spawn(quitter())
        await sleep(100)

    with pytest.raises(SystemExit) as caught:
        EventLoop().run_until_complete(main())
    assert caught.value.code == 3


def test_the_exception_of_a_task_that_nobody_joins_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        await spawn(fail())
        await sleep(1)

    with caplog.at_level(logging.ERROR):
        run(main())
    assert "nobody joined it" in caplog.text
    assert "as planned" in caplog.text


def test_the_exception_of_a_task_that_is_joined_later_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        task = await spawn(fail())
        await sleep(1)
        with pytest.raises(ValueError, match="as planned"):
            await task.join()

    run(main())
    assert caplog.text == ""


def test_queue_closing_by_the_loop_is_the_queues_own() -> None:
    queue = AsyncQueue[int]()
    EventLoop().handle_queue_close(queue)
    assert queue.is_closed
