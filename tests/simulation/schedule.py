"""One schedule: a seed's faults upon a pool and its work, then none, and all must come to its end."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any
from unittest import mock

from executor import peer as peer_module
from executor import pool as pool_module
from executor.actions import DumpStacks, Interrupt
from executor.page import CURRENT, SINCE
from executor.pool import Pool
from executor.resources import Signal
from executor.worker_states import WorkerState
from protocol.framing import Parts
from protocol.messages import AttemptKey
from tests.simulation.bodies import SimulatedPage
from tests.simulation.client import HARD_BYTES, RUN, SOFT_BYTES, Client
from tests.simulation.faults import Faults, KillPoint, Moment
from tests.simulation.network import break_connection
from tests.simulation.process import Process
from tests.simulation.resources import SimulatedResources
from tests.simulation.world import Violation, World

GRACE_S = 0.5
TIMEOUT_S = 1.5
UNRESPONSIVE_S = 4.0
FAULTS_AT_LEAST = 3
JOBS_AT_LEAST = 5
JOBS_AT_MOST = 40
SAFETY_S = 20.0
QUIET_S = 4.0
"""Long enough for all that is under way to come, and for beats."""

DEADLINES_AT_ONCE = 100
"""One may lead to another; more of them at one moment would be a loop."""

HEALING_S = 400.0
"""Within it all must be done once nothing more goes wrong: a start may take 60 s, and fail twice."""

STEPS_AT_MOST = 60_000

_ENDING = (WorkerState.DRAINING, WorkerState.KILLED)


@dataclass(frozen=True)
class Result:
    """What a schedule came to; ``log_hash`` is the same whenever the seed is."""

    seed: int
    log_hash: int
    steps: int
    faults: Counter[str]
    outcomes: Counter[str]
    passed: Counter[KillPoint]
    lines: list[str] | None


class Schedule:
    """``run`` plays it.

    Raises:
        Violation: FAULTS does not hold; also any other exception is a defect that it has found.
    """

    def __init__(self, seed: int, *, trace: bool = False) -> None:
        self.seed = seed
        self.world = world = World(seed, trace=trace)
        self.faults = Faults.draw(world.random)
        self.resources = SimulatedResources(world, self.faults, self._begins_step, self._judge_signal)
        self.given_up: set[int] = set()
        self.cut: set[int] = set()  # never to be reached again
        self.overdue: dict[tuple[int, int], float] = {}  # worker and number of an attempt -> since when
        self.is_full = False
        self.is_closing = False

    def run(self) -> Result:
        with (
            mock.patch.object(pool_module, "monotonic", self._now),
            mock.patch.object(pool_module, "Resources", return_value=self.resources),
            mock.patch.object(pool_module, "vitals_of", self.resources.vitals_of),
            mock.patch.object(peer_module, "Page", SimulatedPage),
        ):
            self._run()
            self.pool._release.detach()  # nothing is to be given back when the interpreter ends
        return Result(
            self.seed,
            self.world.log_hash,
            self.world.steps,
            self.faults.happened,
            Counter(str(job.outcome) for job in self.client.jobs),
            self.faults.passed,
            self.world.lines,
        )

    def _run(self) -> None:
        world = self.world
        timeout_s = TIMEOUT_S if world.random.random() < 0.5 else None
        self.pool = Pool(
            world.random.randint(1, 3),
            grace_s=GRACE_S,
            timeout_s=timeout_s,
            unresponsive_after_s=UNRESPONSIVE_S,
            memory_soft_bytes=SOFT_BYTES,
            memory_hard_bytes=HARD_BYTES,
            max_runs_per_worker=world.random.choice((None, None, 2, 5)),
        )
        self.resources.notify = self._notify
        self.resources.give_up = self._give_up
        self.client = Client(
            world,
            self.pool,
            lambda worker: self.resources.processes[worker],
            lambda: self.resources.kernel_kills,
            loses_patience=timeout_s is None,
        )
        self.pool.attach(RUN, self.client)
        for moment in self.faults.moments:
            world.after(2.0 * world.random.random(), lambda moment=moment: self._happen(moment))  # type: ignore[misc]
        self._add_work()
        self._pump(self._has_seen_enough, SAFETY_S)
        for _ in range(FAULTS_AT_LEAST - self.faults.total):
            self._happen(Moment.KILL)
        self._pump(self._has_seen_enough, HEALING_S)  # maybe until there is somebody to be killed
        self._heal()
        self._pump(lambda: self.client.is_done, HEALING_S)
        if not self.client.is_done:
            late = [job.key for job in self.client.jobs if job.outcome is None]
            raise Violation(f"not done {HEALING_S:.0f} s after all was healed: {late} (P7)")
        self._pump(lambda: False, QUIET_S)
        kept = self._oldest_kept()
        if kept:
            self._pump(lambda: False, QUIET_S)
            keep = [name for name, parts in self._oldest_kept().items() if kept.get(name) is parts]
            if keep:
                raise Violation(f"{keep} keep what must have been acknowledged (P6)")
        self._close()

    # -- driving ------------------------------------------------------------------------------------

    def _pump(self, until: Any, most_s: float) -> None:
        world, pool = self.world, self.pool
        give_up = world.now + most_s
        due = pool.next_deadline()
        while not until():
            due = max(due, world.now)
            if min(due, world.next_event) > give_up:
                return
            if due <= world.next_event:
                world.now = due
                world.steps += 1
                for _ in range(DEADLINES_AT_ONCE):
                    pool.on_deadline(due)
                    if pool.next_deadline() > due:
                        break
                else:
                    raise Violation("a deadline that has been met is still due (P7)")
                world.touched = True
            else:
                world.step()
            if world.touched:
                world.touched = False
                pool.flush()
                pool._machine.check()
                due = pool.next_deadline()
            if world.steps > STEPS_AT_MOST:
                raise Violation(f"no end after {STEPS_AT_MOST} steps (P7)")
            if not world.steps % 16:
                self._check()

    def _check(self) -> None:
        for worker, end in self.resources.ends.items():
            if not end.is_over:
                end.check()
                self.resources.processes[worker].end.check()

    def _now(self) -> float:
        return self.world.now

    def _oldest_kept(self) -> dict[str, Parts]:
        """What each side that has a connection still waits to be acknowledged."""
        sides = [
            side
            for worker, end in self.resources.ends.items()
            for side in (end, self.resources.processes[worker].end)
        ]
        return {
            side.name: kept[0]
            for side in sides
            if not side.is_over
            and side.session.link.is_up
            and (kept := side.session.session.delivery.unacknowledged())
        }

    def _notify(self, source: Any) -> None:
        self.world.touched = True
        self.pool.on_readable(source, self.world.now)

    def _give_up(self, worker: int) -> None:
        """Its link is lost, or what it sends makes no sense."""
        self.world.touched = True
        self.given_up.add(worker)
        self.pool._do(self.pool._machine.kill(worker))

    # -- phases ---------------------------------------------------------------------------------------

    def _add_work(self) -> None:
        client = self.client
        if self.is_full or client.turns >= JOBS_AT_MOST or self.pool.failure is not None:
            return
        client.add_jobs()
        self.world.after(0.3 * self.world.random.random(), self._add_work)

    def _has_seen_enough(self) -> bool:
        enough = self.faults.total >= FAULTS_AT_LEAST and len(self.client.jobs) >= JOBS_AT_LEAST
        return enough or self.pool.failure is not None

    def _heal(self) -> None:
        self.world.note("healed")
        self.faults.healed = self.is_full = True
        self.resources.unreachable.intersection_update(self.cut)
        for process in self.resources.alive():
            process.resume()

    def _close(self) -> None:
        """End the pool as ``Pool.close`` does: nothing may be left."""
        world, pool = self.world, self.pool
        self.faults.healed = world.random.random() < 0.5
        self.is_closing = self.client.is_closing = True
        pool._do(pool._machine.stop(world.now))
        pool.flush()
        # Those that come up later are ended with the zygote.
        ending = [each for each in self.resources.alive() if pool._machine.state(each.worker) in _ENDING]
        self._pump(lambda: not pool._machine.ending, HEALING_S)
        left = [process.worker for process in ending if process.is_alive]
        if left:
            raise Violation(f"workers {left} are left after the pool was closed (P5)")
        if pool._machine.attempts() or pool._held or self.client.open:
            raise Violation(f"leases are left: {pool._machine.attempts()}, {list(pool._held)} (P6)")

    # -- faults -------------------------------------------------------------------------------------

    def _happen(self, moment: Moment) -> None:
        if self.faults.healed:
            return
        process = self._victim()
        if process is None or not self._afflict(moment, process):
            self.world.after(0.2, lambda: self._happen(moment))
            return
        self.world.note(f"{moment.name} w{process.worker}")
        self.faults.note(moment)

    def _victim(self) -> Process | None:
        alive = [process for process in self.resources.alive() if not process.stopped]
        return self.world.random.choice(alive) if alive else None

    def _afflict(self, moment: Moment, process: Process) -> bool:
        """Let it happen; False if it cannot happen to this worker now."""
        match moment:
            case Moment.KILL:
                process.die(-9)
            case Moment.NO_MEMORY:
                self.resources.kernel_kills += 1
                process.die(-9)
            case Moment.STOP_SHORT:
                process.stop()
                self.world.soon(process.resume, 6.0)
            case Moment.STOP_LONG:
                process.stop()
                self.world.soon(process.resume, 60.0)
            case Moment.SWELL:
                process.resident_bytes = SOFT_BYTES + 1
            case Moment.SWELL_MUCH:
                process.resident_bytes = HARD_BYTES + 1
            case Moment.ZYGOTE:
                self.resources.end_zygote()
            case Moment.DISCONNECT | Moment.PARTITION | Moment.CUT:
                return self._disconnect(moment, process)
            case _:
                return self._tamper(moment, process)
        return True

    def _disconnect(self, moment: Moment, process: Process) -> bool:
        worker, unreachable = process.worker, self.resources.unreachable
        if not process._greeted:
            return False
        if moment is not Moment.DISCONNECT:
            unreachable.add(worker)
            self.resources.was_unreachable.add(worker)
        if moment is Moment.PARTITION:
            self.world.soon(lambda: unreachable.discard(worker), 12.0)
        if moment is Moment.CUT:
            self.cut.add(worker)
        break_connection(self.world, process.end, self.resources.ends[worker])
        return True

    def _tamper(self, moment: Moment, process: Process) -> bool:
        """Do something to what is sent; False if nothing is there to do it to."""
        up = process.end.wire
        down = self.resources.ends[process.worker].wire
        if up is None or down is None or not process.end.session.link.is_up:
            return False
        dice = self.world.random
        match moment:
            case Moment.LOSE:
                dice.choice((up, down)).loses = 1
            case Moment.DUPLICATE:
                dice.choice((up, down)).doubles = 1
            case Moment.GARBAGE:
                up.send([dice.randbytes(dice.randrange(40))])
            case Moment.REPLAY:
                earlier = [parts for worker, parts in self.resources.history if worker != process.worker]
                if not earlier:
                    return False
                up.send(dice.choice(earlier))
            case Moment.STALE_REPORT:
                leases = self.pool._machine._leases
                elsewhere = [key for key in leases if leases[key].worker != process.worker]
                if not process._greeted or not elsewhere:
                    return False
                process.lie(dice.choice(elsewhere))
            case _:
                raise AssertionError(moment)
        return True

    # -- the judge ------------------------------------------------------------------------------------

    def _begins_step(self, process: Process, key: AttemptKey) -> None:
        self.client.begins_step(process, key)

    def _judge_signal(self, action: Signal) -> None:
        """Whether the pool has a reason to do this to a worker (P3)."""
        worker, now = action.worker, self.world.now
        process = self.resources.processes[worker]
        machine, cancelled_at = self.pool._machine, self.client.cancelled_at
        leases = [lease for lease in machine._leases.values() if lease.worker == worker]
        if isinstance(action, DumpStacks):
            computed_s = now - process.times[SINCE]
            if process.stepped is None or computed_s < TIMEOUT_S - 1e-6:
                raise Violation(f"{action}: its body has computed for {computed_s} s only (P3)")
            self.overdue[worker, process.cells[CURRENT]] = now
            return
        # Since when each attempt here has been asked to end.
        asked = {
            lease.number: min(
                cancelled_at.get(lease.key, math.inf), self.overdue.get((worker, lease.number), math.inf)
            )
            for lease in leases
        }
        if isinstance(action, Interrupt):
            if asked.get(action.number, math.inf) > now:
                raise Violation(f"{action} is for an attempt that nobody has told to end (P3)")
            return
        reasons = {
            "a body does not end": any(now >= since + GRACE_S - 1e-6 for since in asked.values()),
            "it cannot be talked with": worker in self.given_up,
            "it never came": not process._greeted,
            "it is stopped": process.stopped and now - process.stopped_at >= UNRESPONSIVE_S,
            "it holds too much": process.resident_bytes > HARD_BYTES,
            "it does not drain": now >= self._drained_at(worker) + GRACE_S - 1e-6,
            "the pool is closed": self.is_closing,
            "it is dead": not process.is_alive,
        }
        if not any(reasons.values()):
            raise Violation(f"{action}: it has done nothing wrong (P3)")

    def _drained_at(self, worker: int) -> float:
        peer = self.resources.simulated_peers.get(worker)
        return math.inf if peer is None else peer.drained_at
