"""Rule 82: signals end a run in order, and handlers are restored."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from orchestrator.event_loop import (
    EventLoop,
    TaskCancelled,
    VirtualClock,
    current_event_loop,
    event_loop,
    race,
    sleep,
    spawn,
)
from orchestrator.event_loop import exit as leave

ENDING = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: SystemExit}
NUMBERS = (*ENDING, signal.SIGUSR2)


@pytest.fixture(autouse=True)
def handlers_are_restored() -> Any:
    before = [signal.getsignal(number) for number in NUMBERS]
    yield
    assert [signal.getsignal(number) for number in NUMBERS] == before
    descriptor = signal.set_wakeup_fd(-1)
    assert descriptor == -1


def run(main: Coroutine[Any, Any, Any], join: bool = True) -> Any:
    return EventLoop(VirtualClock()).run_until_complete(main, join=join)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("join", [True, False])
@pytest.mark.parametrize("number", ENDING)
def test_rule_82_the_first_signal_is_raised_in_the_root_task_which_cleans_up(
    number: int, join: bool
) -> None:
    log: list[str] = []

    async def child() -> None:
        try:
            await sleep(1_000)
        finally:
            await sleep(1)
            log.append("child")

    async def main() -> None:
        await spawn(child())
        try:
            send(number)
            await sleep(1_000)
        finally:
            await sleep(5)
            log.append("root")

    with pytest.raises(ENDING[signal.Signals(number)]) as caught:
        run(main(), join)
    assert log == ["root", "child"]
    if isinstance(caught.value, SystemExit):
        assert caught.value.code == 143


def test_rule_82_a_loop_that_sleeps_is_woken_by_a_signal() -> None:
    async def main() -> None:
        thread = threading.Thread(target=send, args=(signal.SIGINT,))
        thread.start()
        try:
            await sleep(1_000)
        finally:
            thread.join()

    with pytest.raises(KeyboardInterrupt):
        EventLoop().run_until_complete(main())


@pytest.mark.parametrize("second", ENDING)
def test_rule_82_the_second_signal_is_raised_wherever_the_code_is(
    second: int, caplog: pytest.LogCaptureFixture
) -> None:
    log: list[str] = []

    async def main() -> None:
        try:
            send(signal.SIGINT)
            await sleep(1_000)
        finally:
            try:
                send(second)
                log.append("not reached")
            except BaseException as error:
                log.append(type(error).__name__)
                raise

    with pytest.raises(ENDING[signal.Signals(second)]):
        run(main())
    assert log == [ENDING[signal.Signals(second)].__name__]
    gc.collect()
    assert caplog.text == ""  # no word of a task that nobody had joined


def test_rule_82_a_root_task_may_catch_the_interrupt_and_return() -> None:
    async def main() -> str:
        try:
            send(signal.SIGINT)
            await sleep(1_000)
        except KeyboardInterrupt:
            return "in order"
        return "not reached"

    assert run(main()) == "in order"


def test_rule_82_a_signal_after_the_end_of_the_root_task_cancels_the_others() -> None:
    log: list[str] = []

    async def child() -> None:
        await sleep(1)
        send(signal.SIGINT)
        try:
            await sleep(1_000)
        except TaskCancelled:
            log.append("cancelled")
            raise

    async def main() -> None:
        await spawn(child())

    with pytest.raises(KeyboardInterrupt):
        run(main(), join=False)
    assert log == ["cancelled"]


async def returns() -> int:
    return 1


async def fails() -> None:
    raise ValueError


async def leaves() -> None:
    await leave(1)


@pytest.mark.parametrize("join", [True, False])
@pytest.mark.parametrize("end", [returns, fails, leaves])
@pytest.mark.parametrize("number", ENDING)
def test_rule_82_a_signal_in_the_last_step_of_a_run_is_not_lost(
    number: int, end: Callable[[], Coroutine[Any, Any, Any]], join: bool
) -> None:
    async def main() -> Any:
        await sleep(1)
        send(number)
        return await end()

    loop = EventLoop(VirtualClock())
    with pytest.raises(ENDING[signal.Signals(number)]):
        loop.run_until_complete(main(), join=join)
    assert loop.run_until_complete(returns(), join=True) == 1


@pytest.mark.parametrize("moment", range(8))
def test_rule_82_ctrl_c_while_handlers_are_installed_or_restored_is_raised_and_all_are_restored(
    moment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = 0

    def at_each_moment(do: Callable[..., Any]) -> Callable[..., Any]:
        def done(*args: Any, **options: Any) -> Any:
            nonlocal passed
            before = do(*args, **options)
            passed += 1
            if passed == moment + 1:
                send(signal.SIGINT)
            return before

        return done

    async def main() -> None:
        await sleep(1)

    with monkeypatch.context() as patch:
        for name in ("signal", "set_wakeup_fd"):
            patch.setattr(signal, name, at_each_moment(getattr(signal, name)))
        with pytest.raises(KeyboardInterrupt):
            run(main())
    assert passed == 8


def test_rule_82_a_signal_reaches_a_root_task_that_waits_for_a_group() -> None:
    async def main() -> None:
        await race(sleep(1_000), interrupt())

    async def interrupt() -> None:
        send(signal.SIGINT)
        await sleep(1_000)

    with pytest.raises(KeyboardInterrupt):
        run(main())


def test_rule_82_an_interrupt_is_not_replaced_by_a_cancel() -> None:
    async def main() -> None:
        root = await spawn(sleep(0))
        send(signal.SIGINT)
        loop = current_event_loop()
        (task,) = [task for task in (loop.current, root) if task is not root]
        assert task is not None
        loop.call_soon_threadsafe(task.cancel)
        await sleep(1_000)

    with pytest.raises(KeyboardInterrupt):
        run(main())


def test_rule_82_sigusr2_dumps_all_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        await spawn(sleep(7))
        send(signal.SIGUSR2)
        await sleep(0)

    run(main())
    assert "sleeping until 7" in capsys.readouterr().err


@pytest.mark.parametrize("number", NUMBERS)
def test_rule_82_a_handler_of_the_application_is_left_alone(number: int) -> None:
    received: list[int] = []
    handler: Callable[..., None] = lambda signum, frame: received.append(signum)  # noqa: E731
    before = signal.signal(number, handler)
    try:

        async def main() -> str:
            send(number)
            await sleep(1)
            assert signal.getsignal(number) is handler
            return "undisturbed"

        assert run(main()) == "undisturbed"
        assert signal.getsignal(number) is handler
        assert received == [number]
    finally:
        signal.signal(number, before)


def test_rule_82_the_wakeup_descriptor_of_an_outer_loop_is_left_alone() -> None:
    left, right = socket.socketpair()
    left.setblocking(False)
    signal.set_wakeup_fd(left.fileno())
    try:

        async def main() -> None:
            send(signal.SIGUSR2)
            await sleep(0)

        run(main())
        assert right.recv(1) == bytes([signal.SIGUSR2])
    finally:
        assert signal.set_wakeup_fd(-1) == left.fileno()
        left.close()
        right.close()


def test_rule_82_a_loop_in_another_thread_touches_no_signal() -> None:
    handlers: list[Any] = []

    async def main() -> None:
        handlers.extend(signal.getsignal(number) for number in NUMBERS)

    thread = threading.Thread(target=EventLoop().run_until_complete, args=(main(),))
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(number) for number in NUMBERS]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)])
def test_rule_82_a_program_ends_with_the_status_of_its_signal(number: int, status: int) -> None:
    program = """
from orchestrator.event_loop import EventLoop, sleep

async def main():
    print("ready", flush=True)
    try:
        await sleep(1000)
    finally:
        await sleep(0)
        print("cleaned up", flush=True)

EventLoop().run_until_complete(main())
"""
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(number)
    out, _ = child.communicate()
    assert out == "cleaned up\n"
    assert child.returncode == status


def test_rule_82_a_loop_that_was_interrupted_while_it_started_can_run_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Interrupting:
        loop: EventLoop | None = None

        def __setattr__(self, name: str, value: object) -> None:
            monkeypatch.undo()  # once
            raise KeyboardInterrupt

    async def main() -> int:
        return 1

    loop = EventLoop()
    interrupted = main()
    monkeypatch.setattr(event_loop, "running", Interrupting())
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(interrupted)
    interrupted.close()
    assert loop.run_until_complete(main(), join=True) == 1
    with pytest.raises(RuntimeError, match="no event loop runs"):
        current_event_loop()
