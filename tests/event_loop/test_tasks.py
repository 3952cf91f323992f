"""Rules 74 and 75: joining and cancelling."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from orchestrator.event_loop import (
    AsyncQueue,
    Barrier,
    BrokenBarrierError,
    Condition,
    CountdownLatch,
    Event,
    EventLoop,
    Lock,
    TaskCancelled,
    TaskHandle,
    VirtualClock,
    current_event_loop,
    current_task,
    readable,
    sleep,
    socket,
    spawn,
)


def run(main: Coroutine[Any, Any, Any]) -> Any:
    return EventLoop(VirtualClock()).run_until_complete(main, join=True)


async def give(value: object) -> object:
    await sleep(1)
    return value


async def fail() -> None:
    await sleep(1)
    raise ValueError("as planned")


# -- joining -------------------------------------------------------------------------------


def test_rule_74_join_gives_the_value_as_often_as_asked() -> None:
    async def main() -> list[object]:
        task = await spawn(give(1))
        return [await task.join(), await task.join(), await (await spawn(task.join())).join()]

    assert run(main()) == [1, 1, 1]


def test_rule_74_join_raises_the_exception_as_often_as_asked() -> None:
    async def main() -> None:
        task = await spawn(fail())
        for _ in range(2):
            with pytest.raises(ValueError, match="as planned"):
                await task.join()

    run(main())


def test_rule_74_join_of_a_cancelled_task_raises_task_cancelled() -> None:
    async def main() -> None:
        task = await spawn(give(1))
        task.cancel()
        for _ in range(2):
            with pytest.raises(TaskCancelled):
                await task.join()

    run(main())


def test_rule_74_the_states_are_exclusive() -> None:
    async def main() -> list[tuple[bool, ...]]:
        tasks: list[TaskHandle[Any]] = [await spawn(give(1)), await spawn(fail()), await spawn(give(1))]
        await tasks[2].cancel()
        living = [task.is_living for task in tasks]
        await sleep(2)
        with pytest.raises(ValueError, match="as planned"):
            tasks[1].outcome()
        assert living == [True, True, False]
        return [(task.is_finished, task.is_error, task.is_cancelled) for task in tasks]

    assert run(main()) == [(True, False, False), (False, True, False), (False, False, True)]


def test_rule_74_several_joiners_are_all_told() -> None:
    async def main() -> list[object]:
        task = await spawn(give("x"))
        joiners = [await spawn(task.join()) for _ in range(3)]
        return [await joiner.join() for joiner in joiners]

    assert run(main()) == ["x", "x", "x"]


def test_a_task_that_joins_itself_is_told_so() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="joins itself"):
            await current_task().join()

    run(main())


def test_a_living_task_has_no_outcome() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="no outcome yet"):
            current_task().outcome()

    run(main())


# -- cancelling ------------------------------------------------------------------------------

Waiting = Callable[[], Coroutine[Any, Any, Any]]


async def _locked() -> None:
    lock = Lock()
    await spawn(_hold(lock))
    await lock.acquire()


async def _hold(lock: Lock) -> None:
    async with lock:
        await sleep(1_000)


async def _condition() -> None:
    async with (condition := Condition()):
        await condition.wait()


async def _full() -> None:
    queue = AsyncQueue[int](maxsize=1)
    await queue.put(1)
    await queue.put(2)


async def _accept() -> None:
    with socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        await listener.accept()


async def _join() -> None:
    await (await spawn(sleep(1_000))).join()


WAITS: dict[str, Waiting] = {
    "sleep": lambda: sleep(1_000),
    "event": lambda: Event().wait(),
    "event with a timeout": lambda: Event().wait(1_000),
    "lock": _locked,
    "condition": _condition,
    "latch": lambda: CountdownLatch(1).wait(),
    "barrier": lambda: Barrier(2).wait(),
    "empty queue": lambda: AsyncQueue[int]().get(),
    "peek": lambda: AsyncQueue[int]().peek(),
    "full queue": _full,
    "socket": _accept,
    "join": _join,
    "yield": lambda: sleep(0),
}


@pytest.mark.parametrize("waiting", WAITS.values(), ids=WAITS)
def test_rule_75_a_cancel_is_raised_at_the_await_whatever_it_waits_for(waiting: Waiting) -> None:
    log: list[str] = []

    async def worker() -> str:
        try:
            await waiting()
        except TaskCancelled:
            log.append("cancelled")
            await sleep(10)  # not cut short by what it waited for before
            return "cleaned up"
        return "not reached"

    async def main() -> object:
        task = await spawn(worker())
        assert log == []
        return await task.cancel()

    loop = EventLoop(VirtualClock())
    assert loop.run_until_complete(main(), join=True, wait_for_spawned_tasks=False) == "cleaned up"
    assert log == ["cancelled"]


def test_rule_75_the_cancel_starts_when_called() -> None:
    log: list[str] = []

    async def worker() -> None:
        try:
            await sleep(100)
        except TaskCancelled:
            log.append("cancelled")
            raise

    async def main() -> None:
        task = await spawn(worker())
        task.cancel()
        await sleep(0)
        log.append("main")

    run(main())
    assert log == ["cancelled", "main"]


def test_rule_75_awaiting_gives_none_if_the_cancel_escaped_also_later() -> None:
    async def main() -> list[object]:
        task = await spawn(give(1))
        return [await task.cancel(), await task.cancel()]

    assert run(main()) == [None, None]


def test_rule_75_awaiting_raises_what_the_clean_up_raised_also_later() -> None:
    async def worker() -> None:
        try:
            await sleep(100)
        finally:
            raise KeyError("clean-up")

    async def main() -> None:
        task = await spawn(worker())
        for _ in range(2):
            with pytest.raises(KeyError, match="clean-up"):
                await task.cancel()

    run(main())


def test_rule_75_a_task_that_had_ended_gives_its_earlier_outcome() -> None:
    async def main() -> object:
        done, failed = await spawn(give("earlier")), await spawn(fail())
        await sleep(2)
        with pytest.raises(ValueError, match="as planned"):
            await failed.cancel()
        return await done.cancel()

    assert run(main()) == "earlier"


def test_rule_75_two_cancels_before_the_throw_are_one() -> None:
    thrown = []

    async def worker() -> None:
        for _ in range(2):
            try:
                await sleep(1)
            except TaskCancelled as error:
                thrown.append(error)

    async def main() -> None:
        task = await spawn(worker())
        task.cancel()
        await task.cancel()

    run(main())
    assert len(thrown) == 1


def test_rule_75_a_cancel_during_the_clean_up_of_an_earlier_one_is_thrown_there() -> None:
    log: list[str] = []

    async def worker() -> None:
        try:
            await sleep(100)
        finally:
            try:
                await sleep(100)
            except TaskCancelled:
                log.append("second")
                raise

    async def main() -> None:
        task = await spawn(worker())
        task.cancel()
        await sleep(1)
        await task.cancel()

    run(main())
    assert log == ["second"]


def test_rule_75_a_task_cancelled_before_it_began_runs_nothing() -> None:
    async def main() -> object:
        task: TaskHandle[Any] = current_event_loop().create_task(fail())
        return await task.cancel()

    assert run(main()) is None


def test_rule_75_a_ready_task_is_cancelled_at_its_await_and_resumed_no_more() -> None:
    log: list[str] = []

    async def worker(event: Event) -> None:
        try:
            await event.wait()
            log.append("woken")
        except TaskCancelled:
            await sleep(5)
            log.append("cancelled")

    async def main() -> float:
        loop = current_event_loop()
        event = Event()
        task = await spawn(worker(event))
        event.set()
        await task.cancel()
        return loop.now()

    assert run(main()) == 5
    assert log == ["cancelled"]


def test_rule_75_a_cancelled_joiner_is_not_resumed_by_the_end_of_the_joined() -> None:
    async def joiner(task: Any) -> object:
        try:
            return await task.join()
        except TaskCancelled:
            return await sleep(0.4)

    async def main() -> object:
        child = await spawn(sleep(0.5))
        joining = await spawn(joiner(child))
        await sleep(0.41)
        return await joining.cancel()

    assert run(main()) == pytest.approx(0.4)


def test_rule_75_a_cancel_in_a_condition_holds_the_lock_again_before_it_is_raised() -> None:
    log: list[object] = []

    async def worker(condition: Condition, lock: Lock) -> Any:
        async with condition:
            try:
                await condition.wait()
            finally:
                log.append(lock.is_locked())
                condition.notify()  # raises unless this task holds the lock

    async def main() -> object:
        lock = Lock()
        task = await spawn(worker(Condition(lock), lock))
        async with lock:
            cancelled = task.cancel()
            await sleep(1)
            assert log == []
        return await cancelled

    assert run(main()) is None
    assert log == [True]


def test_rule_75_a_task_may_cancel_itself() -> None:
    async def worker() -> str:
        current_task().cancel()
        try:
            await sleep(100)
        except TaskCancelled:
            return "at the next await"
        return "not reached"

    async def main() -> str:
        return await (await spawn(worker())).join()

    assert run(main()) == "at the next await"


def test_rule_75_a_task_that_cancels_itself_and_returns_has_returned() -> None:
    async def worker() -> str:
        current_task().cancel()
        return "value"

    async def main() -> str:
        return await (await spawn(worker())).join()

    assert run(main()) == "value"


def test_rule_75_a_task_that_awaits_its_own_cancel_is_cancelled_there() -> None:
    async def worker() -> None:
        await current_task().cancel()

    async def main() -> bool:
        task = await spawn(worker())
        await sleep(1)
        return task.is_cancelled

    assert run(main()) is True


def test_rule_75_cancelling_from_another_thread() -> None:
    async def main() -> None:
        event = Event()
        task = await spawn(event.wait())
        thread = threading.Thread(target=task.cancel)
        thread.start()
        with pytest.raises(TaskCancelled):
            await task.join()
        thread.join()

    run(main())


def test_rule_75_the_loop_cancels_a_task_or_its_coroutine() -> None:
    async def main() -> list[bool]:
        loop = current_event_loop()
        coroutine = give(1)
        first, second = await spawn(coroutine), await spawn(give(2))
        result = [loop.cancel(coroutine), loop.cancel(second)]
        await sleep(0)
        assert first.is_cancelled
        assert second.is_cancelled
        return [*result, loop.cancel(coroutine), loop.cancel(second)]

    assert run(main()) == [True, True, False, False]


def test_rule_75_a_broken_barrier_tells_the_others() -> None:
    async def main() -> None:
        barrier = Barrier(3)
        first, second = await spawn(barrier.wait()), await spawn(barrier.wait())
        await first.cancel()
        with pytest.raises(BrokenBarrierError):
            await second.join()

    run(main())


def test_waiting_for_a_closed_pipe_after_a_cancel_leaves_no_registration() -> None:
    async def main() -> None:
        reader, writer = os.pipe()
        task = await spawn(readable(reader))
        await task.cancel()
        os.close(reader)
        os.close(writer)

    run(main())
