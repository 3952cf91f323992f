"""A flow run as a pure state machine: reports of hosts in, verbs to hosts out.

``FlowMachine`` hears what bodies did (``executor.host.Reports``) and tells hosts what to do (``Host``);
it reads no clock, opens no value and touches no socket. Here reports are looked up, and dropped where
they say nothing any more; what follows from them is decided in :mod:`orchestrator.runtime.flow_run`,
and for further attempts in :mod:`orchestrator.runtime.attempts`.
"""

from __future__ import annotations

from functools import partial

from executor.host import Host, WorkerLoss
from orchestrator.runtime import maps
from orchestrator.runtime.attempts import Attempts, tries_of
from orchestrator.runtime.flow_run import FlowRun
from orchestrator.runtime.job import Job
from orchestrator.runtime.outcome import (
    NodeFailed,
    NodeLost,
    NothingAccumulated,
    Replayed,
    TooFewOutputs,
)
from orchestrator.runtime.replay import COMPARING, Replay
from orchestrator.runtime.state import Element, MapRun, Node, Reading, Run, StreamEdge, Void
from protocol.messages import WHOLE, Absence, AttemptKey, ErrorReport, Missing, RunId
from protocol.values import Value


class FlowMachine(FlowRun):
    """One run of a flow.

    Once there is an ``outcome``, every report is only checked off in ``live``.
    """

    def __init__(self, job: Job, run: RunId, host: Host) -> None:
        super().__init__(job, run, host)
        self.attempts = Attempts(self, host, self.streams, self._progress)
        self.dropped = 0  # reports about attempts that are not live

    def begin(self) -> None:
        """Demand every node's first run; ``settle`` then starts what can start."""
        if self._watcher is not None:
            self._watcher.begins(self)
        self._firing.begin()

    # -- reports: chunks ---------------------------------------------------------------------------

    def chunks(self, key: AttemptKey, first: int, count: int, width: int, values: list[Value]) -> None:
        run = self._run_of(key)
        if run is None:
            return
        node = run.node
        if values and not self._has_outputs(run, width):
            return
        if run.replay is not None:
            self.attempts.chunks(run, key, first, count, width, values)
            return
        assert first == run.emitted, (node.name, key, first, run.emitted)
        if node in self.limits:
            for index in range(count):
                if not self.emit(run, 1, width, values[index * width : (index + 1) * width]):
                    return
        else:
            self.emit(run, count, width, values)
        self.streams.open_gate(node)

    # -- reports: reading --------------------------------------------------------------------------

    def read(self, key: AttemptKey, port: int, upto: int) -> None:
        found = self._reading_of(key, port)
        if found is not None:
            _, edge, reading = found
            self.streams.take(edge, reading, upto)

    def wait(self, key: AttemptKey, port: int, chunk: int, resting_on: int) -> None:
        found = self._reading_of(key, port)
        if found is not None:
            self.streams.wait(*found, chunk, resting_on=resting_on)

    def cancel_stream(self, key: AttemptKey, port: int) -> None:
        found = self._reading_of(key, port)
        if found is not None:
            _, edge, reading = found
            self.streams.cancel(edge, reading)

    def cancel_thrown(self, key: AttemptKey, merged: int, emitted: int) -> None:
        run = self._run_of(key)
        if run is None:
            return
        if run.replay is not None:
            self.attempts.cancel_thrown(run, emitted)
            return
        run.cancels_unanswered -= merged
        run.throws = (*run.throws, emitted)
        run.thrown_at = emitted
        self.streams.open_gate(run.node)

    # -- reports: ends -----------------------------------------------------------------------------

    def completed(
        self,
        key: AttemptKey,
        emitted: int,
        seconds: float,
        outputs: list[Value],
        missing: Missing | None,
        state: Value | None = None,
    ) -> None:
        run = self._run_of(key)
        if run is not None and (replay := _comparing(run, key)) is not None:
            again = partial(FlowMachine.completed, self, key, emitted, seconds, outputs, missing, state)
            replay.postponed.append(again)
            return
        self.live.pop(key, None)
        if run is None:
            return
        run.node.seconds += seconds
        if key.element <= COMPARING:
            self.attempts.compared(run, key, outputs)
            return
        if run.replay is not None:  # it has ended before it was where the attempt before had been
            self.fail(run, Replayed(run.node.name, key, run.replay.came))
            return
        if missing is None and not self._has_outputs(run, len(outputs)):
            return
        if isinstance(run, MapRun):
            self._maps.end_element(run, key, maps.result_of(outputs, missing))
            return
        assert emitted == run.emitted, (run.node.name, key, emitted, run.emitted)
        run.is_complete = True
        run.state = state
        if missing is None:
            self.end_run(run, outputs)
        elif missing.absence is Absence.SKIP:
            self.end_unrun(run, Void.SKIPPED)
        elif run.node.finals_out:
            reader = run.node.finals_out[0]
            port = reader.consumer.spec.ports[reader.port].name
            names = run.node.name, reader.consumer.name, port
            self.fail(run, NothingAccumulated(*names, missing.reason))
        else:
            self.end_run(run, None)

    def failed(
        self, key: AttemptKey, emitted: int, seconds: float, error: ErrorReport, cause: Value | None
    ) -> None:
        run = self._run_of(key)
        if run is not None and (replay := _comparing(run, key)) is not None:
            again = partial(FlowMachine.failed, self, key, emitted, seconds, error, cause)
            replay.postponed.append(again)
            return
        self._end_without_commit(key)
        if run is None:
            return
        run.node.seconds += seconds
        if key.element <= COMPARING:
            self.attempts.compared(run, key, [])
        elif self.attempts.follows_error(run, key, error):
            pass
        elif isinstance(run, MapRun):
            # Raised when all elements before it are emitted (A8).
            self._maps.end_element(run, key, Element(None, (error, cause)))
        else:
            assert run.replay or emitted == run.emitted, (run.node.name, key, emitted, run.emitted)
            self.fail(run, NodeFailed(run.node.name, run.node.spec.place, key, error, cause))

    def cancelled(self, key: AttemptKey) -> None:
        self._end_without_commit(key)

    def lost(self, key: AttemptKey, loss: WorkerLoss) -> None:
        node = self._end_without_commit(key)
        if node is None or _is_discarded(node, key):
            return
        run = node.run
        if isinstance(self.outcome, NodeLost) and loss.charged:
            # One death is reported for every attempt on that worker; the charged one explains it.
            self.outcome = NodeLost(node.name, key, loss)
        elif self.outcome is not None or run is None or run.number != key.generation:
            return
        elif key.element <= COMPARING:
            self.attempts.not_compared(run, key)
        elif not self.attempts.follows_loss(run, key, loss):
            losses = tuple(tries_of(run, key).losses)
            self.fail(run, NodeLost(node.name, key, loss, losses, not self.streams.can_rewind(run)))

    def _end_without_commit(self, key: AttemptKey) -> Node | None:
        """An attempt has ended, and what it did to the state of its node is void."""
        node = self.live.pop(key, None)
        if node is not None and node.state is not None and node.spec.checkpointed:
            node.state.drop()
        return node

    # -- shapes -------------------------------------------------------------------------

    def _has_outputs(self, run: Run, outputs: int) -> bool:
        node = run.node
        if outputs >= node.spec.needed_outputs:
            return True
        self.fail(run, TooFewOutputs(node.name, node.spec.place, outputs, node.spec.needed_outputs))
        return False

    # -- looking up --------------------------------------------------------------------------------

    def _run_of(self, key: AttemptKey) -> Run | None:
        """The run a report is about; None if it says nothing any more (fencing)."""
        node = self.live.get(key)
        if node is None:
            self.dropped += 1
            return None
        run = node.run
        if self.outcome is not None or run is None or run.number != key.generation:
            return None
        return None if _is_discarded(node, key) else run

    def _reading_of(self, key: AttemptKey, port: int) -> tuple[Run, StreamEdge, Reading] | None:
        run = self._run_of(key)
        if run is None:
            return None
        edge = run.node.sources[port]
        if not isinstance(edge, StreamEdge):
            return None
        reading = edge.reading_of(run)
        return None if reading is None else (run, edge, reading)


def _comparing(run: Run, key: AttemptKey) -> Replay | None:
    """The attempt's replay, while a worker compares what it has yielded with what came before."""
    replay = run.replay
    return replay if replay is not None and replay.comparing and key == run.key else None


def _is_discarded(node: Node, key: AttemptKey) -> bool:
    """Whether an attempt is a part of a run that nobody waits for any more."""
    run = node.run
    if key.element == WHOLE:
        return False
    if run is not None and key.element <= COMPARING:
        return run.replay is None or key not in run.replay.comparing
    flight = run.in_flight.get(key.element) if isinstance(run, MapRun) else None
    return flight is None or flight.key != key
