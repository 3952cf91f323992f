"""Rule 83: what a task may yield; commands of one's own; rule 85: instruments; descriptions."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any

import pytest

from orchestrator.event_loop import (
    AsyncQueue,
    Command,
    Event,
    EventLoop,
    EventLoopInstrument,
    Lock,
    VirtualClock,
    azip,
    current_event_loop,
    current_task,
    perform,
    readable,
    sleep,
    spawn,
)
from orchestrator.event_loop.describing import describe_task


def run(main: Coroutine[Any, Any, Any]) -> Any:
    return EventLoop(VirtualClock()).run_until_complete(main, join=True)


@coroutine
def give(thing: object) -> Generator[Any, Any, Any]:
    return (yield thing)


# -- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize("thing", [5, "text", object(), ValueError("no command"), Command])
def test_rule_83_an_unknown_object_is_a_type_error_in_the_task_that_gave_it(thing: object) -> None:
    async def main() -> str:
        with pytest.raises(TypeError, match="no command of this event loop") as caught:
            await give(thing)
        assert "asyncio" not in str(caught.value)
        await sleep(1)
        return "lives on"

    assert run(main()) == "lives on"


@pytest.mark.parametrize("foreign", [lambda: asyncio.sleep(0), lambda: _future()])
def test_rule_83_awaiting_something_of_asyncio_is_an_error_that_says_what_to_do(foreign: Any) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match=r'looks like asyncio.*placement="thread"'):
            await foreign()

    run(main())


async def _future() -> None:
    loop = asyncio.new_event_loop()
    try:
        await loop.create_future()
    finally:
        loop.close()


BAD_TASKS: dict[str, tuple[Any, str]] = {
    "a function": (_future, "call it"),
    "an awaitable": (type("Awaitable", (), {"__await__": lambda self: iter(())})(), "await it inside"),
    "a generator": ((_ for _ in ()), "coroutine object, not <generator"),
    "a number": (5, "not 5$"),
}


@pytest.mark.parametrize(("thing", "advice"), BAD_TASKS.values(), ids=BAD_TASKS)
def test_what_is_no_coroutine_is_refused_with_advice(thing: Any, advice: str) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match=advice):
            await spawn(thing)

    run(main())
    with pytest.raises(TypeError, match=advice):
        EventLoop().run_until_complete(thing)


def test_a_generator_based_coroutine_is_a_task_like_any_other() -> None:
    @coroutine
    def old_style() -> Generator[Any, Any, int]:
        yield from sleep(1).__await__()
        return 4

    async def main() -> int:
        return await (await spawn(old_style())).join()

    assert run(main()) == 4


def test_a_coroutine_is_one_task_only() -> None:
    async def main() -> None:
        once = sleep(1)
        await spawn(once)
        with pytest.raises(RuntimeError, match="is a task already"):
            await spawn(once)

    run(main())


def test_a_coroutine_that_is_never_awaited_is_warned_of_by_python() -> None:
    async def main() -> None:
        sleep(1)  # type: ignore[unused-coroutine]

    with pytest.warns(RuntimeWarning, match="'sleep' was never awaited"):
        run(main())


# -- commands of one's own -------------------------------------------------------------------------


class Ask(Command):
    """Asks the test for a number."""

    __slots__ = ("question",)

    def __init__(self, question: str) -> None:
        super().__init__()
        self.question = question


class AskTwice(Ask):
    __slots__ = ()


def test_a_registered_command_and_its_subclasses_are_carried_out() -> None:
    loop = EventLoop(VirtualClock())

    def answer(task: Any, command: Ask) -> None:
        command.result = len(command.question)
        loop.ready.append(task)

    loop.register_command(Ask, answer)

    async def main() -> list[int]:
        return [await perform(Ask("abc")), await perform(AskTwice("abcd")), await perform(AskTwice(""))]

    assert loop.run_until_complete(main(), join=True) == [3, 4, 0]


def test_a_subclass_of_the_loop_adds_commands_and_may_answer_later() -> None:
    class Loop(EventLoop):
        def __init__(self) -> None:
            super().__init__(VirtualClock())
            self.register_command(Ask, self._ask)

        def _ask(self, task: Any, command: Ask) -> None:
            task.wait = command
            self.timers.add(self.now() + 3, task.resume)

    async def main() -> float:
        await perform(Ask("later"))
        return current_event_loop().now()

    assert Loop().run_until_complete(main(), join=True) == 3


def test_what_a_handler_raises_is_raised_in_the_task() -> None:
    loop = EventLoop(VirtualClock())

    def refuse(task: Any, command: Ask) -> None:
        raise KeyError(command.question)

    loop.register_command(Ask, refuse)

    async def main() -> str:
        with pytest.raises(KeyError, match="why"):
            await perform(Ask("why"))
        return "lives on"

    assert loop.run_until_complete(main(), join=True) == "lives on"


# -- azip ------------------------------------------------------------------------------------------


async def count(end: int) -> Any:
    for number in range(end):
        await sleep(1)
        yield number


def test_azip_ends_with_the_shortest() -> None:
    async def main() -> list[tuple[Any, ...]]:
        assert [item async for item in azip()] == []
        return [item async for item in azip(count(5), count(3), count(9))]

    assert run(main()) == [(0, 0, 0), (1, 1, 1), (2, 2, 2)]


# -- instruments -----------------------------------------------------------------------------------


class Recorder(EventLoopInstrument):
    def __init__(self, name: str, log: list[str]) -> None:
        self.name = name
        self.log = log

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("on_"):
            log = object.__getattribute__(self, "log")
            log.append(f"{object.__getattribute__(self, 'name')}:{name[3:]}")
        return object.__getattribute__(self, name)


def test_rule_85_steps_of_a_task_and_queue_operations_are_told() -> None:
    log: list[str] = []

    async def main() -> None:
        queue = AsyncQueue[int]()
        await queue.put(1)
        await queue.get()
        task = await spawn(sleep(1))
        await task.cancel()
        with pytest.raises(ValueError, match="x"):
            await (await spawn(fail())).join()

    async def fail() -> None:
        raise ValueError("x")

    with Recorder("i", log):
        run(main())
    plain = [entry.removeprefix("i:") for entry in log]
    assert plain[:4] == ["task_before_send", "queue_put", "queue_get", "task_after_send"]
    assert "task_before_throw" in plain
    assert (
        plain.count("task_cancelled") == plain.count("task_error") == plain.count("task_completed") == 1
    )


def test_rule_85_a_caught_exception_is_told_after_the_throw() -> None:
    log: list[str] = []

    async def stubborn() -> None:
        while True:
            try:
                await sleep(1)
                return
            except BaseException:
                log.append("caught")

    async def main() -> None:
        task = await spawn(stubborn())
        with Recorder("i", log):
            task.cancel()
            await sleep(0)

    run(main())
    assert log[log.index("i:task_before_throw") :][:3] == [
        "i:task_before_throw",
        "caught",
        "i:task_after_throw",
    ]


def test_rule_85_instruments_stack_and_the_inner_one_is_told_first() -> None:
    log: list[str] = []

    async def main() -> None:
        await AsyncQueue[int]().put(1)

    with Recorder("outer", log), Recorder("inner", log):
        run(main())
    puts = [entry for entry in log if entry.endswith("queue_put")]
    assert puts == ["inner:queue_put", "outer:queue_put"]
    run(main())
    assert [entry for entry in log if entry.endswith("queue_put")] == puts


def test_rule_85_whether_a_queue_operation_had_to_wait_is_told() -> None:
    log: list[tuple[str, int, bool]] = []

    class Waits(EventLoopInstrument):
        def on_queue_get(self, queue: AsyncQueue[Any], item: Any, immediate: bool) -> None:
            log.append(("get", item, immediate))

        def on_queue_put(self, queue: AsyncQueue[Any], item: Any, immediate: bool) -> None:
            log.append(("put", item, immediate))

    async def main() -> None:
        queue = AsyncQueue[int](maxsize=1)
        getter = await spawn(queue.get())
        await queue.put(1)
        await getter.join()
        await queue.put(2)
        putter = await spawn(queue.put(3))
        await queue.get()
        await putter.join()

    with Waits():
        run(main())
    assert log == [
        ("put", 1, True),
        ("get", 1, False),
        ("put", 2, True),
        ("get", 2, True),
        ("put", 3, False),
    ]


def test_rule_85_a_hook_that_raises_is_logged_and_harms_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(EventLoopInstrument):
        def on_task_before_send(self, task: Any) -> None:
            raise ZeroDivisionError

    with Broken():
        assert run(sleep(1)) == 1
    assert "ZeroDivisionError" in caplog.text
    assert "on_task_before_send" in caplog.text


# -- describing ------------------------------------------------------------------------------------


def test_every_task_is_described_with_what_it_waits_for_and_where() -> None:
    async def lock_up(lock: Lock) -> None:
        async with lock:
            await sleep(1)

    async def main() -> str:
        lock = Lock()
        event = Event()
        tasks: list[Any] = [
            await spawn(lock_up(lock)),
            await spawn(lock_up(lock)),
            await spawn(event.wait(9)),
            await spawn(count(3).__anext__()),
        ]
        tasks.append(await spawn(tasks[0].join()))
        description = current_event_loop().describe()
        for task in tasks:
            task.cancel()
        current_event_loop().create_task(sleep(0))
        return description + current_event_loop().describe()

    text = run(main())
    for expected in (
        "6 tasks",
        "sleeping until 1.0",
        "waiting for a lock that <task",
        "waiting for an event",
        "waiting for <task",
        ": running",
        ": ready to run",
        "in lock_up",
        "await sleep(1)",
    ):
        assert expected in text


def test_what_is_waited_for_on_a_descriptor_is_described() -> None:
    async def main() -> str:
        left, right = socket.socketpair()
        with left, right:
            task = await spawn(readable(left))
            description = current_event_loop().describe()
            await task.cancel()
        return description

    assert "waiting to read <socket.socket fd=" in run(main())


def test_a_task_that_has_ended_has_no_stack() -> None:
    async def main() -> str:
        task = await spawn(sleep(0))
        await task.join()
        return describe_task(task, current_task())

    assert run(main()).endswith("sleep, finished>: ready to run")


def test_a_command_describes_itself_by_its_name() -> None:
    assert str(Ask("x")) == "Ask"


def test_tasks_have_a_name_even_without_a_coroutine_function() -> None:
    async def main() -> str:
        return repr(current_task())

    assert run(main()).endswith("main, living>")
