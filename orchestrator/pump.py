"""Pumps a pool on the event loop, for all the runs that use it at the same time.

Theory of operation. A pool knows no event loop: it names what it listens to and when it wants to be
called. One task waits for each of its sources, one for its next deadline. After each call every run gets
a *turn* to act on what was reported to it; a run that has had a turn of its own says ``push``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Protocol, TypeAlias

from executor.host import Host, Reports
from orchestrator.event_loop import TaskCancelled, TaskHandle, current_event_loop, readable, sleep
from protocol.messages import AttemptKey, RunId

_Work: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


class ProcessHost(Host, Protocol):
    """What is needed of a pool."""

    def attach(self, run: RunId, reports: Reports) -> None: ...

    def detach(self, run: RunId) -> None: ...

    def is_in_line(self, key: AttemptKey) -> bool: ...

    def sockets(self) -> list[Any]: ...

    def on_readable(self, source: Any, now: float) -> None: ...

    def next_deadline(self) -> float: ...

    def on_deadline(self, now: float) -> None: ...

    def flush(self) -> None: ...


class Pumped(Protocol):
    """A user of the pool. What ``turn`` raises is its own end, told by ``crash``."""

    def turn(self) -> None: ...

    def crash(self, error: BaseException) -> None: ...


class Pump:
    """The one pump of a pool; belongs to the loop it is used in. Close it before the pool."""

    def __init__(self, pool: ProcessHost) -> None:
        self.pool = pool
        self._users: list[Pumped] = []
        self._listeners: dict[Any, TaskHandle[None]] = {}  # by their source
        self._timer: TaskHandle[None] | None = None  # sleeps until ``_armed_for``
        self._armed_for = math.inf

    def add(self, user: Pumped) -> None:
        """Give ``user`` a turn whenever the pool may have reported something."""
        self._users.append(user)

    def remove(self, user: Pumped) -> None:
        self._users.remove(user)

    def push(self) -> None:
        """Send what was written to the pool, and listen to what it listens to now."""
        self.pool.flush()
        for source in self.pool.sockets():
            if source not in self._listeners:
                self._listeners[source] = self._spawn(partial(self._listen, source))
        deadline = self.pool.next_deadline()
        if deadline < self._armed_for:
            if self._timer is not None:
                self._timer.cancel()
            self._armed_for = deadline
            self._timer = self._spawn(partial(self._wake_at, deadline))

    def close(self) -> None:
        """Stop listening. Repeating changes nothing."""
        for task in list(self._listeners.values()):
            task.cancel()
        if self._timer is not None:
            self._timer.cancel()

    async def _listen(self, source: Any) -> None:
        loop = current_event_loop()
        try:
            while source in self.pool.sockets():
                await readable(source)
                self.pool.on_readable(source, loop.now())
                self._take_turns()
        finally:
            del self._listeners[source]

    async def _wake_at(self, deadline: float) -> None:
        loop = current_event_loop()
        await sleep(deadline - loop.now())
        self._timer, self._armed_for = None, math.inf
        self.pool.on_deadline(loop.now())
        self._take_turns()

    def _take_turns(self) -> None:
        for user in tuple(self._users):
            try:
                user.turn()
            except BaseException as error:  # noqa: BLE001 - it ends that user, not the others
                user.crash(error)
        self.push()

    def _spawn(self, work: _Work) -> TaskHandle[None]:
        return current_event_loop().create_task(self._guard(work))

    async def _guard(self, work: _Work) -> None:
        """A pool that broke must end its users: nobody joins these tasks."""
        try:
            await work()
        except TaskCancelled:
            raise
        except BaseException as error:  # noqa: BLE001 - raised again by the users
            for user in tuple(self._users):
                user.crash(error)
