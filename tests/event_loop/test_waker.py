"""The waker may be used at any time."""

from __future__ import annotations

from orchestrator.event_loop.waker import Waker


def test_a_waker_may_be_woken_more_often_than_its_buffer_holds_and_after_it_was_closed() -> None:
    waker = Waker()
    for _ in range(100_000):
        waker.wake()
    assert waker.receiver.recv(1)
    waker.on_event(1)
    waker.close()
    waker.wake()
