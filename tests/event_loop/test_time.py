"""Rule 76: sleeping; clocks, timers, seeds and timeouts."""

from __future__ import annotations

import math
from collections.abc import Coroutine
from functools import partial
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.event_loop import (
    Event,
    EventLoop,
    MonotonicClock,
    TaskCancelled,
    VirtualClock,
    current_event_loop,
    current_task,
    gather,
    race,
    sleep,
    spawn,
    timeout,
)
from orchestrator.event_loop.clocks import LONGEST_WAIT_S
from orchestrator.event_loop.timers import Timers


def run(main: Coroutine[Any, Any, Any], seed: int | None = None) -> Any:
    return EventLoop(VirtualClock(), seed).run_until_complete(main, join=True)


# -- sleep ---------------------------------------------------------------------------------


def test_rule_76_sleep_returns_the_time_that_passed() -> None:
    assert run(sleep(2.5)) == 2.5


def test_rule_76_sleep_of_nothing_lets_every_ready_task_run_once() -> None:
    log: list[str] = []

    async def count(name: str, seconds: float) -> float:
        slept = 0.0
        for step in range(3):
            log.append(f"{name}{step}")
            slept += await sleep(seconds)
        return slept

    async def main() -> list[float]:
        return await gather(count("a", 0), count("b", -1))

    assert run(main()) == [0.0, 0.0]
    assert log == ["a0", "b0", "a1", "b1", "a2", "b2"]


def test_rule_76_equal_deadlines_end_in_the_order_the_sleeps_began() -> None:
    log: list[int] = []

    async def sleeper(number: int) -> None:
        await sleep(1)
        log.append(number)

    async def main() -> None:
        for number in range(50):
            current_event_loop().create_task(sleeper(number))

    run(main())
    assert log == list(range(50))


def test_rule_76_real_time_is_monotonic_and_sleeps_are_not_short() -> None:
    assert EventLoop().run_until_complete(sleep(0.01), join=True) >= 0.01  # type: ignore[operator]


def test_sleeping_until_no_number_is_an_error_in_the_task() -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="NaN"):
            await sleep(math.nan)

    run(main())


def test_sleeping_for_ever_can_be_cancelled() -> None:
    async def main() -> float:
        task = await spawn(sleep(math.inf))
        await sleep(1)
        await task.cancel()
        return current_event_loop().now()

    assert run(main()) == 1


# -- clocks and timers -----------------------------------------------------------------------


def test_the_real_clock_has_patience_until_the_deadline_but_not_beyond_reason() -> None:
    clock = MonotonicClock()
    assert clock.patience_s(math.inf) is None
    assert clock.patience_s(clock.now() - 1) == 0
    assert clock.patience_s(clock.now() + 1e12) == LONGEST_WAIT_S
    clock.on_idle(0)


def test_the_virtual_clock_jumps_but_never_back() -> None:
    clock = VirtualClock(5)
    clock.on_idle(math.inf)
    assert clock.now() == 5
    clock.on_idle(9)
    clock.on_idle(7)
    assert clock.now() == 9
    assert (clock.patience_s(math.inf), clock.patience_s(10)) == (None, 0)


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=200))
def test_timers_fire_in_order_whatever_is_cancelled(plan: list[tuple[int, bool]]) -> None:
    timers = Timers()
    fired: list[int] = []
    numbers = [timers.add(deadline, partial(fired.append, k)) for k, (deadline, _) in enumerate(plan)]
    for number, (_, is_cancelled) in zip(numbers, plan, strict=True):
        if is_cancelled:
            timers.discard(number)
            timers.discard(number)
    kept = [k for k, (_, is_cancelled) in enumerate(plan) if not is_cancelled]
    assert len(timers) == len(kept)
    assert timers.next_deadline() == min((plan[k][0] for k in kept), default=math.inf)
    timers.fire(20)
    assert fired == sorted(kept, key=lambda k: (plan[k][0], k))
    assert timers.next_deadline() == math.inf


def test_cancelled_timers_take_no_memory_for_long() -> None:
    timers = Timers()
    for _ in range(10_000):
        timers.discard(timers.add(1, lambda: None))
    assert len(timers.heap) < 100


# -- the seeded order --------------------------------------------------------------------------


async def _orders() -> list[int]:
    log: list[int] = []

    async def step(number: int) -> None:
        for _ in range(3):
            log.append(number)
            await sleep(0)

    await gather(*(step(number) for number in range(6)))
    return log


def test_a_seed_shuffles_the_order_always_alike() -> None:
    orders = [run(_orders(), seed) for seed in range(10)]
    assert orders == [run(_orders(), seed) for seed in range(10)]
    assert len({tuple(order) for order in orders}) > 1
    assert all(sorted(order) == sorted(orders[0]) for order in orders)


# -- timeout -----------------------------------------------------------------------------------


def test_a_timeout_cancels_what_is_inside_and_raises() -> None:
    log: list[str] = []

    async def bounded() -> None:
        async with timeout(2):
            try:
                await sleep(10)
            except TaskCancelled:
                log.append("cancelled")
                raise

    async def main() -> float:
        with pytest.raises(TimeoutError, match="longer than 2 s"):
            await bounded()
        return current_event_loop().now()

    assert run(main()) == 2
    assert log == ["cancelled"]


def test_a_timeout_that_is_not_reached_leaves_nothing_behind() -> None:
    async def main() -> float:
        with timeout(2):
            await sleep(1)
        await sleep(10)
        return current_event_loop().now()

    assert run(main()) == 11


