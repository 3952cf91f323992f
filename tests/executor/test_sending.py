"""What goes to workers: in time, also when ZeroMQ does not take it at once."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import pytest

from executor.sending import Sender
from protocol.framing import Parts, coordinator_session
from protocol.messages import Drain


class Wire:
    """The listener, the resources and the only peer in one; takes nothing while it ``is_full``."""

    identity = b"peer"
    worker = 1

    def __init__(self) -> None:
        self.is_full = False
        self.taken = 0
        self.session = coordinator_session()
        self.listener = self
        self.peers = {1: self}
        self._waiting: deque[Parts] = deque()

    @property
    def has_backlog(self) -> bool:
        return bool(self._waiting)

    def send(self, _: bytes, parts: Parts) -> bool:
        self._waiting.append(parts)
        self.send_backlog()
        return True

    def send_backlog(self) -> None:
        if not self.is_full:
            self.taken += len(self._waiting)
            self._waiting.clear()


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def sender(wire: Wire) -> Sender:
    resources: Any = wire
    return Sender(resources, lambda worker: pytest.fail(f"worker {worker} was given up"))


def test_what_was_not_taken_is_offered_again_when_it_is_time_however_much_goes_meanwhile(
    wire: Wire, sender: Sender
) -> None:
    """A pool with much to do flushes more often than it retries."""
    wire.is_full = True
    sender.write(1, Drain())
    sender.flush()
    due = sender.next_deadline()
    assert due < math.inf
    for _ in range(3):
        sender.write(1, Drain())
        sender.flush()
        assert sender.next_deadline() == due
    sender.on_deadline(due)
    again = sender.next_deadline()
    assert due < again < math.inf
    wire.is_full = False
    sender.on_deadline(again)
    assert wire.taken == 4
    assert sender.next_deadline() == math.inf


def test_who_takes_all_needs_no_second_offer(wire: Wire, sender: Sender) -> None:
    sender.write(1, Drain())
    sender.flush()
    assert wire.taken == 1
    assert sender.next_deadline() == math.inf
