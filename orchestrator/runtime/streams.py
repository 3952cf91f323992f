"""Chunks from producers to readers: barrier 1, gates, detaching and cancelling (SEMANTICS 10, 11).

Theory of operation. A chunk is handed on as soon as it exists: to the host of a reader's body, or into
the run's log while the reader's run has not begun, or if the reader is a map. It counts as untaken until
the reader's body has taken it, and the producer's gate stays closed while an edge holds as many untaken
chunks as its capacity. An edge that was widened to end a deadlock delivers a batch at a time, when the
one before is taken; the rest waits in the log, which has room on the disk. A reader that cancels, or
whose run ends, no longer counts.
"""

from __future__ import annotations

from collections import deque

from executor.host import Broken, Host
from orchestrator.resolver.firing import Firing
from orchestrator.runtime import gate
from orchestrator.runtime.chunk_log import ChunkLog, Spill
from orchestrator.runtime.errors import NodeError, SpillError
from orchestrator.runtime.progress import Progress
from orchestrator.runtime.retrying import keeps_inputs
from orchestrator.runtime.state import MapRun, Node, Reading, Run, StreamEdge
from orchestrator.runtime.watching import Watcher
from protocol.values import Value


class Streams:
    """All stream edges of one flow run. ``maps`` holds the map nodes that have something to do."""

    def __init__(
        self,
        host: Host,
        firing: Firing,
        progress: Progress,
        watcher: Watcher | None,
        spill: Spill | None,
    ) -> None:
        self._host = host
        self._firing = firing
        self._progress = progress
        self._watcher = watcher
        self._spill = spill
        self.maps: deque[Node] = deque()
        self.freed: list[Node] = []  # producers whose streams without chunks are read now

    # -- a run begins -------------------------------------------------------------------------------

    def begin(self, run: Run) -> None:
        """Readers of the run's chunks are live from now on, even if their own runs have not begun."""
        if not run.node.streams_out:
            return
        log = ChunkLog(run.node.spec.needed_outputs, self._spill)
        siblings: list[Reading] = []
        for edge in run.node.streams_out:
            live = not edge.consumer.is_dead
            keeps = live and edge.consumer.spec.kind != "map" and keeps_inputs(edge.consumer.spec)
            reading = Reading(run.number, log, siblings, live=live, keeps=keeps)
            edge.readings[run.number] = reading
            siblings.append(reading)
            log.keepers += keeps
        log.keepers += _is_replayed(run)

    def read_by(self, run: Run, edge: StreamEdge, reading: Reading) -> None:
        """A run of the consumer begins to read it."""
        untaken = reading.untaken
        reading.run = run
        if untaken and not reading.emitted:
            edge.untaken -= untaken
            self.freed.append(edge.producer)

    def hand_on_buffered(self, run: Run) -> None:
        """Give a run that has just begun what its streams have brought before."""
        for edge in run.node.streams_in:
            reading = edge.reading_of(run)
            if reading is None:
                continue
            if not reading.live:
                self._hand_on_closed(edge, reading, run)
                continue
            self._catch_up(edge, reading, run)
            if reading.ended:
                self._host.end_stream(run.key, edge.port, reading.emitted, reading.broken)

    # -- chunks -------------------------------------------------------------------------------------

    def emit(self, run: Run, width: int, values: list[Value]) -> None:
        """Hand new chunks of a run on to all that read it; ``values`` holds them row by row."""
        node = run.node
        excess = max(0, run.emitted - run.credit) if node.spec.kind == "stream" else 0
        readings = [(edge, edge.readings[run.number]) for edge in node.streams_out]
        lags = any(_lags(edge, reading) for edge, reading in readings)
        if lags or (readings and readings[0][1].log.keepers):
            self._keep(run, readings[0][1].log, width, values, is_needed=lags)
        elif readings:
            readings[0][1].log.skip(len(values) // width)
        for edge, reading in readings:
            edge.excess = max(edge.excess, excess)
            if reading.live:
                column = values if width == 1 else values[edge.spec.output :: width]
                self._hand_on(edge, reading, column)

    def _keep(
        self, run: Run, log: ChunkLog, width: int, values: list[Value], *, is_needed: bool
    ) -> None:
        """Put chunks into the log: ``is_needed`` by a reader, or only where something is tried again."""
        try:
            log.append(values, width)
        except SpillError as error:
            if not is_needed:
                log.give_up()
                return
            spec, what = run.node.spec, "its chunks cannot be kept until they are read"
            raise NodeError(spec.name, spec.place, run.number, what, str(error)) from error

    def _hand_on(self, edge: StreamEdge, reading: Reading, values: list[Value]) -> None:
        lags = _lags(edge, reading)
        reading.emitted += len(values)
        edge.untaken += len(values)
        reader = reading.run
        if reader is None:
            self._note_come(edge, reading)
        elif reader.node.spec.kind == "map":
            self.maps.append(reader.node)
        elif lags:
            self._catch_up(edge, reading, reader)
        else:
            first, reading.delivered = reading.delivered, reading.emitted
            self._host.deliver(reader.key, edge.port, first, values)
        self._stop_waiting(edge, reading)

    def _catch_up(self, edge: StreamEdge, reading: Reading, reader: Run) -> None:
        """Deliver the next batch of what waits in the log, if the one before is taken."""
        if reading.seen < reading.delivered or reading.delivered == reading.emitted:
            return
        first = reading.delivered
        values = self.read_log(edge, reading, reading.emitted)
        self._host.deliver(reader.key, edge.port, first, values)

    def read_log(self, edge: StreamEdge, reading: Reading, upto: int) -> list[Value]:
        """The next chunks for a reader from the log, before ``upto``; now they are delivered."""
        values = reading.log.read(reading.delivered, upto, edge.spec.output)
        reading.delivered += len(values)
        _forget_delivered(reading)
        return values

    def end(self, run: Run, broken: Broken | None = None) -> None:
        """The run emits nothing more: its readers come to the end after what they have yet to take.

        To readers of a run that has ``broken`` off, the end is an error.
        """
        if run.node.streams_out and _is_replayed(run):
            _lose_keeper(run.node.streams_out[0].readings[run.number])
        for edge in run.node.streams_out:
            reading = edge.readings[run.number]
            reading.ended = True
            reading.broken = broken
            if not reading.emitted:
                reading.void = run.void
            if not reading.live:
                if reading.is_left:
                    self.drop(edge, reading)
                continue
            reader = reading.run
            if not reading.emitted:
                edge.untaken += reading.untaken
            self._note_come(edge, reading)
            if reader is None:
                continue
            if self._watcher is not None:
                self._watcher.stream_ended(edge, broken)
            if reader.node.spec.kind == "map":
                self.maps.append(reader.node)
            else:
                self._host.end_stream(reader.key, edge.port, reading.emitted, broken)
            self._stop_waiting(edge, reading)

    def _note_come(self, edge: StreamEdge, reading: Reading) -> None:
        if not reading.has_come:
            reading.has_come = True
            self._firing.arrive(edge.index)

    # -- reading ------------------------------------------------------------------------------------

    def take(self, edge: StreamEdge, reading: Reading, upto: int) -> None:
        """Barrier 1 counts down: a reader has taken the first ``upto`` chunks."""
        reading.seen = upto
        taken = upto - reading.taken
        if reading.live and taken > 0:
            reading.taken = upto
            edge.untaken -= taken
            if self._watcher is not None:
                self._watcher.took(edge, taken)
            self.look_again(edge.producer)
        reader = reading.run
        if reading.live and reader is not None and reader.node.spec.kind != "map":
            self._catch_up(edge, reading, reader)

    def wait(
        self, run: Run, edge: StreamEdge, reading: Reading, chunk: int, *, resting_on: int = 1
    ) -> None:
        """The reader waits for that chunk; void if it, or the end, was already sent.

        Its body rests if the coordinator too knows of ``resting_on`` waits: else the chunk that ends
        one of them is on its way.
        """
        if reading.ended or not reading.live or reading.emitted > chunk:
            return
        run.waiting[edge.port] = edge
        run.rests = len(run.waiting) == resting_on
        if self._watcher is not None:
            self._watcher.waits(run, edge.port)
        self._progress.note_rest(run.node)
        self.look_again(edge.producer)

    def _stop_waiting(self, edge: StreamEdge, reading: Reading) -> None:
        reader = reading.run
        if reader is not None and reader.waiting.pop(edge.port, None) is not None:
            reader.rests = False
            self._progress.note(reader.node)
            if self._watcher is not None:
                self._watcher.wakes(reader)

    def cancel(self, edge: StreamEdge, reading: Reading) -> None:
        """A reader closes its stream and asks the producer to stop for all (rules 55-60)."""
        if not reading.live or reading.ended:
            return
        reading.closed_at = reading.taken
        producer = edge.producer.run
        assert producer is not None
        assert producer.number == reading.generation
        # Noted first: without a reader, the producer would be taken for one that rests for good.
        if isinstance(producer, MapRun):
            producer.is_cancelled = True
        else:
            producer.cancels_unanswered += 1
        self._detach(edge, reading)
        if producer.cancels_unanswered and producer.replay is None and not producer.is_between_attempts:
            self._host.throw_cancel(producer.key)

    def leave(self, run: Run) -> None:
        """The run has ended: it is detached from what it did not read to the end (rule 51)."""
        for edge in run.node.streams_in:
            reading = edge.reading_of(run)
            if reading is None:
                continue
            if reading.live:
                self._detach(edge, reading)
            _release(reading)
            if reading.ended:
                self.drop(edge, reading)

    # -- a run is tried again -----------------------------------------------------------------------

    def can_rewind(self, run: Run) -> bool:
        """Whether another attempt could have all that the run has read, and be compared with it."""
        readings = [edge.reading_of(run) for edge in run.node.streams_in]
        log = self.log_of(run) if run.emitted else None
        logs = [*(reading.log for reading in readings if reading is not None), log]
        return run.node.spec.kind == "map" or all(log.is_whole for log in logs if log is not None)

    def log_of(self, run: Run) -> ChunkLog | None:
        """The log of the run's chunks; None where nobody is connected."""
        edges = run.node.streams_out
        return edges[0].readings[run.number].log if edges else None

    def rewind(self, run: Run) -> None:
        """The run's next attempt has read nothing yet."""
        for edge in run.node.streams_in:
            reading = edge.reading_of(run)
            if reading is not None:
                reading.delivered = reading.seen = 0

    def _hand_on_closed(self, edge: StreamEdge, reading: Reading, run: Run) -> None:
        """An earlier attempt had cancelled the stream: this one gets as much, and does so too."""
        while reading.delivered < reading.closed_at:
            first = reading.delivered
            values = self.read_log(edge, reading, reading.closed_at)
            self._host.deliver(run.key, edge.port, first, values)
        self._host.end_stream(run.key, edge.port, reading.closed_at)

    # -- who has left -------------------------------------------------------------------------------

    def close(self, node: Node) -> None:
        """The node never runs again: it is detached from all that it has not read."""
        for edge in node.streams_in:
            for reading in list(edge.readings.values()):
                if reading.live:
                    self._detach(edge, reading)
                _release(reading)
                if reading.ended:
                    self.drop(edge, reading)

    def _detach(self, edge: StreamEdge, reading: Reading) -> None:
        if self._watcher is not None and reading.run is not None and not reading.ended:
            self._watcher.stream_ended(edge, None)
        reading.live = False
        edge.untaken -= reading.untaken
        _forget_delivered(reading)
        self._stop_waiting(edge, reading)
        self.look_again(edge.producer)

    def drop(self, edge: StreamEdge, reading: Reading) -> None:
        """Producer and reader are both done with it."""
        _release(reading)
        del edge.readings[reading.generation]
        reading.siblings.remove(reading)
        if not reading.siblings:
            reading.log.close()

    # -- gates --------------------------------------------------------------------------------------

    def look_again(self, producer: Node) -> None:
        """Something that may hold a producer back has changed."""
        if producer.run is None:
            self._firing.retry(producer.index)
        elif producer.spec.kind == "map":
            self.maps.append(producer)
        else:
            self.open_gate(producer)

    def open_gate(self, node: Node) -> None:
        """Let a generator go on if rule 50 allows it; note if it rests at its gate."""
        run = node.run
        if run is None or run.held is not None or node.spec.kind != "stream":
            return
        if run.replay is not None or run.is_between_attempts:
            return
        allowance = self.allowance(node)
        gain = allowance - max(run.credit, run.emitted)
        # Renewed when the producer stands still, or else by half a window at a time: a message for
        # each chunk read would cost more than small chunks do.
        if gain > 0 and (run.emitted >= run.credit or gain * 2 >= allowance - run.emitted):
            run.credit = allowance
            self._host.produce(run.key, allowance)
        self.note_rest(node)
        if self._watcher is not None:
            if gate.rests_at_gate(node):
                self._watcher.waits_at_gate(run)
            else:
                self._watcher.passes_gate(run)

    def note_rest(self, node: Node) -> None:
        """The node may rest at its gate; if for good, nothing that it reads may wait for it."""
        self._progress.note_rest(node)
        if node.streams_in and not node.progresses and gate.is_parked(node, self._is_wanted):
            self._progress.suspect_upstream(node)

    def _is_wanted(self, node: Node) -> bool:
        return self._firing.is_wanted(node.index)

    def allowance(self, node: Node) -> int:
        """How many chunks the node's run may have emitted in all (rule 50)."""
        return gate.allowance(node, is_wanted_again=self._is_wanted(node))


def _lags(edge: StreamEdge, reading: Reading) -> bool:
    """Whether a reading's next chunks go through the log: its reader cannot just be given them."""
    reader = reading.run
    if not reading.live:
        return False
    if reader is None or reader.node.spec.kind == "map":
        return True
    return edge.is_widened or reading.delivered < reading.emitted


def _release(reading: Reading) -> None:
    """Its reader's run is over, and will not be tried again."""
    if reading.keeps:
        reading.keeps = False
        _lose_keeper(reading)


def _lose_keeper(reading: Reading) -> None:
    log = reading.log
    if log.keepers:  # it has none any more where it was given up
        log.keepers -= 1
        _forget_delivered(reading)


def _is_replayed(run: Run) -> bool:
    """Whether the run may be tried again, and what it has emitted compared."""
    return run.node.spec.kind == "stream" and keeps_inputs(run.node.spec)


def _forget_delivered(reading: Reading) -> None:
    log = reading.log
    upto = log.count
    for other in reversed(reading.siblings):  # as in gate.allowance
        if upto <= log.first:
            return
        if other.live:
            upto = min(upto, other.delivered)
    log.forget(upto)
