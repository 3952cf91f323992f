"""Rule 78 and the poller: descriptors, ZeroMQ sockets, and other threads."""

from __future__ import annotations

import os
import socket as stdlib
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from orchestrator.event_loop import (
    AsyncQueue,
    Event,
    EventLoop,
    VirtualClock,
    current_event_loop,
    readable,
    sleep,
    spawn,
    writable,
)
from orchestrator.event_loop.poller import CHECK_INTERVAL_S


def run(main: Coroutine[Any, Any, Any]) -> Any:
    return EventLoop().run_until_complete(main, join=True)


def soon() -> float:
    """A deadline long enough to be sure and short enough to be waited for."""
    return current_event_loop().now() + 0.02


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for descriptor in (reader, writer):
        try:
            os.close(descriptor)
        except OSError:  # a test closed it
            pass


@pytest.fixture
def pair() -> Iterator[tuple[zmq.Socket[bytes], zmq.Socket[bytes]]]:
    """Two connected ZeroMQ sockets; fails if the context can't be terminated."""
    with zmq.Context() as context, context.socket(zmq.PAIR) as left, context.socket(zmq.PAIR) as right:
        left.bind("inproc://pair")
        right.connect("inproc://pair")
        yield left, right


def _registered(loop: EventLoop) -> list[Any]:
    assert loop.poller is not None
    return list(loop.poller.registrations.values())


# -- descriptors -----------------------------------------------------------------------------------


def test_a_pipe_is_waited_for_until_it_can_be_read(pipe: tuple[int, int]) -> None:
    reader, writer = pipe

    async def main() -> list[Any]:
        waiting = await spawn(readable(reader))
        os.write(writer, b"x")
        return [await waiting.join(), os.read(reader, 9), await readable(reader, soon())]

    assert run(main()) == [True, b"x", False]


def test_a_deadline_that_has_passed_asks_how_things_are(pipe: tuple[int, int]) -> None:
    reader, writer = pipe

    async def main() -> list[bool]:
        now = current_event_loop().now()
        before = await readable(reader, now)
        os.write(writer, b"x")
        return [before, await readable(reader, now), await writable(writer, now)]

    assert run(main()) == [False, True, True]


def test_with_a_virtual_clock_what_is_ready_comes_before_the_deadline(pipe: tuple[int, int]) -> None:
    reader, writer = pipe

    async def main() -> list[Any]:
        loop = current_event_loop()
        missed = await readable(reader, loop.now() + 100)
        os.write(writer, b"x")
        return [missed, await readable(reader, loop.now() + 100), loop.now()]

    assert EventLoop(VirtualClock()).run_until_complete(main(), join=True) == [False, True, 100]


def test_the_end_of_a_process_is_seen_by_its_pidfd() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)

    async def main() -> list[bool]:
        pidfd = os.pidfd_open(child.pid)
        living = await readable(pidfd, soon())
        child.kill()
        ended = await readable(pidfd)
        os.close(pidfd)
        return [living, ended]

    assert run(main()) == [False, True]
    child.communicate()


def test_several_tasks_wait_for_one_source_in_both_directions() -> None:
    left, right = stdlib.socketpair()

    async def main() -> list[bool]:
        readers = [await spawn(readable(left)) for _ in range(2)]
        writing = await spawn(writable(left))
        done = [await writing.join()]
        await sleep(0.001)  # the poller learns that nobody waits to write any more
        assert all(reader.is_living for reader in readers)
        right.send(b"x")
        return done + [await reader.join() for reader in readers]

    with left, right:
        assert run(main()) == [True, True, True]


def test_a_source_that_is_ready_while_nobody_waits_costs_no_turns_of_the_loop() -> None:
    left, right = stdlib.socketpair()

    async def main() -> list[bool]:
        loop = current_event_loop()
        first = await readable(left, soon())
        right.send(b"x")
        await sleep(0.01)  # reported once, then deregistered
        assert _registered(loop) == []
        return [first, await readable(left)]

    with left, right:
        assert run(main()) == [False, True]


def test_waiting_again_for_a_socket_needs_no_new_registration() -> None:
    left, right = stdlib.socketpair()

    async def main() -> None:
        seen = []
        for _ in range(3):
            right.send(b"x")
            await readable(left)
            left.recv(1)
            seen += _registered(current_event_loop())
        assert seen[0] is seen[1] is seen[2]

    with left, right:
        run(main())


def test_a_descriptor_under_two_names_serves_both(pipe: tuple[int, int]) -> None:
    reader, writer = pipe

    async def main() -> list[bool]:
        with open(reader, "rb", closefd=False) as file:
            waiting = [
                await spawn(readable(file)),
                await spawn(readable(reader)),
                await spawn(readable(file)),
            ]
            os.write(writer, b"x")
            return [await task.join() for task in waiting]

    assert run(main()) == [True, True, True]


