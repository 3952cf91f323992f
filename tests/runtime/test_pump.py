"""The pump of a pool alone: when it calls the pool, and how many tasks that takes."""

from __future__ import annotations

import math
from typing import Any

from orchestrator.event_loop import EventLoop, VirtualClock, current_event_loop, sleep
from orchestrator.pump import Pump
from tests.runtime.test_checked import SilentHost


class Deadlines(SilentHost):
    """A pool that has nothing but deadlines, and notes when it is told of them."""

    def __init__(self) -> None:
        self.due: list[float] = []
        self.calls: list[float] = []

    def sockets(self) -> list[Any]:
        return []

    def next_deadline(self) -> float:
        return min(self.due, default=math.inf)

    def on_deadline(self, now: float) -> None:
        self.calls.append(now)
        self.due = [each for each in self.due if each > now]


def test_deadlines_that_come_ever_earlier_leave_one_timer_that_keeps_them_all() -> None:
    pool = Deadlines()

    async def main() -> None:
        pump = Pump(pool)
        for deadline in range(100, 0, -1):
            pool.due.append(deadline)
            pump.push()
            await sleep(0)
            assert current_event_loop().describe().startswith("2 tasks")  # this one, and the timer
        await sleep(101)
        pump.close()

    EventLoop(VirtualClock()).run_until_complete(main(), join=True)
    assert pool.calls == [float(deadline) for deadline in range(1, 101)]


def test_a_closed_pump_keeps_no_deadline() -> None:
    pool = Deadlines()

    async def main() -> None:
        pump = Pump(pool)
        pool.due.append(1)
        pump.push()
        pump.close()
        await sleep(2)

    EventLoop(VirtualClock()).run_until_complete(main(), join=True)
    assert pool.calls == []
