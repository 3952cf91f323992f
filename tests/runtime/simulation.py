"""A flow run over simulated workers: real hubs and bodies, seeded schedules, no process and no clock.

Messages between the machine and each worker keep their order, everything else is drawn by the seed:
which message arrives next, which body is stepped next, when the machine may act.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from msgspec import structs

from executor.code import encode_code
from executor.codec import BY_REFERENCE, Codec
from executor.host import Broken, Invocation
from executor.hub import Hub
from orchestrator.graph.compile import compile_flow
from orchestrator.graph.flow import Flow, StopAt, publish, states_of
from orchestrator.graph.limits import stop_limits
from orchestrator.keeping import in_use
from orchestrator.runtime.job import Job
from orchestrator.runtime.results import RunResults
from protocol.messages import AttemptKey, RunId
from protocol.serialization import dumps
from protocol.values import Local, Value
from tests.runtime.checked import CheckedMachine

Message = Callable[[], None]


def job_of(flow: Flow, stop: StopAt = ()) -> Job:
    """A flow ready to be run with every node inline, so that its bodies share this process."""
    spec, local = compile_flow(flow, workers=0, encode_code=encode_code, encode_value=dumps)
    limits = stop_limits(flow, stop)
    parameters = {name: Local(value) for name, value in local.parameters.items()}
    return Job(spec, local, parameters, limits.nodes, limits.constants, states=states_of(flow))


def simulate(flow: Flow, *, seed: int = 0, stop: StopAt = (), workers: int = 2) -> CheckedMachine:
    """Run a flow under one seeded schedule; its nodes' ``get_data`` then reads the results."""
    job = job_of(flow, stop)
    with in_use(job.states, job.spec):
        machine = Simulation(job, seed=seed, workers=workers).run()
    publish(flow, RunResults(job.spec, machine.newest))
    return machine


class Simulation:
    """``workers`` hubs and one machine; ``run`` plays one schedule to the end."""

    def __init__(
        self,
        job: Job,
        *,
        seed: int = 0,
        workers: int = 2,
        codec: Codec = BY_REFERENCE,
        machine: type[CheckedMachine] = CheckedMachine,
    ) -> None:
        self._random = random.Random(seed)
        self._hubs = [Hub(codec) for _ in range(workers)]
        self._down: list[deque[Message]] = [deque() for _ in range(workers)]
        self._up: list[deque[Message]] = [deque() for _ in range(workers)]
        self._pool = _SimulatedPool(self._hubs, self._down, self._random)
        self.machine = machine(job, RunId(1), self._pool)
        for worker, hub in enumerate(self._hubs):
            self._connect(hub, worker)

    def _connect(self, hub: Hub, worker: int) -> None:
        hub.attach(_Uplink(self.machine, self._up[worker]))

    def run(self, *, most_steps: int = 200_000) -> CheckedMachine:
        machine = self.machine
        machine.begin()
        machine.settle()
        cancelled = False
        for _ in range(most_steps):
            if machine.outcome is not None and not cancelled:
                cancelled = True
                machine.cancel_live()
            choices = self._choices()
            if not choices:
                break
            self._random.choice(choices)()
        else:
            raise AssertionError(f"no end after {most_steps} steps")
        machine.check_end()
        return machine

    def _choices(self) -> list[Message]:
        choices: list[Message] = [self.machine.settle] if self.machine.is_unsettled else []
        for hub, down, up in zip(self._hubs, self._down, self._up, strict=True):
            if down:
                choices.append(partial(_deliver, down))
            if up:
                choices.append(partial(self._report, up))
            if hub.is_ready:
                choices.append(partial(_step, hub))
        return choices

    def _report(self, queue: deque[Message]) -> None:
        # Several messages come as one envelope; the machine acts after each envelope.
        for _ in range(self._random.randint(1, len(queue))):
            queue.popleft()()
        self.machine.settle()


def _deliver(queue: deque[Message]) -> None:
    queue.popleft()()


def _step(hub: Hub) -> None:
    hub.step()


class _SimulatedPool:
    """Draws a worker for each attempt and lets its messages wait for their turn."""

    def __init__(self, hubs: list[Hub], down: list[deque[Message]], draw: random.Random) -> None:
        self._hubs = hubs
        self._down = down
        self._random = draw
        self._worker_of: dict[AttemptKey, int] = {}
        self._pins: dict[int, int] = {}

    def worker_of(self, key: AttemptKey) -> int:
        return self._worker_of[key]

    def unpin(self, worker: int) -> None:
        """The worker is gone, and with it the instances that it held: now they are nowhere."""
        self._pins = {node: -1 if held == worker else held for node, held in self._pins.items()}

    def invoke(self, invocation: Invocation) -> None:
        worker = self._random.randrange(len(self._hubs))
        last = self._pins.setdefault(invocation.key.node, worker) if invocation.pinned else worker
        if worker != last and not invocation.checkpoint:
            worker = last
        elif worker != last:
            # As after the death of a worker that did nothing else: the state is where it was committed.
            self._pins[invocation.key.node] = worker
            invocation = structs.replace(invocation, resumes=False)
        self._worker_of[invocation.key] = worker
        self._send(invocation.key, "invoke", invocation)

    def deliver(self, key: AttemptKey, port: int, first: int, values: list[Value]) -> None:
        self._send(key, "deliver", key, port, first, values)

    def end_stream(self, key: AttemptKey, port: int, count: int, broken: Broken | None = None) -> None:
        self._send(key, "end_stream", key, port, count, broken)

    def produce(self, key: AttemptKey, upto: int) -> None:
        self._send(key, "produce", key, upto)

    def throw_cancel(self, key: AttemptKey) -> None:
        self._send(key, "throw_cancel", key)

    def cancel(self, key: AttemptKey) -> None:
        self._send(key, "cancel", key)

    def recall(self, key: AttemptKey) -> None:
        self._send(key, "recall", key)

    def release(self, run: RunId) -> None:
        raise AssertionError("a simulation releases nothing")

    def _send(self, key: AttemptKey, verb: str, *arguments: Any) -> None:
        worker = self._worker_of[key]
        self._down[worker].append(lambda: getattr(self._hubs[worker], verb)(*arguments))


class _Uplink:
    """Lets reports wait for their turn."""

    def __init__(self, machine: CheckedMachine, queue: deque[Message]) -> None:
        self._machine = machine
        self._queue = queue

    def __getattr__(self, verb: str) -> Callable[..., None]:
        method = getattr(self._machine, verb)
        return lambda *arguments: self._queue.append(lambda: method(*arguments))