def test_a_timeout_passes_other_exceptions_and_other_cancels() -> None:
    async def worker() -> float:
        with timeout(5):
            return await sleep(100)

    async def main() -> None:
        with pytest.raises(KeyError), timeout(1):
            raise KeyError
        task = await spawn(worker())
        await sleep(1)
        assert await task.cancel() is None

    run(main())


def test_of_nested_timeouts_the_shorter_one_acts_and_the_other_lives_on() -> None:
    async def main() -> list[float]:
        loop = current_event_loop()
        times = []
        with pytest.raises(TimeoutError, match="longer than 3 s"), timeout(3):  # noqa: PT012
            with pytest.raises(TimeoutError, match="longer than 1 s"), timeout(1):
                await sleep(10)
            times.append(loop.now())
            await sleep(10)
        return [*times, loop.now()]

    assert run(main()) == [1, 3]


def test_nested_timeouts_that_end_together_both_act() -> None:
    clock = VirtualClock()

    async def hurry() -> None:
        await sleep(0)
        clock.on_idle(4)  # past both deadlines at once

    async def main() -> float:
        await spawn(hurry())
        with pytest.raises(TimeoutError, match="longer than 3 s"), timeout(3):  # noqa: PT012
            with pytest.raises(TimeoutError, match="longer than 1 s"), timeout(1):
                await sleep(10)
            await sleep(10)
        return current_event_loop().now()

    assert EventLoop(clock).run_until_complete(main(), join=True) == 4


def test_a_timeout_that_would_act_after_its_block_does_not() -> None:
    clock = VirtualClock()

    async def main() -> float:
        await spawn(hurry())
        with timeout(3), pytest.raises(TimeoutError), timeout(1):
            await sleep(10)
        return await sleep(5)

    async def hurry() -> None:
        await sleep(0)
        clock.on_idle(4)  # past both deadlines at once

    assert EventLoop(clock).run_until_complete(main(), join=True) == 5


@pytest.mark.parametrize("seed", range(10))
def test_a_cancel_at_the_moment_of_a_timeout_is_a_cancel(seed: int) -> None:
    async def worker() -> None:
        with timeout(1):
            await Event().wait()

    async def main() -> bool:
        loop = current_event_loop()
        task = await spawn(worker())
        loop.timers.add(1, task.cancel)  # fires right before or right after the timeout
        await sleep(2)
        return task.is_cancelled

    assert run(main(), seed) is True


def test_a_block_that_survives_its_timeout_is_not_disturbed_again() -> None:
    async def main() -> float:
        with timeout(1):
            try:
                await sleep(10)
            except TaskCancelled:
                await sleep(10)
        return current_event_loop().now()

    assert run(main()) == 11


# -- gather and race ---------------------------------------------------------------------------


async def after(seconds: float, value: Any) -> Any:
    await sleep(seconds)
    if isinstance(value, BaseException):
        raise value
    return value


def test_gather_gives_values_in_the_order_of_its_arguments() -> None:
    async def main() -> list[str]:
        return await gather(after(3, "a"), after(1, "b"), after(2, "c"))

    assert run(main()) == ["a", "b", "c"]


def test_gather_of_nothing_is_nothing() -> None:
    assert run(gather()) == []


def test_gather_cancels_the_others_at_the_first_exception_and_waits_for_them() -> None:
    log: list[str] = []

    async def other() -> None:
        try:
            await sleep(100)
        finally:
            await sleep(2)
            log.append("cleaned up")

    async def main() -> float:
        with pytest.raises(ValueError, match="first"):
            await gather(other(), after(1, ValueError("first")), after(2, ValueError("second")))
        return current_event_loop().now()

    assert run(main()) == 3
    assert log == ["cleaned up"]


@pytest.mark.parametrize("seed", range(10))
def test_a_cancelled_gather_cancels_its_tasks_also_those_that_had_yet_to_begin(seed: int) -> None:
    log: list[str] = []

    async def child() -> None:
        log.append("began")
        try:
            await sleep(100)
        finally:
            log.append("ended")

    async def main() -> None:
        has_begun = Event()

        async def group() -> None:
            has_begun.set()
            await gather(child(), child())

        task = await spawn(group())
        await has_begun.wait()
        await task.cancel()

    run(main(), seed)
    assert log.count("began") == log.count("ended")


def test_race_gives_the_first_value_and_cancels_the_rest() -> None:
    async def main() -> tuple[str, float]:
        return await race(after(3, "slow"), after(1, "fast")), current_event_loop().now()

    assert run(main()) == ("fast", 1)


def test_race_raises_the_first_exception() -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="fast"):
            await race(after(3, "slow"), after(1, ValueError("fast")))

    run(main())


def test_race_of_nothing_is_an_error() -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="at least one"):
            await race()

    run(main())


def test_groups_refuse_what_is_no_coroutine() -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="not 5"):
            await gather(5)  # type: ignore[arg-type]

    run(main())


@pytest.mark.parametrize("seed", range(20))
def test_timeouts_under_load_expire_on_time_whatever_the_order(seed: int) -> None:
    random = Random(seed)
    limits = [random.randrange(1, 9) for _ in range(20)]

    async def worker(limit: int) -> float:
        loop = current_event_loop()
        try:
            with timeout(limit):
                while True:
                    await sleep(random.choice([0.5, 1.5]))
        except TimeoutError:
            return loop.now()

    async def main() -> list[float]:
        return await gather(*(worker(limit) for limit in limits))

    assert run(main(), seed) == limits


def test_current_task_is_the_task_that_runs() -> None:
    async def who() -> object:
        return current_task()

    async def main() -> bool:
        task = await spawn(who())
        return await task.join() is task

    assert run(main()) is True
