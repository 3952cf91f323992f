"""Signals in a process that speaks with a coordinator."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from orchestrator.service.signals import ending_signals_noted, interrupt_deferred


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def interrupted(times: int, done: list[str], error: Exception | None = None) -> None:
    with interrupt_deferred() as descriptor:
        for _ in range(times):
            interrupt()
        assert descriptor is not None
        assert select.select([descriptor], [], [])[0] == [descriptor]
        done.append("all")
        if error is not None:
            raise error


def test_ctrl_c_is_raised_where_the_block_ends_and_wakes_who_waits_inside() -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(1, done)
    assert done == ["all"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_is_raised_at_once() -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(2, done)
    assert not done


def test_what_fails_inside_is_raised_though_ctrl_c_came() -> None:
    with pytest.raises(LookupError):
        interrupted(1, [], LookupError())


def test_a_handler_of_the_application_and_other_threads_are_left_alone() -> None:
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        with interrupt_deferred() as descriptor:
            interrupt()
        assert (descriptor, came) == (None, [signal.SIGINT])
    finally:
        signal.signal(signal.SIGINT, before)

    def elsewhere() -> None:
        with interrupt_deferred() as descriptor:
            came.append(0 if descriptor is None else descriptor)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert came[1:] == [0]


def test_noted_signals_are_read_one_by_one() -> None:
    with ending_signals_noted() as descriptor:
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert [len(os.read(descriptor, 1)) for _ in range(2)] == [1, 1]
        with pytest.raises(BlockingIOError):
            os.read(descriptor, 1)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("noting", [interrupt_deferred, ending_signals_noted])
def test_who_has_just_begun_to_wait_is_woken_before_any_handler_can_run(
    noting: Callable[[], AbstractContextManager[int | None]],
) -> None:
    """The interpreter writes to its wakeup descriptor at once, and calls handlers when it can."""
    read_end, outer = os.pipe2(os.O_NONBLOCK)
    before = signal.set_wakeup_fd(outer)
    try:
        with noting() as descriptor:
            inner = signal.set_wakeup_fd(-1)
            signal.set_wakeup_fd(inner)
            os.write(inner, bytes([signal.SIGWINCH]))
            assert descriptor is not None
            assert select.select([descriptor], [], [], 0)[0] == [descriptor]
        assert os.read(read_end, 2) == bytes([signal.SIGWINCH])  # whose it was is woken, too
    finally:
        assert signal.set_wakeup_fd(before) == outer
        os.close(read_end)
        os.close(outer)
