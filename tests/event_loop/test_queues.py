"""Rule 79: queues; and rule 85 as far as queues have hooks."""

from __future__ import annotations

import copy
import pickle
from collections import deque
from collections.abc import Coroutine, Iterable
from random import Random
from typing import Any

import pytest

from orchestrator.event_loop import (
    AsyncMapQueue,
    AsyncQueue,
    AsyncSetQueue,
    Condition,
    Event,
    EventLoop,
    Lock,
    QueueClosedError,
    VirtualClock,
    current_event_loop,
    gather,
    sleep,
    spawn,
)


def run(main: Coroutine[Any, Any, Any], seed: int | None = None) -> Any:
    return EventLoop(VirtualClock(), seed).run_until_complete(main, join=True)


async def take(queue: AsyncQueue[Any], count: int) -> list[Any]:
    return [await queue.get() for _ in range(count)]


async def fill(queue: AsyncQueue[Any], *items: Any) -> None:
    for item in items:
        await queue.put(item)


def test_rule_79_first_in_first_out() -> None:
    async def main() -> list[int]:
        queue = AsyncQueue[int]()
        await fill(queue, 1, 2, 3)
        assert (len(queue), 2 in queue, 5 in queue) == (3, True, False)
        return await take(queue, 3)

    assert run(main()) == [1, 2, 3]


def test_rule_79_get_waits_while_the_queue_is_empty_and_getters_are_served_in_order() -> None:
    async def main() -> list[int]:
        queue = AsyncQueue[int]()
        getters = [await spawn(queue.get()) for _ in range(3)]
        await fill(queue, 1, 2, 3)
        late = await spawn(queue.get())  # finds three items, all promised
        await queue.put(4)
        return [await getter.join() for getter in [*getters, late]]

    assert run(main()) == [1, 2, 3, 4]


def test_rule_79_put_waits_while_the_queue_is_full_and_putters_are_served_in_order() -> None:
    async def main() -> tuple[int, list[int]]:
        queue = AsyncQueue[int](maxsize=2)
        await fill(queue, 0, 1)
        for item in range(2, 6):
            await spawn(queue.put(item))
        longest = len(queue)
        return longest, await take(queue, 6)

    assert run(main()) == (2, [0, 1, 2, 3, 4, 5])


def test_rule_79_a_newcomer_does_not_overtake_a_putter_that_was_granted_room() -> None:
    async def main() -> list[str]:
        queue = AsyncQueue[str](maxsize=1)
        await queue.put("first")
        await spawn(queue.put("waiting"))
        items = [await queue.get()]
        await spawn(queue.put("newcomer"))
        return items + await take(queue, 2)

    assert run(main()) == ["first", "waiting", "newcomer"]


def test_rule_79_peek_waits_and_leaves_the_item() -> None:
    async def main() -> list[int]:
        queue = AsyncQueue[int]()
        peeker = await spawn(queue.peek())
        await queue.put(1)
        return [await peeker.join(), await queue.peek(), await queue.get()]

    assert run(main()) == [1, 1, 1]


def test_rule_79_a_closed_queue_refuses_puts_drains_and_then_refuses_gets() -> None:
    async def main() -> None:
        queue = AsyncQueue[int]()
        await fill(queue, 1, 2)
        await queue.close()
        queue.close()
        with pytest.raises(QueueClosedError, match="before close"):
            await queue.put(3)
        with pytest.raises(QueueClosedError):
            queue.put_nowait(3)
        assert [await queue.peek(), await queue.get(), await queue.get()] == [1, 1, 2]
        for refused in (queue.get, queue.peek):
            with pytest.raises(QueueClosedError):
                await refused()

    run(main())


def test_rule_79_closing_wakes_who_waits_to_get_peek_or_put() -> None:
    async def main() -> None:
        empty, full = AsyncQueue[int](), AsyncQueue[int](maxsize=1)
        await full.put(1)
        tasks = [await spawn(call) for call in (empty.get(), empty.peek(), full.put(2))]
        empty.close()
        full.close()
        for task in tasks:
            with pytest.raises(QueueClosedError):
                await task.join()
        assert await full.get() == 1

    run(main())


