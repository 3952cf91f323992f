"""The pump of a pool alone: when it calls the pool, and how many tasks that takes."""

from __future__ import annotations

import math
from typing import Any

import pytest

from orchestrator.coordinator import Coordinator
from orchestrator.event_loop import EventLoop, VirtualClock, current_event_loop, sleep
from orchestrator.pump import Pump
from orchestrator.runtime.job import Job
from orchestrator.spec import FlowSpec, Locals
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


def test_a_run_that_breaks_at_every_report_waits_for_its_hosts_once() -> None:
    async def main() -> None:
        coordinator = Coordinator(Job(FlowSpec((), (), (), ()), Locals(), {}, {}), None)
        for number in range(100):
            coordinator.crash(LookupError(number))
        assert current_event_loop().describe().startswith("2 tasks")  # this one, and the wait
        with pytest.raises(LookupError, match="0"):
            await coordinator.run()

    EventLoop(VirtualClock()).run_until_complete(main(), join=True, wait_for_spawned_tasks=False)
