"""What is started, emitted and ended in one run of a flow, and when that is over.

Theory of operation. Three things decide what may happen: *firing* (which node starts its next run),
*final edges* (barrier 0: a final value waits until the one before it was read) and *stream edges*
(barrier 1: a producer may be ``window`` chunks ahead of its slowest live reader). What changes is only
noted; :meth:`FlowRun.settle`, called once after each batch of changes, starts what can start, pumps
maps, repairs artificial deadlocks and notices the end. A node *progresses* while its body can go on
without anything new from here; when no node does and nothing can start, the run is over or deadlocked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from executor.host import Broken, Host, Input
from orchestrator.resolver.firing import Firing
from orchestrator.runtime import gate
from orchestrator.runtime.attempts import tries_of
from orchestrator.runtime.failures import Failures
from orchestrator.runtime.finals import Finals
from orchestrator.runtime.invoking import Invoking
from orchestrator.runtime.job import Job
from orchestrator.runtime.limits import Limits
from orchestrator.runtime.maps import Maps
from orchestrator.runtime.outcome import Done, Failure, Outcome
from orchestrator.runtime.progress import Progress
from orchestrator.runtime.repair import Repair
from orchestrator.runtime.results import Newest
from orchestrator.runtime.retrying import runs_alone
from orchestrator.runtime.state import FinalEdge, MapRun, Node, Run, Void
from orchestrator.runtime.status import NodeStatus, status_of
from orchestrator.runtime.streams import Streams
from orchestrator.runtime.waits import Wait
from orchestrator.runtime.wiring import Wiring
from protocol.messages import AttemptKey, RunId
from protocol.values import Value, size_bytes


def _never(_: AttemptKey) -> bool:
    return False


MOST_UNRUN: Final = 100
"""So many runs may end without a body in one turn; then others have theirs."""


class FlowRun:
    """One run of a flow, told of what happens by :class:`orchestrator.runtime.machine.FlowMachine`.

    ``outcome`` is None until the run has ended. ``live`` are the attempts that a host holds, by key.
    """

    def __init__(self, job: Job, run: RunId, host: Host) -> None:
        self._run = run
        self._host = host
        wiring = Wiring(job)
        self.nodes = wiring.nodes
        self.edges = wiring.edges
        self._firing = Firing(len(wiring.nodes), wiring.links())
        self.live: dict[AttemptKey, Node] = {}
        self.newest = Newest()
        self.outcome: Outcome | None = None
        self.failures = Failures()
        self._terminates = job.terminate_on_node_error
        self.is_unsettled = False
        self._unrun = 0  # runs that ended without a body
        self.is_in_line: Callable[[AttemptKey], bool] = _never
        """Whether an attempt that is live waits for a worker; set by who knows the host."""
        self._watcher = job.watcher
        self._firing.listener = job.watcher
        self._progress = Progress(job.watcher)
        self.limits = Limits(job, self.stop)
        self.streams = Streams(host, self._firing, self._progress, job.watcher, job.spill)
        self._invoking = Invoking(job, self.streams)
        self._maps = Maps(self, host, self.streams, self._progress)
        self._finals = Finals(self._firing, self._progress, self.newest, self.limits, job.watcher)
        self._repair = Repair(
            self.nodes,
            self.edges,
            self._firing,
            self._progress,
            self.streams,
            self._finals,
            self.stop,
        )

    # -- driving -----------------------------------------------------------------------------------

    def settle(self) -> None:
        """Act on all that was reported since the last call.

        A cycle that is skipped turns by itself, for ever: ``is_unsettled`` asks for a further call.
        """
        enough = self._unrun + MOST_UNRUN
        self.is_unsettled = False
        while self.outcome is None:
            if self.streams.maps:
                self._maps.pump(self.streams.maps.popleft())
            elif self._unrun < enough and (index := self._firing.take_ready()) is not None:
                self._start(self.nodes[index])
            elif self.streams.freed:
                self.streams.look_again(self.streams.freed.pop())
            elif self._firing.wanted_again:
                # A generator without demand is drained before its next run (rule 51).
                self.streams.look_again(self.nodes[self._firing.wanted_again.pop()])
            elif self._firing.held_up:
                self._progress.suspect(self.nodes[self._firing.held_up.pop()])
            elif self._progress.suspects:
                self._repair.look_at_suspects()
            elif self._firing.ready:
                self.is_unsettled = True
                return
            elif self._progress.count == 0:
                self._come_to_rest()
            else:
                return

    def stop(self, outcome: Outcome) -> None:
        """End the run; the first outcome stands."""
        if self.outcome is None:
            self.outcome = self.failures.instead_of(outcome)

    @property
    def widened(self) -> dict[int, int]:
        """How often each edge was widened, by its index."""
        return self._repair.widened

    def status_of(self, node: Node) -> NodeStatus:
        """What the node does or waits for now (rule 86)."""
        return status_of(node, self._firing)

    def running(self) -> tuple[str, ...]:
        """The names of the nodes whose bodies a host holds."""
        return tuple(dict.fromkeys(node.name for node in self.live.values()))

    def waits_of(self, node: Node) -> list[Wait]:
        """What must happen before the node goes on; empty if it does, or if nobody wants it to."""
        return self._repair.waits_of(node)

    def cancel_live(self) -> None:
        """Give up every attempt that a host still holds; each is answered by a last report."""
        for key in list(self.live):
            self._host.cancel(key)

    # -- starting runs -----------------------------------------------------------------------------

    def _start(self, node: Node) -> None:
        if node.is_dead:
            return
        for edge in node.streams_out:
            if edge.is_full:
                # Chunks of earlier runs are still untaken; taking them offers the node again.
                self._progress.suspect(node)
                return
        number = self._firing.next_run(node.index)
        if self.limits.reached_by_constant(node, number):
            return
        self._firing.start(node.index)
        key = AttemptKey(self._run, node.index, number)
        kind = MapRun if node.spec.kind == "map" else Run
        run = node.run = kind(node, number, key, credit=1)
        void = self._invoking.gather(run)
        if self._watcher is not None:
            self._watcher.started(run)
        if node.streams_out:
            self.streams.begin(run)
        if void is not None:
            self.end_unrun(run, void)
        elif node.spec.kind == "map":
            self.streams.maps.append(node)
        else:
            self._begin_body(run)
        self._progress.note(node)
        self._finals.write_awaited(node)

    def _begin_body(self, run: Run) -> None:
        node = run.node
        if node.spec.kind == "stream":
            run.credit = max(1, self.streams.allowance(node))
        self.invoke(node, run.key, run.inputs, run.credit)
        if node.streams_in:
            self.streams.hand_on_buffered(run)

    def invoke(self, node: Node, key: AttemptKey, inputs: list[Input], credit: int) -> None:
        """Have the node's body evaluated on these inputs."""
        alone = key.attempt > 0 and node.run is not None and runs_alone(tries_of(node.run, key))
        self._host.invoke(self._invoking.invocation(node, key, inputs, credit, alone=alone))
        self.live[key] = node

    def emit(self, run: Run, count: int, width: int, values: list[Value]) -> bool:
        """``count`` chunks of a run exist: hand them on, or stop, False, if that is the limit."""
        node = run.node
        run.emitted += count
        node.chunks += count
        node.bytes += sum(map(size_bytes, values))
        if values:
            self.newest.keep_chunk(node, run.number, run.emitted - 1, values[-width:])
        if self._watcher is not None:
            for chunk in range(count):
                self._watcher.emitted(run, values[chunk * width : (chunk + 1) * width])
        if self.limits.reached(node, (run.number, run.emitted - 1)):
            return False
        self.streams.emit(run, width, values)
        return True

    def end_unrun(self, run: Run, void: Void) -> None:
        """The run ends without a value because it was skipped, or needs what has failed."""
        node = run.node
        run.void = void
        self._unrun += 1
        broken = None
        if void is Void.SKIPPED:
            node.skipped += 1
        else:
            self.failures.note_unreached(node)
            self._bury(node)
            broken = self.failures.broken_by(node)
        self.end_run(run, None, broken)

    def fail(self, run: Run, failure: Failure) -> None:
        """The run of a node has failed: that ends the flow's run, or else the node (rule 67)."""
        if self._watcher is not None:
            self._watcher.failed(run, failure)
        if self._terminates:
            self.stop(failure)
            return
        node = run.node
        if run.key in self.live:
            self._host.cancel(run.key)
        self.failures.note(node, failure, has_broken_input=_reads_broken_stream(run))
        if isinstance(run, MapRun):
            self._maps.recall(run)
        run.void = Void.FAILED
        run.is_complete = False
        self._bury(node)
        self.end_run(run, None, self.failures.broken_by(node))

    def _bury(self, node: Node) -> None:
        """The node never runs again; what it would have read holds nobody up (rule 47)."""
        node.is_dead = True
        for edge in node.finals_in:
            edge.close()
        for edge in node.finals_in:
            self._finals.write(edge.producer)
        self.streams.close(node)
        self.limits.give_up(node)

    def end_run(self, run: Run, outputs: list[Value] | None, broken: Broken | None = None) -> None:
        """The body is done: end the streams it reads and writes, then write its final value."""
        node = run.node
        run.waiting.clear()
        run.rests = False
        run.held = outputs if outputs is not None else []
        run.has_final = outputs is not None
        if self._watcher is not None:
            self._watcher.body_ended(run)
        self._progress.note(node)
        if node.streams_in:
            self.streams.leave(run)
        if node.streams_out:
            if self._finals.can_write(node) and self._finals.reaches_limit(run):
                return
            self.streams.end(run, broken)
        self._finals.write(node)

    # -- progress, rest and deadlock ---------------------------------------------------------------

    def _come_to_rest(self) -> None:
        """Nothing moves: the run is done, or its demand cannot be met (rules 64, 65)."""
        running = [node for node in self.nodes if node.run is not None]
        unmet = [node for node in self.nodes if self._is_unmet(node)]
        # Others wait for nothing, so no deadlock leads through them.
        self._progress.suspects.extend([*running, *unmet])
        if self._repair.look_at_suspects(at_rest=True):
            return
        if unmet:
            self._repair.end([])
            return
        self.stop(Done(tuple(node.name for node in running)))

    def _is_unmet(self, node: Node) -> bool:
        run = node.run
        if run is None:
            return self._firing.is_wanted(node.index) and not node.is_dead
        return run.rests or run.held is not None

    def check(self) -> None:
        """Assert what must hold between turns of a run that goes on (SEMANTICS 17, I3-I5)."""
        if self.outcome is not None:
            return
        for edge in self.edges:
            edge.check()
            if isinstance(edge, FinalEdge):
                started = self._firing.next_run(edge.consumer.index)
                assert edge.closed or edge.producer.runs - started <= edge.capacity, edge
        for node in self.nodes:
            assert node.progresses == gate.goes_on(node), node.name
        assert self._progress.count == sum(node.progresses for node in self.nodes)


def _reads_broken_stream(run: Run) -> bool:
    readings = (edge.reading_of(run) for edge in run.node.streams_in)
    return any(reading is not None and reading.broken is not None for reading in readings)
