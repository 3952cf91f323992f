"""A pool of worker processes on this host: a host of bodies for whoever runs a flow.

Theory of operation. All decisions are ``PoolMachine``'s; here they are carried out. The pool is pumped
by its owner: it names what it listens to (``sockets``), is told which one is readable, and says until
when the owner may sleep. What the verbs write leaves with ``flush``, one envelope per worker.

    verbs of Host -> PoolMachine -> session of a worker -> flush -> Listener -> workers
    Reports <------- PoolMachine <- Inbox <- session of a worker <- Listener <- workers
                         ^--------- the zygote's reports, pidfds <------------- deaths
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from time import monotonic
from types import TracebackType
from typing import Final, Self, Unpack, assert_never

from executor.actions import (
    Action,
    Assign,
    DismissSite,
    DrainWorker,
    DumpStacks,
    Interrupt,
    KillWorker,
    ReportCancelled,
    ReportLost,
    SendCancel,
    SendRevoke,
    SpawnWorker,
    TerminateWorker,
)
from executor.errors import PoolBroken, PoolClosed
from executor.host import Broken, Invocation, Reports, WorkerLoss
from executor.inbox import Inbox
from executor.ladder import NOTHING, Stepping
from executor.limits import LimitOptions, Limits
from executor.output import Print, pass_on
from executor.ownership import Ownership
from executor.pool_machine import PoolMachine
from executor.reception import Reception
from executor.registry import Registry
from executor.resources import Resources, Source
from executor.retry import RetryPolicy
from executor.scheduling import MEMORY, Totals, checked_resources
from executor.sending import Sender
from executor.shield import Shield
from executor.showing import DroppingPrint
from executor.sizing import checked_size, usable_cores, usable_memory_bytes
from executor.vitals import vitals_of
from protocol.client_messages import WorkerStatus
from protocol.messages import (
    AttemptKey,
    Cancel,
    Drain,
    Produce,
    Revoke,
    RunId,
    ThrowCancel,
)
from protocol.values import Value

__all__ = ["Pool", "usable_cores"]

log = logging.getLogger(__name__)

_NAP_S: Final = 1.0
"""How long to wait for something to happen before looking at the deadlines again."""


class Pool:
    """``workers`` processes (default: one per usable processor), for any number of runs.

    Use it in a ``with`` block. Workers start in the background with the present working directory,
    environment, ``sys.path`` and warning filters; later changes do not reach them. A pool belongs to
    the thread and the process that made it.

    Args:
        workers: how many processes.
        resources: what bodies may claim, by name: ``"cpus"`` (by default one for each worker),
            ``"memory"`` in bytes (by default what this process may use), and names of one's own.
        show: is given what workers print, piece by piece (:class:`~executor.output.Printed`); by
            default it is printed here, to what standard output and error are then. It may wait: then
            bodies that print much wait for it. ``TaggedPrint()`` names the node at each line.
        drop_output: nobody waits for output, neither bodies nor the pool: what is not read in time is
            dropped, and how much it was is printed. What is written past Python, by C code or a child
            process, waits as ever.
        grace_s: a body that was cancelled and runs is interrupted at once. If it has not ended so much
            later its worker is sent SIGTERM, and SIGKILL after as much again.
        timeout_s: how long a body may compute, where its node does not say; waiting for streams does
            not count.
        unresponsive_after_s: a worker that was stopped by a signal gets no work, and is killed then.
        memory_soft_bytes: a worker with a larger resident size is replaced once its bodies have ended.
        memory_hard_bytes: one with a larger resident size is killed, with the body that it runs.
        max_runs_per_worker: after so many bodies a worker is replaced.

    Raises:
        TypeError, ValueError: the number of workers is not a positive one, or a limit makes no sense.
        OSError: the system refuses processes, files or descriptors.
        RuntimeError: this system is not Linux; or, later, the pool is used by another thread or after a
            fork.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        retry: RetryPolicy | None = None,
        resources: Mapping[str, float] | None = None,
        show: Print | None = None,
        drop_output: bool = False,
        **limits: Unpack[LimitOptions],
    ) -> None:
        self.workers = self._checked_size(workers)
        self.retry = retry or RetryPolicy()
        self._owner = Ownership()
        totals = {MEMORY: usable_memory_bytes(), **checked_resources(resources)}
        self._machine = PoolMachine(self.workers, Limits(**limits), look=self._look, totals=totals)
        self._inbox = Inbox(self._machine, self._do)
        threads = max(1, usable_cores() // max(1, self.workers))
        show = show or (DroppingPrint() if drop_output else pass_on)
        with ExitStack() as undo:
            with Shield():  # an interrupt would leave behind what it finds half made
                held = self._resources = Resources(self.workers, threads, show, drops_output=drop_output)
                # Given back also if the pool is merely forgotten, and at the interpreter's exit.
                self._release = weakref.finalize(self, held.release)
                undo.callback(self._release)  # now, if an interrupt comes before it is complete
            self._listener_descriptor, self._peers = held.listener.descriptor, held.peers
            self._sender = Sender(held, self._give_up_worker)
            self._reception = Reception(
                held, self._machine, self._inbox, self._do, self._sender.write, show
            )
            self._held: dict[AttemptKey, list[Callable[[], None]]] = {}  # verbs about attempts in line
            self._doomed: list[Action] = []  # reports of losses that no verb may make
            self._registry = Registry(
                held, self._machine, self._reception, self._do, self._sender.forget
            )
            self._do(self._machine.start(monotonic()))
            undo.pop_all()

    @property
    def strangers(self) -> int:
        """Counts connections that did not prove to be a worker of ours."""
        return self._reception.strangers

    @property
    def totals(self) -> Totals:
        """The resources that bodies may claim."""
        return self._machine.totals

    @property
    def free(self) -> Totals:
        """What of them no body claims now."""
        return self._machine.free

    @property
    def failure(self) -> PoolBroken | None:
        """Why the pool gave up, if it did; whatever it is asked to run is then lost at once."""
        return self._machine.failure

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close; at once where the block was left by Ctrl-C, ``sys.exit`` or the like."""
        if error is not None and not isinstance(error, Exception):
            self.kill()
        else:
            self.close()

    def kill(self) -> None:
        """End the workers now, whatever they do. Repeating changes nothing."""
        self._owner.check()
        self._release()

    def close(self) -> None:
        """End the workers; wait ``grace_s`` at most for those that work. Repeating changes nothing."""
        if not self._release.alive:
            return
        self._owner.check()
        try:
            self._do(self._machine.stop(monotonic()))
            self.flush()
            while self._machine.ending:
                self._pump()
        finally:
            self._release()

    def wait_ready(self) -> None:
        """Wait until every worker can take work. No run needs it: what comes early waits in line.

        Raises:
            PoolBroken: no worker comes up.
            PoolClosed: it is closed.
        """
        self._check_usable()
        while self._machine.starting:
            self._pump()
        if self._machine.failure is not None:
            raise self._machine.failure

    def attach(self, run: RunId, reports: Reports) -> None:
        """Say what happens from now on in a run to ``reports``; several runs may use a pool at once.

        Raises:
            PoolClosed: it is closed.
            RuntimeError: the wrong thread or process uses it, or the run is attached already.
        """
        self._check_usable()
        if run in self._inbox.reports:
            raise RuntimeError(f"run {run} uses this pool already; every run needs a number of its own")
        self._inbox.reports[run] = reports

    def detach(self, run: RunId) -> None:
        """A run is over. What it has left behind is given up and never reported."""
        self._inbox.reports.pop(run, None)
        if self._release.alive:
            for key in self._machine.attempts():
                if key.run == run:
                    self.cancel(key)
            self.flush()

    # -- looking ------------------------------------------------------------------------------------

    @property
    def endpoint(self) -> str:
        """Where its workers connect."""
        return self._resources.endpoint

    def is_in_line(self, key: AttemptKey) -> bool:
        """Whether an attempt waits for a worker."""
        return self._machine.is_in_line(key)

    def statuses(self) -> list[WorkerStatus]:
        """Its workers, and how busy each is."""
        return self._machine.statuses()

    # -- verbs of Host ------------------------------------------------------------------------------

    def invoke(self, invocation: Invocation) -> None:
        actions = self._machine.invoke(invocation)
        if actions and isinstance(actions[0], ReportLost):
            self._doomed += actions  # a verb makes no report: the next deadline does
        else:
            self._do(actions)

    @property
    def is_saturated(self) -> bool:
        """Whether attempts wait that no worker has room for: then there is none for others either."""
        return self._machine.is_saturated

    def is_running(self, key: AttemptKey) -> bool:
        """Whether a worker is stepping the attempt's body at this moment. Any thread may ask."""
        lease = self._machine.lease(key)
        try:
            return lease is not None and self._look(lease.worker).number == lease.number
        except ValueError:  # the worker's page was given back meanwhile
            return False

    def deliver(self, key: AttemptKey, port: int, first: int, values: list[Value]) -> None:
        lease = self._machine.lease(key)
        if lease is None:
            self._hold(key, lambda: self.deliver(key, port, first, values))
        else:
            lease.deliver(port, first + len(values))
            self._sender.peer(lease.worker).deliver(key, port, first, values)

    def end_stream(self, key: AttemptKey, port: int, count: int, broken: Broken | None = None) -> None:
        lease = self._machine.lease(key)
        if lease is None:
            self._hold(key, lambda: self.end_stream(key, port, count, broken))
        else:
            lease.end_stream(port)
            self._sender.peer(lease.worker).end_stream(key, port, count, broken)

    def produce(self, key: AttemptKey, upto: int) -> None:
        lease = self._machine.lease(key)
        if lease is None:
            self._hold(key, lambda: self.produce(key, upto))
        else:
            lease.produce(upto)
            self._sender.write(lease.worker, Produce(key, upto))

    def throw_cancel(self, key: AttemptKey) -> None:
        lease = self._machine.lease(key)
        if lease is None:
            self._hold(key, lambda: self.throw_cancel(key))
        else:
            lease.throw_cancel()
            self._sender.write(lease.worker, ThrowCancel(key))

    def cancel(self, key: AttemptKey) -> None:
        self._give_up(key, *self._machine.cancel(key, monotonic()))

    def recall(self, key: AttemptKey) -> None:
        self._give_up(key, *self._machine.recall(key))

    def _give_up(self, key: AttemptKey, worker: int | None, actions: Sequence[Action]) -> None:
        if worker is not None:
            self._sender.write(worker, Cancel(key))
        self._do(actions)

    def release(self, run: RunId) -> None:
        for worker in self._machine.release(run):
            self._sender.peer(worker).release(run)

    def _hold(self, key: AttemptKey, verb: Callable[[], None]) -> None:
        # The attempt waits in line, and with it what is said about it; or it has ended.
        if self._machine.is_in_line(key):
            self._held.setdefault(key, []).append(verb)

    # -- driving ------------------------------------------------------------------------------------

    def sockets(self) -> list[Source]:
        """What to poll for reading; it changes as workers come and go."""
        return self._resources.sources()

    @property
    def sockets_changes(self) -> int:
        """Counts the changes of ``sockets``; equal lists may mean others by the same numbers."""
        return self._resources.changes

    def on_readable(self, source: Source, now: float) -> None:
        """Take what has come on one of the ``sockets``. Early and repeated calls do no harm."""
        if source == self._listener_descriptor:
            self._reception.listen(now)
        elif self._resources.hears_zygote_on(source):
            self._registry.hear_zygote(now)
        elif source in self._resources.pidfds:
            self._registry.note_death(source, now)
        elif source in self._resources.outputs:
            self._reception.show(self._resources.outputs.read(source))

    def next_deadline(self) -> float:
        """When ``on_deadline`` is to be called, on the clock of ``time.monotonic``; maybe never."""
        if self._doomed:
            return 0.0
        return min(self._machine.next_deadline(), self._registry.next_deadline())

    def on_deadline(self, now: float) -> None:
        """Do what is due. Early and repeated calls do no harm."""
        doomed, self._doomed = self._doomed, []
        self._do(doomed)
        self._do(self._machine.expire(now))
        examined = self._machine.to_examine(now)
        if examined:
            self._resources.oom.forget_others()
        for worker, pid in examined:
            vitals = vitals_of(pid)
            if vitals is not None:
                self._do(self._machine.examined(worker, vitals, now))
        self._registry.expire(now)

    def flush(self) -> None:
        """Send what was written since the last call: to each worker one envelope, unless it is long."""
        self._sender.flush()

    def _pump(self) -> None:
        """Wait for the next thing to happen, and deal with it."""
        timeout_s = max(0.0, min(self.next_deadline() - monotonic(), _NAP_S))
        for source in self._resources.wait(timeout_s):
            self.on_readable(source, monotonic())
        self.on_deadline(monotonic())
        self.flush()

    # -- actions --------------------------------------------------------------------------------------

    def _do(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Assign(worker, invocation):
                    self._assign(worker, invocation)
                case SpawnWorker(worker):
                    self._spawn(worker)
                case Interrupt() | DumpStacks() | TerminateWorker() | KillWorker():
                    self._resources.send_signal(action)
                case SendCancel() | SendRevoke() | DrainWorker():
                    self._tell(action)
                case DismissSite(site, failed):
                    self._dismiss(site, failed=failed)
                case ReportLost(key, loss, number):
                    self._report_lost(key, loss, number)
                case ReportCancelled(key):
                    self._held.pop(key, None)
                    self._inbox.reports_of(key.run).cancelled(key)
                case _:
                    assert_never(action)

    def _tell(self, action: SendCancel | SendRevoke | DrainWorker) -> None:
        match action:
            case SendCancel(worker, key):
                self._sender.write(worker, Cancel(key))
            case SendRevoke(worker, keys, fence):
                self._peers[worker].fence(fence)
                self._sender.write(worker, Revoke(list(keys)))
            case DrainWorker(worker):
                self._sender.write(worker, Drain())
            case _:
                assert_never(action)

    def _report_lost(self, key: AttemptKey, loss: WorkerLoss, number: int) -> None:
        self._held.pop(key, None)
        peer = self._peers.get(loss.worker)
        if peer is not None:  # the worker lives on
            loss = replace(loss, evidence=peer.evidence(number))
        self._inbox.reports_of(key.run).lost(key, loss)

    def _give_up_worker(self, worker: int) -> None:
        self._do(self._machine.kill(worker))

    def _assign(self, worker: int, invocation: Invocation) -> None:
        self._sender.peer(worker).invoke(invocation)
        for verb in self._held.pop(invocation.key, ()):
            verb()

    def _spawn(self, worker: int) -> None:
        try:
            self._order(worker)
        except OSError:
            log.exception("worker %d could not be started", worker)
            self._do(self._machine.exited(worker, None, 0, monotonic()))

    def _order(self, worker: int) -> None:
        self._resources.spawn(worker)

    # What a pool that agents join does otherwise.

    _checked_size = staticmethod(checked_size)

    def _dismiss(self, site: int, *, failed: bool) -> None:
        raise AssertionError(f"no agent has joined this pool: {site}, {failed}")

    def _look(self, worker: int) -> Stepping:
        peer = self._peers.get(worker)
        return NOTHING if peer is None else peer.stepping

    def _check_usable(self) -> None:
        self._owner.check()
        if not self._release.alive:
            raise PoolClosed
