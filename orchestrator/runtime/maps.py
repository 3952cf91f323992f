"""Parallel map: elements out to any free worker, results back in order (SEMANTICS A8).

Theory of operation. A map has no body of its own. Its run takes chunks of its source stream and has each
evaluated by an invocation of its own, at most ``ahead`` of them beyond what it has settled, and emits
the results as its own chunks, in order and under its readers' window. An element whose body returned
SKIP is left out. The machine pumps a map after each change that concerns it.
"""

from __future__ import annotations

from typing import Protocol

from executor.host import Host, Input
from orchestrator.runtime.outcome import Failure, NodeFailed
from orchestrator.runtime.progress import Progress
from orchestrator.runtime.state import Element, Flight, MapRun, Node, Reading, Run, StreamEdge, Void
from orchestrator.runtime.streams import Streams
from protocol.messages import (
    UNLIMITED,
    Absence,
    AttemptKey,
    ErrorReport,
    Fault,
    Missing,
)
from protocol.values import Value


class Machine(Protocol):
    """What maps need of the flow machine."""

    def invoke(self, node: Node, key: AttemptKey, inputs: list[Input], credit: int) -> None: ...

    def emit(self, run: Run, count: int, width: int, values: list[Value]) -> bool: ...

    def fail(self, run: Run, failure: Failure) -> None: ...

    def end_run(self, run: Run, outputs: list[Value] | None) -> None: ...

    def end_unrun(self, run: Run, void: Void) -> None: ...


class Maps:
    """All maps of one flow run."""

    def __init__(self, machine: Machine, host: Host, streams: Streams, progress: Progress) -> None:
        self._machine = machine
        self._host = host
        self._streams = streams
        self._progress = progress

    def pump(self, node: Node) -> None:
        """Emit and dispatch as far as allowed, and end the run if that was all."""
        run = node.run
        if not isinstance(run, MapRun) or run.held is not None:
            return
        source = _source_of(run)
        if run.is_cancelled:
            self._cancel(run, source)
            return
        if not self._emit_results(run):
            return
        if source is not None:
            self._dispatch(run, *source)
        if _is_over(run, source):
            self._end(run, source)
            return
        if source is not None and not run.waiting and _wants_element(run, source[1]):
            self._streams.wait(run, *source, run.dispatched)
        self._streams.note_rest(node)

    def end_element(self, run: MapRun, key: AttemptKey, element: Element) -> None:
        """An element's invocation has ended; its result waits for its turn."""
        del run.in_flight[key.element]
        run.elements[key.element] = element
        self._streams.maps.append(run.node)
        self._progress.note(run.node)

    def recall(self, run: MapRun) -> None:
        """Recall what has not begun; what runs may end, and nobody hears of it."""
        for flight in run.in_flight.values():
            self._host.recall(flight.key)
        run.in_flight.clear()
        run.elements.clear()

    def _emit_results(self, run: MapRun) -> bool:
        """Emit what is next in order; False if that ended the run, or the flow."""
        allowance = self._streams.allowance(run.node)
        while (element := run.elements.get(run.settled)) is not None:
            if element.outputs is None:
                self._fail(run, element)
                return False
            if run.emitted >= allowance and not element.is_left_out:
                break
            del run.elements[run.settled]
            run.settled += 1
            outputs = element.outputs
            if not element.is_left_out and not self._machine.emit(run, 1, len(outputs), outputs):
                return False
        return True

    def _dispatch(self, run: MapRun, edge: StreamEdge, reading: Reading) -> None:
        while reading.delivered < reading.emitted and _has_room(run):
            element = run.dispatched
            run.dispatched += 1
            key = AttemptKey(run.key.run, run.key.node, run.number, element)
            inputs = [*self._streams.read_log(edge, reading, element + 1), *run.inputs[1:]]
            run.in_flight[element] = Flight(key, inputs)
            self._machine.invoke(run.node, key, inputs, UNLIMITED)
        # An element is taken when it is dispatched.
        self._streams.take(edge, reading, run.dispatched)

    def _fail(self, run: MapRun, element: Element) -> None:
        """The next element in order failed: so does the map."""
        assert element.failure is not None
        key = AttemptKey(run.key.run, run.key.node, run.number, run.settled)
        self._machine.fail(run, NodeFailed(run.node.name, run.node.spec.place, key, *element.failure))

    def _end(self, run: MapRun, source: tuple[StreamEdge, Reading] | None) -> None:
        if source is not None and source[1].broken is not None:
            self._machine.end_unrun(run, Void.FAILED)
        else:
            self._machine.end_run(run, None)

    def _cancel(self, run: MapRun, source: tuple[StreamEdge, Reading] | None) -> None:
        self.recall(run)
        if source is not None:
            self._streams.cancel(*source)
        self._machine.end_run(run, None)


def result_of(outputs: list[Value], missing: Missing | None) -> Element:
    """What became of an element whose body ended by itself; one that returned SKIP is left out."""
    if missing is None or missing.absence is Absence.SKIP:
        return Element(outputs, is_left_out=missing is not None)
    text = f"an element has no value: {missing.reason}; a body leaves one out by returning SKIP"
    return Element(None, (ErrorReport(Fault.SHAPE, "ValueError", text, text), None))


def _source_of(run: MapRun) -> tuple[StreamEdge, Reading] | None:
    """The stream the map reads; None in a run that has its port's default instead."""
    edge = run.node.streams_in[0]
    reading = edge.reading_of(run)
    return None if reading is None else (edge, reading)


def _is_over(run: MapRun, source: tuple[StreamEdge, Reading] | None) -> bool:
    """Whether all elements there will be were settled."""
    return source is None or (source[1].ended and run.settled == source[1].emitted)


def _wants_element(run: MapRun, reading: Reading) -> bool:
    """Whether the map stands ready to take a chunk that does not exist yet."""
    return _has_room(run) and not reading.ended and run.dispatched >= reading.emitted


def _has_room(run: MapRun) -> bool:
    return run.dispatched - run.settled < run.node.spec.ahead