def test_a_number_that_means_another_file_now_is_registered_anew() -> None:
    async def main() -> list[bool]:
        results = []
        for _ in range(3):
            left, right = stdlib.socketpair()  # the numbers of the ones before
            right.send(b"x")
            results.append(await readable(left))
            left.close()
            right.close()
        return results

    assert run(main()) == [True, True, True]


def test_sources_without_weak_references_can_be_waited_for(pipe: tuple[int, int]) -> None:
    class Slotted:
        __slots__ = ()

        def fileno(self) -> int:
            return pipe[0]

    async def main() -> bool:
        os.write(pipe[1], b"x")
        return await readable(Slotted())

    assert run(main()) is True


def test_the_loop_can_be_told_that_a_source_is_about_to_be_closed(pipe: tuple[int, int]) -> None:
    class Slotted:
        __slots__ = ()

        def fileno(self) -> int:
            return pipe[0]

    source = Slotted()

    async def main() -> None:
        waiting = await spawn(readable(source))
        current_event_loop().closing(source)
        with pytest.raises(OSError, match="was closed while"):
            await waiting.join()

    loop = EventLoop(VirtualClock())
    loop.closing(source)  # no run, nobody waits
    loop.run_until_complete(main(), join=True)


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["a pipe", "a number", "a ZeroMQ socket"])
def test_a_source_closed_under_a_waiting_task_is_an_error_there(
    source: str, pipe: tuple[int, int], pair: tuple[Any, Any]
) -> None:
    file = open(pipe[0], "rb", closefd=False)  # noqa: SIM115
    subject = {"a pipe": file, "a number": pipe[0], "a ZeroMQ socket": pair[0]}[source]

    async def main() -> None:
        waiting = [await spawn(readable(subject)), await spawn(readable(subject))]
        await sleep(0.2)  # long enough to have been found well
        if source == "a number":
            os.close(pipe[0])
        else:
            subject.close()
        for task in waiting:
            with pytest.raises(OSError, match="was closed while"):
                await task.join()
        with pytest.raises(OSError, match=r"closed|Bad file"):
            await readable(subject)

    run(main())
    file.close()


def test_a_registration_that_could_not_be_changed_can_be_dropped() -> None:
    left, right = stdlib.socketpair()
    with left, right, stdlib.socket() as other:

        async def main() -> None:
            waiting = await spawn(readable(left))
            os.dup2(other.fileno(), left.fileno())  # the kernel has forgotten what was registered
            with pytest.raises(OSError, match="No such file"):
                await writable(left)
            current_event_loop().closing(left)
            with pytest.raises(OSError, match="was closed while"):
                await waiting.join()

        run(main())


def test_what_was_closed_before_the_wait_is_an_error_at_once(pair: tuple[Any, Any]) -> None:
    left, right = stdlib.socketpair()
    left.close()
    right.close()
    pair[0].close()

    async def main() -> None:
        for source in (left, pair[0], -1):
            with pytest.raises(OSError, match="is closed"):
                await readable(source)

    run(main())


def test_what_has_no_descriptor_can_not_be_waited_for() -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="pass a descriptor"):
            await readable("a name")

    run(main())


def test_a_regular_file_can_not_be_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("x")

    async def main() -> None:
        with path.open() as file, pytest.raises(OSError, match="always be read"):
            await readable(file)

    run(main())


def test_a_terminated_zmq_context_is_an_error_in_the_waiting_task() -> None:
    context = zmq.Context()
    left = context.socket(zmq.PAIR)
    left.linger = 0

    async def main() -> None:
        waiting = await spawn(readable(left))
        thread = threading.Thread(target=context.term)
        thread.start()
        with pytest.raises(zmq.ZMQError):
            await waiting.join()
        left.close()
        thread.join()

    run(main())


# -- ZeroMQ ----------------------------------------------------------------------------------------


def test_zmq_messages_that_came_before_the_wait_are_seen(pair: tuple[Any, Any]) -> None:
    left, right = pair

    async def main() -> list[bytes]:
        received = []
        for _ in range(3):
            right.send(b"a")
            right.send(b"b")
            for _ in range(2):
                assert await readable(left)
                received.append(left.recv(zmq.NOBLOCK))
        assert not await readable(left, soon())
        return received

    assert run(main()) == [b"a", b"b"] * 3


def test_a_zmq_signal_that_another_use_of_the_socket_swallows_is_not_lost(pair: tuple[Any, Any]) -> None:
    left, right = pair

    async def main() -> bytes:
        waiting = await spawn(readable(left))
        right.send(b"x")
        left.send(b"y")  # handles the signal of the message that has come
        assert left.getsockopt(zmq.EVENTS) & zmq.POLLIN
        assert await waiting.join()
        received: bytes = left.recv(zmq.NOBLOCK)
        return received

    assert run(main()) == b"x"


