"""Runs one FlowSpec on the event loop: pumps hosts, feeds the flow machine, unwinds at the end.

Theory of operation. One *turn* takes what hosts have reported, lets the machine act on it and sends what
it said, so that everything for one peer leaves as one envelope. A turn runs when the pool may have
reported something (``orchestrator.pump``), when an inline body can go on, or when something that an
inline body awaited is there. Ending is always the same, whatever the reason: give up every live
attempt, wait until hosts have answered for each (the pool kills a worker that does not), release.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from random import random
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from executor.codec import BY_REFERENCE
from executor.host import Host
from executor.hub import Hub
from executor.limits import GRACE_S
from orchestrator.companions import Companions
from orchestrator.event_loop import (
    Event,
    TaskCancelled,
    TaskHandle,
    Wait,
    current_event_loop,
    race,
    sleep,
)
from orchestrator.inline_tasks import InlineTasks
from orchestrator.pump import Pump
from orchestrator.runtime.hosts import Router
from orchestrator.runtime.job import Job
from orchestrator.runtime.machine import FlowMachine
from orchestrator.runtime.outcome import Done, Interrupted, TimedOut
from orchestrator.runtime.retrying import Delay
from orchestrator.spec import Placement
from protocol.messages import RunId
from protocol.serialization import dumps

if TYPE_CHECKING:
    from executor.thread_host import ThreadHost

log = logging.getLogger(__name__)

_run_ids = itertools.count(1)
_CRASH_PATIENCE_S: Final = 5.0
PAUSE_S: Final = 0.001
"""So long a cycle that is skipped rests now and then while bodies run."""

SLICE_S: Final = 0.001
"""For so long inline bodies are stepped before sockets, timers and other tasks are looked at."""

_Work: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


class Coordinator:
    """One run of one job. ``run`` is a coroutine for an :class:`EventLoop`.

    ``companions`` are tasks beside the flow, which a run that ends well waits for; more may join them.
    """

    def __init__(self, job: Job, pump: Pump | None, companions: Companions | None = None) -> None:
        self._job = job
        self._companions = companions or Companions()
        self.number = RunId(next(_run_ids))
        self._ended = Event()  # the outcome is there
        self._idle = Event()  # and no host holds an attempt any more
        self._alone = Event()  # and our thread has ended
        self._overtime = Event()  # the time for the run is up
        self._tasks: dict[object, TaskHandle[None]] = {}
        self._steps_inline = False
        self._settles_on = False
        self._crash: BaseException | None = None
        self._inline = InlineTasks(self._turn_after_step)
        self._hub = Hub(BY_REFERENCE, open_task=self._inline.open, make_context=job.make_context)
        hosts: dict[Placement, Host] = {"inline": self._hub}
        self._pumps = [] if pump is None else [pump]
        if pump is not None:
            hosts["process"] = pump.pool
        self._thread: ThreadHost | None = None
        if any(node.placement == "thread" for node in job.spec.nodes):
            # Most flows need neither a thread nor ZeroMQ, which links it.
            from executor.thread_host import ThreadHost  # noqa: PLC0415

            self._thread = hosts["thread"] = ThreadHost()
            self._pumps.append(Pump(self._thread))
        self._router = Router(job.spec, hosts, dumps, job.make_context, job.context)
        self.machine = FlowMachine(job, self.number, self._router)
        self._hub.attach(self.machine)
        if pump is not None:
            self.machine.is_in_line = pump.pool.is_in_line

    async def run(self) -> FlowMachine:
        """Run to the end, however it ends; the machine's ``outcome`` says how.

        Cancelled or interrupted, it gives up what is going on, waits for that, and raises on.
        """
        can_wait = True
        self._inline.attach(current_event_loop(), self._report_rest)
        for pump in self._pumps:
            pump.pool.attach(self.number, self.machine)
            pump.add(self)
        try:
            if self._job.timeout_s is not None:
                self._spawn(partial(self._time_out, self._job.timeout_s))
            self.machine.begin()
            self.turn()
            await self._ended.wait()
            if isinstance(self.machine.outcome, Done) and self._has_companions:
                await self._wait_for_companions()
        except GeneratorExit:  # a second Ctrl-C has ended the loop: nothing can be awaited any more
            can_wait = False
            raise
        finally:
            try:
                self._give_up()
                if can_wait:
                    await self._unwind()
            finally:
                self._inline.detach()
                for task in list(self._tasks.values()):
                    task.cancel()
                for pump in self._pumps:
                    pump.remove(self)
                    pump.pool.detach(self.number)
                    if pump.pool is self._thread:
                        pump.close()
        if self._crash is not None:
            raise self._crash
        return self.machine

    def turn(self) -> None:
        """Let the machine act on what was reported, and send what it said."""
        machine = self.machine
        machine.settle()
        if machine.is_unsettled and not self._settles_on:
            self._settles_on = True
            self._spawn(self._settle_on)
        while machine.attempts.delayed:
            self._spawn(partial(self._try_again, *machine.attempts.delayed.pop()))
        if self._hub.is_ready and not self._steps_inline:
            self._steps_inline = True
            self._spawn(self._step_inline)
        for pump in self._pumps:
            pump.push()
        if self._job.observe is not None:
            self._job.observe(machine)
        if machine.outcome is not None:
            self._ended.set()
            if not machine.live:
                self._idle.set()
                if self._thread is None or self._thread.has_ended:
                    self._alone.set()

    async def _settle_on(self) -> None:
        """Go on with what the machine does by itself, after all others that are ready.

        A cycle that is skipped without end must not take the time that bodies elsewhere need.
        """
        await sleep(PAUSE_S if self.machine.live else 0)
        self._settles_on = False
        self.turn()

    def _give_up(self) -> None:
        self.machine.stop(Interrupted())
        self.machine.cancel_live()
        self.turn()

    async def _unwind(self) -> None:
        if not self._idle.is_set():
            self._spawn(self._give_up_inline)
        await self._idle.wait()
        self._router.release(self.number)
        if self._thread is not None:
            self._thread.stop()
        self.turn()
        await self._alone.wait()

    async def _time_out(self, timeout_s: float) -> None:
        await sleep(timeout_s)
        self.machine.stop(TimedOut(timeout_s, self.machine.running()))
        self._overtime.set()
        self.turn()

    async def _try_again(self, delay: Delay, again: Callable[[], None]) -> None:
        await sleep(delay.seconds + delay.jitter_s * random())
        if self.machine.outcome is None:
            again()
            self.turn()

    # -- tasks beside the nodes ---------------------------------------------------------------------

    @property
    def _has_companions(self) -> bool:
        loop = current_event_loop()
        return self._inline.have_children or any(task.loop is loop for task in self._companions.living())

    async def _wait_for_companions(self) -> None:
        """Wait for what bodies have spawned and what runs beside the flow (rule 64), or the timeout."""
        await race(self._companions_end(), self._overtime.wait())
        timeout_s = self._job.timeout_s
        if timeout_s is not None and self._has_companions:
            self.machine.outcome = TimedOut(timeout_s, ("tasks beside the nodes",))

    async def _companions_end(self) -> None:
        while self._has_companions:
            await self._inline.wait_childless()
            for task in self._companions.living():
                if task.loop is current_event_loop():
                    await task.wait_ended()

    # -- inline bodies ----------------------------------------------------------------------------

    async def _step_inline(self) -> None:
        hub = self._hub
        while hub.is_ready:
            slice_ends = perf_counter() + SLICE_S
            while hub.is_ready:
                for _ in range(hub.ready):
                    hub.step()
                self.turn()
                if self.machine.outcome is not None or perf_counter() >= slice_ends:
                    break
            await sleep(0)
        self._steps_inline = False

    def _report_rest(self) -> bool:
        """Nothing is ready: bodies whose tasks all wait for one another, or for chunks, rest."""
        if not all(isinstance(task.wait, Wait) for task in self._companions.living()):
            return False
        if not self._inline.are_still or not self._hub.report_rest():
            return False
        self._turn_after_step()
        return True

    def _turn_after_step(self) -> None:
        try:
            self.turn()
        except BaseException as error:  # noqa: BLE001 - raised again by ``run``, not in the body's task
            self.crash(error)

    async def _give_up_inline(self) -> None:
        """Cancelled bodies may await in their clean-up, but not for ever."""
        await sleep(GRACE_S)
        for key, node in list(self.machine.live.items()):
            if node.spec.placement == "inline":
                log.error("node %r is closed: %g s ago it was cancelled", node.name, GRACE_S)
                self.machine.cancelled(key)
        self.turn()

    # -- crashes ------------------------------------------------------------------------------------

    def crash(self, error: BaseException) -> None:
        """A defect, or a pool that broke, ends the run; ``run`` raises the first."""
        if self._crash is None:
            self._crash = error
            self._ended.set()
            self._spawn(self._stop_waiting_for_hosts)

    async def _stop_waiting_for_hosts(self) -> None:
        """After a crash of ours, what is still to come may never come."""
        await sleep(_CRASH_PATIENCE_S)
        self._idle.set()
        self._alone.set()

    # -- tasks --------------------------------------------------------------------------------------

    def _spawn(self, work: _Work) -> None:
        name = object()
        self._tasks[name] = current_event_loop().create_task(self._guard(name, work))

    async def _guard(self, name: object, work: _Work) -> None:
        """A defect must end the run: nobody joins these tasks."""
        try:
            await work()
        except TaskCancelled:
            raise
        except BaseException as error:  # noqa: BLE001 - raised again by ``run``
            self.crash(error)
        finally:
            del self._tasks[name]
