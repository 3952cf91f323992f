"""Signals' handlers do not tear what is shielded, and run as soon as it is over."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

from executor.shield import Shield


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """What a handler of SIGUSR1 has heard."""
    numbers: list[int] = []

    def hear(number: int, _: FrameType | None) -> None:
        numbers.append(number)

    before = signal.signal(signal.SIGUSR1, hear)
    yield numbers
    signal.signal(signal.SIGUSR1, before)


def handlers() -> list[Any]:
    return [signal.getsignal(number) for number in sorted(signal.valid_signals())]


def test_a_handler_runs_when_the_shielded_stretch_is_over(heard: list[int]) -> None:
    before = handlers()
    with Shield():
        signal.raise_signal(signal.SIGUSR1)
        assert heard == []
    assert heard == [signal.SIGUSR1]
    assert handlers() == before


def test_ctrl_c_is_raised_after_the_shielded_stretch_and_not_in_it() -> None:
    reached = []
    with pytest.raises(KeyboardInterrupt), Shield():  # noqa: PT012 - by the end of the block
        signal.raise_signal(signal.SIGINT)
        reached.append("the end")
    assert reached == ["the end"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_runs_at_once_where_the_shield_is_lowered(heard: list[int]) -> None:
    with Shield() as shield:
        shield.lower(signal.raise_signal, signal.SIGUSR1)
        assert heard == [signal.SIGUSR1]
        signal.raise_signal(signal.SIGUSR1)  # it is up again
        assert heard == [signal.SIGUSR1]
    assert len(heard) == 2


def test_what_was_put_off_runs_before_the_wait_that_the_shield_is_lowered_for(heard: list[int]) -> None:
    with Shield() as shield:
        signal.raise_signal(signal.SIGUSR1)
        assert shield.lower(heard.copy) == [signal.SIGUSR1]


def test_what_a_handler_raises_leaves_the_lowered_shield_and_all_handlers_come_back(
    heard: list[int],
) -> None:
    before = handlers()
    with pytest.raises(KeyboardInterrupt), Shield() as shield:
        shield.lower(signal.raise_signal, signal.SIGINT)
    assert handlers() == before
    assert heard == []


def test_shields_lie_within_each_other(heard: list[int]) -> None:
    with Shield():
        with Shield():
            signal.raise_signal(signal.SIGUSR1)
        assert heard == []
    assert heard == [signal.SIGUSR1]


def test_a_handler_that_was_set_meanwhile_stays(heard: list[int]) -> None:
    with Shield() as shield:
        shield.lower(signal.signal, signal.SIGUSR1, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
    assert heard == []


def test_in_other_threads_there_is_nothing_to_shield() -> None:
    found = []

    def look() -> None:
        with Shield() as shield:
            found.append(shield.lower(signal.getsignal, signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler]