def test_rule_79_a_putter_with_room_is_refused_if_the_queue_closes_before_it_runs() -> None:
    async def main() -> list[int]:
        queue = AsyncQueue[int](maxsize=1)
        await queue.put(1)
        putter = await spawn(queue.put(2))
        first = await queue.get()
        queue.close()
        with pytest.raises(QueueClosedError):
            await putter.join()
        return [first, *[item async for item in queue]]

    assert run(main()) == [1]


def test_rule_79_a_getter_that_was_promised_an_item_gets_it_though_the_queue_closes() -> None:
    async def main() -> int:
        queue = AsyncQueue[int]()
        getter = await spawn(queue.get())
        await queue.put(1)
        queue.close()
        return await getter.join()

    assert run(main()) == 1


def test_rule_79_iteration_ends_when_the_queue_is_closed_and_empty() -> None:
    async def main() -> list[list[int]]:
        queue = AsyncQueue[int]()

        async def consume() -> list[int]:
            return [item async for item in queue]

        consumers = [await spawn(consume()) for _ in range(2)]
        for item in range(4):
            await queue.put(item)
            await sleep(1)
        queue.close()
        return [await consumer.join() for consumer in consumers]

    assert run(main()) == [[0, 2], [1, 3]]


def test_rule_79_until_empty_ends_and_closes_when_nothing_is_left() -> None:
    async def main() -> tuple[list[int], bool]:
        queue = AsyncQueue[int]()
        await fill(queue, 1, 2, 3)
        return [item async for item in queue.until_empty()], queue.is_closed

    assert run(main()) == ([1, 2, 3], True)


