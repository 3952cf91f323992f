"""Rules 80 and 81: events, locks, conditions, latches, barriers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from orchestrator.event_loop import (
    Barrier,
    BrokenBarrierError,
    Condition,
    CountdownLatch,
    Event,
    EventLoop,
    Lock,
    LockOwnerError,
    VirtualClock,
    ZeroLatchError,
    current_event_loop,
    gather,
    sleep,
    spawn,
    timeout,
)


def run(main: Coroutine[Any, Any, Any], seed: int | None = None) -> Any:
    return EventLoop(VirtualClock(), seed).run_until_complete(main, join=True)


# -- Event -------------------------------------------------------------------------------------


def test_rule_80_an_event_wakes_all_who_wait_and_stays_set() -> None:
    async def main() -> list[bool]:
        event = Event()
        waiting = [await spawn(event.wait()) for _ in range(3)]
        assert not event.is_set()
        await event.set()
        event.set()
        assert event.is_set()
        return [await task.join() for task in waiting] + [await event.wait()]

    assert run(main()) == [True] * 4


def test_rule_80_waiting_for_an_event_with_a_timeout_says_whether_it_happened() -> None:
    async def main() -> list[bool]:
        event = Event()
        late = await spawn(event.wait(timeout=5))
        missed = await event.wait(timeout=1)
        event.set()
        return [missed, await late.join(), await event.wait(timeout=0)]

    assert run(main()) == [False, True, True]


def test_waking_a_task_from_another_thread_is_an_error_that_names_the_way() -> None:
    errors: list[BaseException] = []

    def meddle(event: Event) -> None:
        try:
            event.set()
        except RuntimeError as error:
            errors.append(error)

    async def main() -> None:
        event = Event()
        waiting = await spawn(event.wait())
        thread = threading.Thread(target=meddle, args=(event,))
        thread.start()
        thread.join()
        await waiting.cancel()

    run(main())
    assert "call_soon_threadsafe" in str(errors[0])


# -- Lock --------------------------------------------------------------------------------------


def test_rule_80_a_lock_is_handed_over_in_the_order_of_arrival() -> None:
    log: list[int] = []
    lock = Lock()

    async def worker(number: int) -> None:
        async with lock:
            log.append(number)
            await sleep(1)

    async def main() -> None:
        await gather(*(worker(number) for number in range(5)))
        assert not lock.is_locked()

    run(main())
    assert log == list(range(5))


def test_rule_80_nobody_snatches_a_lock_that_was_handed_over() -> None:
    log: list[str] = []

    async def worker(lock: Lock) -> None:
        async with lock:
            log.append("worker")

    async def main() -> None:
        lock = Lock()
        await lock.acquire()
        await spawn(worker(lock))
        lock.release()
        await lock.acquire()
        log.append("main")
        await lock.release()

    run(main())
    assert log == ["worker", "main"]


def test_rule_80_a_lock_released_by_a_task_that_does_not_hold_it_is_an_error() -> None:
    async def release(lock: Lock) -> None:
        lock.release()

    async def main() -> None:
        lock = Lock()
        with pytest.raises(RuntimeError, match="no task holds"):
            lock.release()
        await lock.acquire()
        with pytest.raises(LockOwnerError, match="may not release"):
            await gather(release(lock))
        assert lock.is_locked()

    run(main())


def test_a_task_that_acquires_a_lock_twice_is_told_that_it_would_wait_for_itself() -> None:
    async def main() -> None:
        lock = Lock()
        await lock.acquire()
        with pytest.raises(RuntimeError, match="not re-entrant"):
            await lock.acquire()

    run(main())


def test_rule_75_a_task_cancelled_with_the_lock_just_handed_to_it_passes_it_on() -> None:
    async def main() -> None:
        lock = Lock()
        await lock.acquire()
        first, second = await spawn(lock.acquire()), await spawn(lock.acquire())
        lock.release()
        first.cancel()
        await second.join()
        assert first.is_cancelled

    run(main())


# -- Condition ---------------------------------------------------------------------------------


async def _waiters(condition: Condition, count: int) -> list[Any]:
    async def wait() -> None:
        async with condition:
            await condition.wait()

    return [await spawn(wait()) for _ in range(count)]


NOTIFICATIONS: dict[str, tuple[Callable[[Condition], Any], int]] = {
    "notify()": (lambda condition: condition.notify(), 1),
    "notify(2)": (lambda condition: condition.notify(2), 3),
    "notify_all()": (lambda condition: condition.notify_all(), 3),
}


@pytest.mark.parametrize(("notify", "woken"), NOTIFICATIONS.values(), ids=NOTIFICATIONS)
def test_rule_80_a_condition_wakes_one_or_all(notify: Callable[[Condition], Any], woken: int) -> None:
    async def main() -> int:
        condition = Condition(Lock())
        waiting = await _waiters(condition, 3)
        async with condition:
            await notify(condition)
        await sleep(1)
        return sum(task.is_finished for task in waiting)

    loop = EventLoop(VirtualClock())
    assert loop.run_until_complete(main(), join=True, wait_for_spawned_tasks=False) == woken


def test_rule_80_waiting_releases_the_lock_and_holds_it_again_afterwards() -> None:
    log: list[str] = []

    async def consume(condition: Condition, items: list[int]) -> int:
        async with condition:
            while not items:
                log.append("waits")
                await condition.wait()
            return items.pop()

    async def main() -> int:
        condition, items = Condition(), list[int]()
        task = await spawn(consume(condition, items))
        async with condition:
            items.append(7)
            condition.notify()
            await sleep(1)
            log.append("still mine")
        return await task.join()

    assert run(main()) == 7
    assert log == ["waits", "still mine"]


def test_rule_80_a_condition_wants_its_lock_held() -> None:
    async def main() -> None:
        condition = Condition()
        for call in (condition.notify, condition.notify_all):
            with pytest.raises(AssertionError, match="may not notify"):
                call()
        with pytest.raises(AssertionError, match="may not wait"):
            await condition.wait()
        async with condition:
            condition.notify()  # nobody waits
            with pytest.raises(ValueError, match="can't notify 0"):
                condition.notify(0)

    run(main())


def test_rule_75_a_notification_of_a_cancelled_task_goes_to_the_next() -> None:
    async def main() -> None:
        condition = Condition()
        first, second = await _waiters(condition, 2)
        async with condition:
            condition.notify()
            first.cancel()
        await second.join()
        assert first.is_cancelled

    run(main())


def test_rule_75_a_second_cancel_while_the_lock_is_awaited_again_does_not_lose_the_lock() -> None:
    async def main() -> None:
        lock = Lock()
        condition = Condition(lock)
        (task,) = await _waiters(condition, 1)
        async with lock:
            task.cancel()
            await sleep(1)
            task.cancel()
            await sleep(1)
            assert task.is_living
        await task.wait_ended()
        assert task.is_cancelled
        assert not lock.is_locked()

    run(main())


@pytest.mark.parametrize("holds", [True, False])
def test_a_task_abandoned_in_a_condition_ends_without_a_word(
    holds: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        condition = Condition()
        (task,) = await _waiters(condition, 1)
        if holds:
            async with condition:
                task.cancel()
                await sleep(0)  # it waits for the lock now
                current_event_loop().create_task(sleep(0))
                return

    async def holding() -> None:
        lock = Lock()
        condition = Condition(lock)
        (task,) = await _waiters(condition, 1)
        await lock.acquire()
        task.cancel()
        await sleep(0)

    loop = EventLoop(VirtualClock())
    loop.run_until_complete(holding() if holds else main(), wait_for_spawned_tasks=False)
    assert not loop.has_living_tasks()
    assert "Error" not in caplog.text.replace("LockOwnerError", "") or holds


# -- CountdownLatch ------------------------------------------------------------------------------


def test_rule_81_a_latch_opens_for_all_when_it_was_counted_down() -> None:
    async def main() -> list[bool]:
        latch = CountdownLatch(2)
        waiting = [await spawn(latch.wait()) for _ in range(2)]
        await latch.count_down()
        await sleep(1)
        states = [task.is_living for task in waiting]
        latch.count_down()
        for task in waiting:
            await task.join()
        await latch.wait()
        assert latch.count == 0
        return states

    assert run(main()) == [True, True]


def test_rule_81_a_latch_at_zero_is_open() -> None:
    run(CountdownLatch(0).wait())


def test_rule_81_set_count_shuts_the_latch_again() -> None:
    async def main() -> None:
        latch = CountdownLatch(0)
        await latch.wait()
        latch.set_count(2)
        with pytest.raises(TimeoutError), timeout(1):
            await latch.wait()
        waiting = await spawn(latch.wait())
        latch.count_down()
        latch.count_down()
        await waiting.join()

    run(main())


def test_rule_81_set_count_to_zero_opens_the_latch() -> None:
    async def main() -> None:
        latch = CountdownLatch(3)
        waiting = await spawn(latch.wait())
        await latch.set_count(0)
        await waiting.join()

    run(main())


def test_rule_81_counting_down_at_zero_is_a_warning_or_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    latch = CountdownLatch(0)
    latch.count_down()
    assert "at zero" in caplog.text
    with pytest.raises(ZeroLatchError, match="at zero"):
        latch.count_down(exception_if_zero=True)
    assert latch.count == 0


def test_rule_81_negative_counts_are_refused() -> None:
    latch = CountdownLatch(1)
    for call in (CountdownLatch, latch.set_count):
        with pytest.raises(ValueError, match="at least 0, not -1"):
            call(-1)
    assert latch.count == 1


# -- Barrier -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_a_barrier_lets_parties_pass_together_as_often_as_they_come(seed: int) -> None:
    log: list[tuple[int, int]] = []

    async def party(barrier: Barrier, number: int) -> None:
        for turn in range(3):
            await sleep(number)
            log.append((turn, await barrier.wait()))

    async def main() -> None:
        barrier = Barrier(3)
        await gather(*(party(barrier, number) for number in range(3)))
        assert (barrier.parties, barrier.n_waiting, barrier.broken) == (3, 0, False)

    run(main(), seed)
    assert sorted(log) == [(turn, index) for turn in range(3) for index in range(3)]
    assert [turn for turn, _ in log] == sorted(turn for turn, _ in log)


def test_a_barrier_of_one_never_waits() -> None:
    assert run(Barrier(1).wait()) == 0


def test_a_barrier_is_broken_by_abort_until_it_is_reset() -> None:
    async def main() -> int:
        barrier = Barrier(2)
        waiting = await spawn(barrier.wait())
        assert barrier.n_waiting == 1
        await barrier.abort()
        for call in (waiting.join(), barrier.wait()):
            with pytest.raises(BrokenBarrierError, match="reset"):
                await call
        assert barrier.broken
        barrier.reset()
        other = await spawn(barrier.wait())
        return await barrier.wait() * 10 + await other.join()

    assert run(main()) == 10


def test_a_barrier_that_is_reset_turns_away_who_waits() -> None:
    async def main() -> bool:
        barrier = Barrier(2)
        waiting = await spawn(barrier.wait())
        barrier.reset()
        with pytest.raises(BrokenBarrierError):
            await waiting.join()
        return barrier.broken

    assert run(main()) is False


def test_a_barrier_is_not_broken_by_a_task_that_is_cancelled_after_it_passed() -> None:
    async def main() -> bool:
        barrier = Barrier(2)
        waiting = await spawn(barrier.wait())
        await barrier.wait()
        await waiting.cancel()
        return barrier.broken

    assert run(main()) is False


def test_a_barrier_needs_a_party() -> None:
    with pytest.raises(ValueError, match="at least 1, not 0"):
        Barrier(0)
