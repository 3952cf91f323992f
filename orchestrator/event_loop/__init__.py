"""An event loop of commands: tasks, timers, queues, locks, sockets; alone usable.

    from orchestrator.event_loop import EventLoop, sleep, spawn

    async def main() -> str:
        task = await spawn(greet("world", 0.1))
        return await task.join()

    async def greet(name: str, delay_s: float) -> str:
        await sleep(delay_s)
        return f"hello {name}"

    EventLoop().run_until_complete(main(), join=True)   # "hello world"

Where things are: ``event_loop`` runs tasks (``tasks``) that yield ``commands``; ``timers``,
``clocks`` and ``poller`` say when one can go on; ``primitives``, ``groups``, ``queues``,
``synchronization`` and ``sockets`` are coroutines over those commands; ``instrumentation``,
``signals`` and ``describing`` look on.
"""

from orchestrator.event_loop.clocks import Clock, MonotonicClock, VirtualClock
from orchestrator.event_loop.commands import Command, perform
from orchestrator.event_loop.event_loop import EventLoop
from orchestrator.event_loop.groups import gather, race, timeout
from orchestrator.event_loop.instrumentation import EventLoopInstrument
from orchestrator.event_loop.outcomes import TaskCancelled
from orchestrator.event_loop.primitives import azip, exit, readable, sleep, spawn, writable  # noqa: A004
from orchestrator.event_loop.queues import AsyncMapQueue, AsyncQueue, AsyncSetQueue, QueueClosedError
from orchestrator.event_loop.running import current_event_loop, current_task
from orchestrator.event_loop.sockets import Socket, socket
from orchestrator.event_loop.synchronization import (
    Barrier,
    BrokenBarrierError,
    Condition,
    CountdownLatch,
    Event,
    Lock,
    LockOwnerError,
    ZeroLatchError,
)
from orchestrator.event_loop.tasks import TaskHandle
from orchestrator.event_loop.waiters import Wait, Waiters

__all__ = [
    "AsyncMapQueue",
    "AsyncQueue",
    "AsyncSetQueue",
    "Barrier",
    "BrokenBarrierError",
    "Clock",
    "Command",
    "Condition",
    "CountdownLatch",
    "Event",
    "EventLoop",
    "EventLoopInstrument",
    "Lock",
    "LockOwnerError",
    "MonotonicClock",
    "QueueClosedError",
    "Socket",
    "TaskCancelled",
    "TaskHandle",
    "VirtualClock",
    "Wait",
    "Waiters",
    "ZeroLatchError",
    "azip",
    "current_event_loop",
    "current_task",
    "exit",
    "gather",
    "perform",
    "race",
    "readable",
    "sleep",
    "socket",
    "spawn",
    "timeout",
    "writable",
]