def test_a_swallowed_zmq_signal_is_not_lost_in_a_loop_that_is_never_idle(pair: tuple[Any, Any]) -> None:
    left, right = pair
    received: list[bytes] = []

    async def reader() -> None:
        await readable(left)
        received.append(left.recv(zmq.NOBLOCK))

    async def main() -> None:
        task = await spawn(reader())
        await sleep(0)
        right.send(b"x")
        while not left.getsockopt(zmq.EVENTS) & zmq.POLLIN:  # this swallows the signal
            pass
        for _ in range(100):
            await sleep(0)
        assert received == [b"x"]
        await task.join()

    run(main())


def test_a_zmq_signal_that_a_callback_swallows_while_the_loop_sleeps_is_not_lost(
    pair: tuple[Any, Any],
) -> None:
    left, right = pair

    def swallow() -> None:
        right.send(b"x")
        while not left.getsockopt(zmq.EVENTS) & zmq.POLLIN:
            pass

    async def main() -> bytes:
        # By then the loop sleeps for good: it has looked through all sources since tasks have run.
        call = current_event_loop().call_soon_threadsafe
        timer = threading.Timer(3 * CHECK_INTERVAL_S, call, (swallow,))
        timer.start()
        await readable(left)
        timer.join()
        received: bytes = left.recv(zmq.NOBLOCK)
        return received

    assert run(main()) == b"x"


def test_a_zmq_pump_and_writers_share_a_socket(pair: tuple[Any, Any]) -> None:
    left, right = pair
    count = 2_000

    async def pump(socket: Any, target: list[int]) -> None:
        while len(target) < count:
            await readable(socket)
            while socket.getsockopt(zmq.EVENTS) & zmq.POLLIN:
                target.append(int(socket.recv(zmq.NOBLOCK)))

    async def write(socket: Any) -> None:
        for number in range(count):
            assert await writable(socket)
            socket.send(b"%d" % number, zmq.NOBLOCK)
            if number % 7 == 0:
                await sleep(0)

    async def main() -> list[list[int]]:
        received: list[list[int]] = [[], []]
        tasks = [
            await spawn(task)
            for task in (pump(left, received[0]), pump(right, received[1]), write(left), write(right))
        ]
        for task in tasks:
            await task.join()
        return received

    assert run(main()) == [list(range(count))] * 2


def test_a_zmq_socket_that_nobody_waits_for_wakes_nobody(pair: tuple[Any, Any]) -> None:
    left, right = pair

    async def main() -> bool:
        loop = current_event_loop()
        assert not await readable(left, soon())
        right.send(b"x")
        await sleep(0.01)
        assert _registered(loop) == []
        return await readable(left)

    assert run(main()) is True


def test_a_zmq_wait_for_room_ends_when_the_peer_reads() -> None:
    with zmq.Context() as context, context.socket(zmq.PUSH) as push, context.socket(zmq.PULL) as pull:
        push.sndhwm = pull.rcvhwm = 1
        push.bind("inproc://narrow")
        pull.connect("inproc://narrow")

        async def main() -> bool:
            while await writable(push, soon()):
                push.send(b"x", zmq.NOBLOCK)
            waiting = await spawn(writable(push))
            for _ in range(2):
                pull.recv()
            return await waiting.join()

        assert run(main()) is True


# -- other threads ---------------------------------------------------------------------------------


def test_rule_78_create_task_from_another_thread_wakes_the_loop() -> None:
    started = threading.Event()

    async def main() -> str:
        loop = current_event_loop()
        queue = AsyncQueue[str]()

        def submit() -> None:
            started.wait()
            loop.create_task(queue.put("from the thread"))

        thread = threading.Thread(target=submit)
        thread.start()
        started.set()
        item = await queue.get()
        thread.join()
        return item

    assert run(main()) == "from the thread"


def test_rule_78_a_task_created_before_the_run_starts_with_it() -> None:
    log: list[str] = []

    async def early() -> None:
        log.append("early")

    loop = EventLoop(VirtualClock())
    task = loop.create_task(early())
    loop.run_until_complete(sleep(1))
    assert task.is_finished
    assert log == ["early"]


def test_rule_78_many_threads_wake_the_loop_at_once() -> None:
    async def main() -> int:
        loop = current_event_loop()
        queue = AsyncQueue[int]()

        def submit() -> None:
            for number in range(500):
                loop.call_soon_threadsafe(queue.put_nowait, number)

        threads = [threading.Thread(target=submit) for _ in range(4)]
        for thread in threads:
            thread.start()
        total = sum([await queue.get() for _ in range(2_000)])
        for thread in threads:
            thread.join()
        return total

    assert run(main()) == 4 * sum(range(500))


def test_waking_a_loop_whose_run_is_over_does_no_harm() -> None:
    loop = EventLoop()
    event = Event()
    loop.run_until_complete(sleep(0))
    loop.call_soon_threadsafe(event.set)
    assert not event.is_set()
    loop.run_until_complete(sleep(0))
    assert event.is_set()
