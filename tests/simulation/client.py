"""Whoever runs flows over the pool, reduced to jobs; and the judge of what the pool reports.

A job is done once, whatever becomes of its attempts: what was lost is tried again as the next attempt,
three charged losses poison it (FAULTS F8). Every report is compared with the truth of the world.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from executor.host import Code, Input, Invocation, LossReason, WorkerLoss
from executor.pool import Pool
from executor.scheduling import ALONE
from executor.worker_states import WorkerState
from protocol.messages import (
    UNLIMITED,
    AttemptKey,
    Digest,
    ErrorReport,
    Missing,
    NodeId,
    RunId,
    StreamInput,
)
from protocol.values import Value
from tests.simulation.bodies import Kind, chunk_of, result_of
from tests.simulation.process import Process
from tests.simulation.world import Violation, World

RUN: Final = RunId(1)
CHARGES: Final = 3
SOFT_BYTES: Final = 100
HARD_BYTES: Final = 200
WINDOW: Final = 2
STATEFUL_NODES: Final = 2
KINDS: Final = (
    *(Kind.VALUE, Kind.LARGE, Kind.STATEFUL, Kind.PRODUCER) * 4,
    *(Kind.FAILS,) * 3,
    Kind.POISON,
)
BURST: Final = 0.05
"""How often many brief pieces of work come at once."""

PATIENCE_S: Final = 4.0
"""After it, a body that does not end is cancelled, and its job tried again."""


@dataclass
class Job:
    node: NodeId
    generation: int
    kind: Kind
    chunks: int = 0
    attempt: int = -1
    charges: int = 0
    outcome: str | None = None
    is_cancelled: bool = False
    wants_cancel: bool = False  # by its user: it is not tried again
    runs_alone: bool = False  # memory ran out under it
    source: Job | None = None  # of the stream it reads
    reader: Job | None = None
    applied: list[bytes] = field(default_factory=list)  # chunks, each once
    ended_after: int | None = None
    read: int = 0
    emitted: int = 0  # by the present attempt
    delivered: int = 0  # to the present attempt
    told_end: bool = False

    @property
    def key(self) -> AttemptKey:
        return AttemptKey(RUN, self.node, self.generation, attempt=self.attempt)


class Client:
    """``Reports`` of one run. ``truth`` gives a worker's process."""

    def __init__(
        self,
        world: World,
        pool: Pool,
        truth: Callable[[int], Process],
        kernel_kills: Callable[[], int],
        *,
        loses_patience: bool,
    ) -> None:
        self.world = world
        self.pool = pool
        self.truth = truth
        self.kernel_kills = kernel_kills
        self.loses_patience = loses_patience
        self._stateful_on: dict[NodeId, int] = {}
        self._begun_on: dict[AttemptKey, int] = {}
        self.jobs: list[Job] = []
        self.turns = 0  # how often work was added
        self.open: dict[AttemptKey, Job] = {}
        self.ended: set[AttemptKey] = set()
        self.cancelled_at: dict[AttemptKey, float] = {}
        self._generations = [0] * STATEFUL_NODES
        self._starved: set[int] = set()  # workers, by what the pool says
        self.is_closing = False

    # -- work ---------------------------------------------------------------------------------------

    def add_jobs(self) -> None:
        """One more piece of work, of a kind that chance decides."""
        self.world.touched = True
        self.turns += 1
        dice = self.world.random
        if dice.random() < BURST:
            for _ in range(dice.randint(10, 40)):
                self._begin(Job(NodeId(100 + 2 * len(self.jobs)), 0, Kind.BRIEF))
            return
        kind = dice.choice(KINDS)
        if kind is Kind.STATEFUL:
            node = dice.randrange(STATEFUL_NODES)
            self._generations[node] += 1
            self._begin(Job(NodeId(node), self._generations[node], kind))
            return
        node = NodeId(100 + 2 * len(self.jobs))
        job = Job(node, 0, kind)
        if kind is Kind.PRODUCER:
            job.chunks = dice.randint(0, 5)
            reader = Job(NodeId(node + 1), 0, Kind.CONSUMER, source=job)
            job.reader = reader
            self._begin(reader)
        self._begin(job)
        if dice.random() < (0.6 if kind is Kind.PRODUCER else 0.2):
            self.world.soon(lambda: self._meddle(job), 0.5)

    def _begin(self, job: Job) -> None:
        self.jobs.append(job)
        self._try(job)

    def _try(self, job: Job) -> None:
        self.world.touched = True
        if self.is_closing or job.outcome is not None:
            return
        job.attempt += 1
        job.is_cancelled = False
        job.emitted = job.delivered = 0
        job.told_end = False
        inputs: list[Input] = [StreamInput()] if job.source is not None else [b""]
        credit = WINDOW if job.kind is Kind.PRODUCER else UNLIMITED
        code = Code(Digest(b"%d.%d" % (job.kind, job.chunks)), bytes([job.kind, job.chunks]))
        key = job.key
        self.open[key] = job
        self.world.note(f"invoke {key}")
        pinned = job.kind is Kind.STATEFUL
        demand = ALONE if job.runs_alone else ()
        priority = self.world.random.randrange(2)
        invocation = Invocation(
            key, code, inputs, credit=credit, pinned=pinned, priority=priority, demand=demand
        )
        self.pool.invoke(invocation)
        self._feed(job)
        self._credit(job)
        self.pool.flush()
        if self.loses_patience:
            self.world.after(PATIENCE_S, lambda: self._lose_patience(job, key))

    def _again(self, job: Job) -> None:
        self.world.soon(lambda: self._try(job), 0.1)

    def _feed(self, job: Job) -> None:
        """Give a reader what there is for it."""
        source = job.source
        if source is None or job.key not in self.open:
            return
        if job.delivered < len(source.applied):
            values: list[Value] = list(source.applied[job.delivered :])
            self.pool.deliver(job.key, 0, job.delivered, values)
            job.delivered = len(source.applied)
        if source.ended_after is not None and not job.told_end:
            job.told_end = True
            self.pool.end_stream(job.key, 0, source.ended_after)

    def _credit(self, job: Job) -> None:
        if job.reader is not None and job.key in self.open:
            # What was sent by an earlier attempt is no cause to wait, nor is a reader that has ended.
            upto = max(job.reader.read, len(job.applied)) + WINDOW
            self.pool.produce(job.key, upto if job.reader.outcome is None else UNLIMITED)

    def _meddle(self, job: Job) -> None:
        """What a user or a run does to a job in the middle."""
        self.world.touched = True
        if job.key not in self.open or self.is_closing:
            return
        dice = self.world.random
        if job.kind is Kind.PRODUCER and dice.random() < 0.8:
            self.world.note(f"throw {job.key}")
            self.pool.throw_cancel(job.key)
        elif dice.random() < 0.5:
            self.world.note(f"recall {job.key}")
            job.wants_cancel = True
            self.cancelled_at.setdefault(job.key, float("inf"))
            self.pool.recall(job.key)
        else:
            job.wants_cancel = True
            self._cancel(job)
        self.pool.flush()

    def _cancel(self, job: Job) -> None:
        self.world.note(f"cancel {job.key}")
        job.is_cancelled = True
        self.cancelled_at[job.key] = self.world.now
        self.pool.cancel(job.key)

    def _lose_patience(self, job: Job, key: AttemptKey) -> None:
        self.world.touched = True
        waits = job.source is not None and job.source.outcome is None
        if key in self.open and job.key == key and not self.is_closing:
            if waits or self.pool._machine.is_in_line(key):
                self.world.after(PATIENCE_S, lambda: self._lose_patience(job, key))
            else:
                self._cancel(job)
                self.pool.flush()

    @property
    def is_done(self) -> bool:
        return all(job.outcome is not None for job in self.jobs)

    # -- Reports --------------------------------------------------------------------------------------

    def _job(self, key: AttemptKey, what: str) -> Job:
        self.world.note(f"{what} {key}")
        job = self.open.get(key)
        if job is None:
            again = "ended before" if key in self.ended else "was never tried"
            raise Violation(f"{what} of {key}, which {again} (P1)")
        return job

    def _end(self, key: AttemptKey, what: str) -> Job:
        job = self._job(key, what)
        del self.open[key]
        self.ended.add(key)
        self.pool.flush()
        return job

    def chunks(self, key: AttemptKey, first: int, count: int, width: int, values: list[Value]) -> None:
        job = self._job(key, "chunks")
        if first != job.emitted:
            raise Violation(f"{key} emitted chunk {first} after {job.emitted} (P1)")
        job.emitted += count
        for number, value in enumerate(values, first):
            if value != chunk_of(key.node, number):
                raise Violation(f"{key} emitted {value!r} as chunk {number} (P1)")
            if number == len(job.applied):
                job.applied.append(chunk_of(key.node, number))
        if job.emitted > len(job.applied):
            raise Violation(f"{key}: a chunk is missing (P1)")
        if job.reader is not None:
            self._feed(job.reader)

    def read(self, key: AttemptKey, port: int, upto: int) -> None:
        job = self._job(key, "read")
        if upto > job.delivered:
            raise Violation(f"{key} has read {upto} chunks of {job.delivered} that were sent")
        job.read = max(job.read, upto)
        assert job.source is not None
        self._credit(job.source)

    def wait(self, key: AttemptKey, port: int, chunk: int, resting_on: int) -> None:
        self._job(key, "wait")

    def cancel_stream(self, key: AttemptKey, port: int) -> None:
        raise Violation("nobody cancels a stream")

    def cancel_thrown(self, key: AttemptKey, merged: int, emitted: int) -> None:
        self._job(key, "cancel thrown")

    def completed(
        self,
        key: AttemptKey,
        emitted: int,
        seconds: float,
        outputs: list[Value],
        missing: Missing | None,
        state: Value | None = None,
    ) -> None:
        job = self._end(key, "completed")
        total = 0
        if job.kind is Kind.PRODUCER:
            total = emitted
        elif job.source is not None:
            total = sum(map(len, job.source.applied[: job.delivered]))
        found = b"".join(_parts(outputs[0]))
        if found != result_of(job.kind, key.node, total):
            raise Violation(f"{key} gave {found[:40]!r} (P1)")
        if job.kind is Kind.PRODUCER:
            if emitted != job.emitted:
                raise Violation(f"{key} ended after {emitted} chunks, and {job.emitted} came (P1)")
            job.ended_after = len(job.applied)
        self._finish(job, "done")

    def failed(
        self, key: AttemptKey, emitted: int, seconds: float, error: ErrorReport, cause: Value | None
    ) -> None:
        job = self._end(key, "failed")
        if job.kind is not Kind.FAILS or error.type_name != "ValueError":
            raise Violation(f"{key} failed by {error.type_name}, which it never raised")
        self._finish(job, "failed")

    def cancelled(self, key: AttemptKey) -> None:
        job = self._end(key, "cancelled")
        if key not in self.cancelled_at and not self.is_closing:
            raise Violation(f"{key} was reported cancelled, and nobody asked for that")
        if job.wants_cancel or self.is_closing:
            self._finish(job, "cancelled")
        else:
            self._again(job)

    def lost(self, key: AttemptKey, loss: WorkerLoss) -> None:
        job = self._end(key, f"lost charged={loss.charged} status={loss.status}")
        if self.pool.failure is not None and loss.pid == 0:
            self._finish(job, "no pool")
            return
        self._judge(key, loss)
        if loss.charged:
            job.charges += 1
            # What waits for others cannot have the pool for itself.
            streams = job.kind in (Kind.PRODUCER, Kind.CONSUMER)
            job.runs_alone |= loss.reason is LossReason.OUT_OF_MEMORY and not streams
        if job.charges >= CHARGES:
            self._finish(job, "poison")
        elif self.is_closing:
            self._finish(job, "lost")
        elif job.wants_cancel:
            self._finish(job, "cancelled")
        else:
            self._again(job)

    def _judge(self, key: AttemptKey, loss: WorkerLoss) -> None:
        """Whether a loss is as the world knows it."""
        process = self.truth(loss.worker)
        if loss.reason is LossReason.OUT_OF_MEMORY:
            self._starved.add(loss.worker)
            if loss.status != -signal.SIGKILL or len(self._starved) > self.kernel_kills():
                raise Violation(f"worker {loss.worker} did not end for want of memory")
        if loss.reason is LossReason.TIMEOUT:
            if process.is_alive and process.stepped == key:
                raise Violation(f"{key} is given up while it runs: no fence")
            return
        if process.is_alive:
            raise Violation(f"{key} is given up while worker {loss.worker} lives: no fence")
        if loss.pid != process.pid:
            raise Violation(
                f"{key} was lost with pid {loss.pid}; worker {loss.worker} was {process.pid}"
            )
        if loss.status not in (None, process.status):
            raise Violation(f"{key} was lost by {loss.status}; the worker ended by {process.status}")
        if loss.reason is LossReason.MEMORY:
            if process.resident_bytes <= HARD_BYTES:
                raise Violation(f"worker {loss.worker} holds {process.resident_bytes} bytes only (P3)")
        else:
            self._judge_blame(key, loss, process.stepped)

    def _judge_blame(self, key: AttemptKey, loss: WorkerLoss, stepped: AttemptKey | None) -> None:
        if loss.reason is LossReason.ENDED and loss.charged:
            raise Violation(f"{key} is blamed for a worker that we have ended (P9)")
        if loss.charged and stepped != key:
            raise Violation(f"{key} is blamed, and {stepped} was being run (P9)")
        if stepped == key and not loss.charged and loss.status is not None:
            raise Violation(f"{key} was being run, and is not blamed (P9)")

    def _finish(self, job: Job, outcome: str) -> None:
        if job.outcome is not None:
            raise Violation(f"{job.key} ends twice: {job.outcome}, then {outcome} (P1)")
        job.outcome = outcome
        self.world.note(f"{job.node}/{job.generation} {outcome}")
        if job.reader is not None and job.ended_after is None:
            # As a flow does when a node fails: its stream ends where it is.
            job.ended_after = len(job.applied)
        if job.reader is not None:
            self._feed(job.reader)
        if job.source is not None:
            self._credit(job.source)

    # -- the judge, from below --------------------------------------------------------------------------

    def begins_step(self, process: Process, key: AttemptKey) -> None:
        """A worker is about to step a body: nobody else may hold that job, nor may it be over."""
        if key not in self.open:
            raise Violation(f"{key} runs on worker {process.worker} after its end was reported")
        lease = self.pool._machine.lease(key)
        if lease is None or lease.worker != process.worker:
            raise Violation(f"{key} runs on worker {process.worker}, which has no lease of it")
        if self._begun_on.setdefault(key, process.worker) != process.worker:
            raise Violation(f"{key} had begun on worker {self._begun_on[key]} (P1)")
        if key != self.open[key].key:
            raise Violation(f"{key} runs beside a later attempt")
        if self.open[key].runs_alone:
            self._judge_solitude(key)
        if self.open[key].kind is Kind.STATEFUL:
            before = self._stateful_on.setdefault(key.node, process.worker)
            if before != process.worker and self.pool._machine.state(before) is WorkerState.READY:
                raise Violation(f"node {key.node} has its state on worker {before}, which is there")
            self._stateful_on[key.node] = process.worker

    def _judge_solitude(self, alone: AttemptKey) -> None:
        """Beside it only what keeps a node's state may be leased, and what waits for streams."""
        for key, lease in self.pool._machine._leases.items():
            beside = self.open.get(key)
            if beside is None or key == alone or lease.suspended or beside.kind in _BESIDE:
                continue
            raise Violation(f"{key} is leased to worker {lease.worker} beside {alone} (F4)")


_BESIDE: Final = (Kind.STATEFUL, Kind.PRODUCER, Kind.CONSUMER)


def _parts(value: Value) -> list[bytes]:
    parts = (value,) if isinstance(value, bytes) else value
    return [bytes(part) for part in parts if isinstance(part, bytes | bytearray | memoryview)]
