"""Simulated workers that die: what they had sent arrives, the rest is lost, and others take over.

One body at a time is being stepped in a worker, so of the attempts that die with it at most one is
charged (FAULTS P9).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from msgspec import structs

from executor.codec import Codec
from executor.host import WorkerLoss
from executor.hub import Hub
from orchestrator.graph.flow import Flow, StopAt, publish
from orchestrator.keeping import in_use
from orchestrator.runtime.job import Job
from orchestrator.runtime.results import RunResults
from orchestrator.spec import RetrySpec
from protocol import serialization
from protocol.messages import AttemptKey
from protocol.values import Local, Value
from tests.runtime.checked import CheckedMachine
from tests.runtime.simulation import Message, Simulation, job_of

PATIENT = RetrySpec(loss_attempts=1_000)


def _loads(value: Value) -> object:
    return value.object if isinstance(value, Local) else serialization.loads(value)


COPYING = Codec(serialization.dumps, _loads, serialization.dump_exception)
"""As between processes, but for constants, which are here already."""


def job_on_workers(flow: Flow, stop: StopAt = (), retry: RetrySpec = PATIENT) -> Job:
    """A job whose nodes are said to be on worker processes, so that they may be tried again."""
    job = job_of(flow, stop)
    nodes = tuple(structs.replace(node, placement="process", retry=retry) for node in job.spec.nodes)
    return replace(job, spec=structs.replace(job.spec, nodes=nodes))


def simulate_crashes(
    flow: Flow, *, seed: int, stop: StopAt = (), crashes: int = 3, retry: RetrySpec = PATIENT
) -> CheckedMachine:
    """Run a flow under one seeded schedule in which so many workers die."""
    job = job_on_workers(flow, stop, retry)
    with in_use(job.states, job.spec):
        machine = CrashingSimulation(job, seed=seed, crashes=crashes).run()
    publish(flow, RunResults(job.spec, machine.newest))
    return machine


class CrashingSimulation(Simulation):
    """A simulation in which ``crashes`` workers die at moments that the seed draws."""

    def __init__(self, job: Job, *, seed: int, crashes: int, workers: int = 2) -> None:
        super().__init__(job, seed=seed, workers=workers, codec=COPYING, machine=CrashTolerant)
        self._crashes_left = crashes

    def _choices(self) -> list[Message]:
        choices = super()._choices()
        delayed = self.machine.attempts.delayed
        if delayed:
            choices.append(partial(self._try_again, delayed))
        if choices and self._crashes_left and self.machine.outcome is None and self._is_time_to_die():
            return [partial(self._kill, self._random.randrange(len(self._hubs)))]
        return choices

    def _is_time_to_die(self) -> bool:
        return self._random.random() < 1 / 12

    def _try_again(self, delayed: list[tuple[Any, Callable[[], None]]]) -> None:
        _, again = delayed.pop(self._random.randrange(len(delayed)))
        again()
        self.machine.settle()

    def _kill(self, worker: int) -> None:
        self._crashes_left -= 1
        up = self._up[worker]
        while up and self._random.random() < 0.7:  # what it said before counts
            up.popleft()()
        up.clear()
        self._down[worker].clear()
        hub = self._hubs[worker] = Hub(COPYING)
        self._connect(hub, worker)
        held = [key for key in self.machine.live if self._pool.worker_of(key) == worker]
        charged = self._random.choice(held) if held and self._random.random() < 0.8 else None
        for key in held:
            loss = WorkerLoss(worker, 1000 + worker, -9, charged=key == charged)
            self.machine.lost(key, loss)
        self._pool.unpin(worker)
        self.machine.settle()


class CrashTolerant(CheckedMachine):
    """Knows that an attempt says again what the one before it had said."""

    def lost(self, key: AttemptKey, loss: WorkerLoss) -> None:
        self.ended_attempts.add(key)
        self.cancelled_readers = {each for each in self.cancelled_readers if each[0] != key}
        super().lost(key, loss)