@pytest.mark.parametrize("maxsize", [0, -1])
def test_a_queue_without_room_is_refused(maxsize: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        AsyncQueue[int](maxsize)


# -- cancelling ------------------------------------------------------------------------------


def test_rule_75_cancelled_getters_that_were_promised_items_leave_them_in_order() -> None:
    async def main() -> list[Any]:
        queue = AsyncQueue[int]()
        getters = [await spawn(queue.get()) for _ in range(4)]
        await fill(queue, 1, 2, 3)
        getters[1].cancel()
        getters[0].cancel()
        return [await getters[2].join(), await getters[3].join(), await queue.get()]

    assert run(main()) == [1, 2, 3]


def test_rule_75_a_cancelled_putter_puts_nothing_and_gives_its_room_to_the_next() -> None:
    async def main() -> list[int]:
        queue = AsyncQueue[int](maxsize=1)
        await queue.put(1)
        putters = [await spawn(queue.put(item)) for item in (2, 3, 4)]
        await putters[1].cancel()  # waits in line
        first = await queue.get()
        await putters[0].cancel()  # has been granted the room
        return [first, await queue.get()]

    assert run(main()) == [1, 4]


# -- sets and maps -----------------------------------------------------------------------------


def test_rule_79_a_set_queue_holds_an_item_once_and_says_whether_it_was_added() -> None:
    async def main() -> list[str]:
        queue = AsyncSetQueue[str]()
        assert queue.put_nowait("a", current_event_loop()) is True
        assert queue.put_nowait("a") is False
        await fill(queue, "b", "a")
        assert "a" in queue
        assert await queue.peek() == "a"
        items = await take(queue, 2)
        assert queue.put_nowait("a") is True
        return items

    assert run(main()) == ["a", "b"]


def test_rule_79_a_set_queue_that_is_full_takes_what_it_holds_without_waiting() -> None:
    async def main() -> int:
        queue = AsyncSetQueue[int](maxsize=1)
        await fill(queue, 1, 1, 1)
        return len(queue)

    assert run(main()) == 1


def test_rule_79_a_putter_looks_again_after_it_waited() -> None:
    async def main() -> list[int]:
        queue = AsyncSetQueue[int](maxsize=2)
        await fill(queue, 0, 1)
        putters = [await spawn(queue.put(item)) for item in (2, 2, 3)]
        items = [await queue.get()]
        queue.put_nowait(2)  # so that neither of the twins adds anything
        items += await take(queue, 1)
        for putter in putters:
            await putter.join()
        return [*items, *queue.items]

    assert run(main()) == [0, 1, 2, 3]


def test_rule_79_a_set_queue_that_is_full_is_closed_without_a_hang() -> None:
    async def main() -> None:
        queue = AsyncSetQueue[int](maxsize=1)
        await queue.put(1)
        putter = await spawn(queue.put(2))
        queue.close()
        with pytest.raises(QueueClosedError):
            await putter.join()

    run(main())


def test_rule_79_a_map_queue_collects_the_causes_of_each_key() -> None:
    async def main() -> list[tuple[str, list[int]]]:
        queue = AsyncMapQueue[str, int]()
        await fill(queue, ("a", 1), ("b", 2), ("a", 3))
        assert "a" in queue
        assert len(queue) == 2
        assert await queue.peek() == ("a", [1, 3])
        items = await take(queue, 2)
        queue.put_nowait(("a", 4))
        return [*items, await queue.get()]

    assert run(main()) == [("a", [1, 3]), ("b", [2]), ("a", [4])]


def test_rule_79_a_full_map_queue_takes_causes_of_keys_it_has_and_forgets_keys_it_refused() -> None:
    async def main() -> list[Any]:
        queue = AsyncMapQueue[str, int](maxsize=1)
        await queue.put(("a", 1))
        refused = await spawn(queue.put(("b", 2)))
        await queue.put(("a", 3))
        await refused.cancel()
        first = await queue.get()
        await queue.put(("b", 4))
        return [first, await queue.get()]

    assert run(main()) == [("a", [1, 3]), ("b", [4])]


# -- all at once -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(50))
def test_nothing_is_lost_doubled_or_reordered_under_cancels(seed: int) -> None:
    """Each producer's items arrive in its order, whoever is cancelled meanwhile."""
    random = Random(seed)
    queue = AsyncQueue[tuple[int, int]](maxsize=random.choice([None, 1, 3]))
    put: list[tuple[int, int]] = []
    got: deque[tuple[int, int]] = deque()

    async def produce(name: int) -> None:
        for number in range(20):
            await queue.put((name, number))
            put.append((name, number))
            await sleep(random.choice([0, 0, 1]))

    async def consume() -> None:
        while True:
            got.append(await queue.get())
            await sleep(random.choice([0, 0, 1]))

    async def main() -> None:
        producers = [await spawn(produce(name)) for name in range(3)]
        consumers = [await spawn(consume()) for _ in range(4)]
        for task in random.sample(consumers[1:] + producers[:1], 3):
            await sleep(random.choice([0, 0, 1, 2]))
            task.cancel()
        for producer in producers:
            await producer.wait_ended()
        queue.close()
        for consumer in consumers:
            await consumer.wait_ended()
        got.extend([item async for item in queue])

    run(main(), seed)
    assert sorted(got) == sorted(put)
    for name in range(3):
        assert _of(name, got) == _of(name, put)


def _of(name: int, items: Iterable[tuple[int, int]]) -> list[int]:
    return [number for who, number in items if who == name]


def test_many_producers_and_consumers_meet_without_a_buffer() -> None:
    async def main() -> int:
        queue = AsyncQueue[int](maxsize=1)
        sums = gather(*(total(queue) for _ in range(3)))
        producing = await spawn(gather(*(fill(queue, *range(100)) for _ in range(3))))
        consuming = await spawn(sums)
        await producing.join()
        queue.close()
        return sum(await consuming.join())

    async def total(queue: AsyncQueue[int]) -> int:
        return sum([item async for item in queue])

    assert run(main()) == 3 * sum(range(100))


@pytest.mark.parametrize("kind", [AsyncQueue, AsyncSetQueue, AsyncMapQueue, Event, Lock, Condition])
def test_queues_and_locks_do_not_pickle(kind: Any) -> None:
    with pytest.raises(TypeError, match="belong to one event loop and do not pickle"):
        pickle.dumps(kind())


def test_a_copy_of_a_queue_has_nobody_in_line() -> None:
    async def main() -> int:
        queue = AsyncQueue[int]()
        getter = await spawn(queue.get())
        await sleep(0)
        copied = copy.deepcopy(queue)
        await copied.put(1)
        getter.cancel()
        return len(copied)

    assert run(main()) == 1
