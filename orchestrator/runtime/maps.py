"""Parallel map: elements out to any free worker, results back in order (SEMANTICS A8).

A map has no body of its own. Its run takes chunks of its source stream and has each evaluated by an
invocation of its own, at most ``ahead`` of them beyond what it has emitted, and emits the results as
its own chunks, in order and under its readers' window.
"""

from __future__ import annotations

from typing import Protocol

from executor.host import Input
from orchestrator.runtime.state import Element, Node, Reading, Run, StreamEdge
from orchestrator.runtime.streams import Streams
from protocol.messages import UNLIMITED, AttemptKey
from protocol.values import Value


class Machine(Protocol):
    """What pumping a map needs of the flow machine."""

    streams: Streams

    def invoke(self, node: Node, key: AttemptKey, inputs: list[Input], credit: int) -> None: ...

    def emit(self, run: Run, count: int, width: int, values: list[Value]) -> bool: ...

    def fail_element(self, run: Run, element: Element) -> None: ...


def pump(machine: Machine, run: Run) -> bool:
    """Emit and dispatch as far as allowed; False if that ended the flow."""
    if not _emit_results(machine, run):
        return False
    source = source_of(run)
    if source is not None:
        _dispatch_elements(machine, run, *source)
    return True


def source_of(run: Run) -> tuple[StreamEdge, Reading] | None:
    """The stream the map reads; None in a run that has its port's default instead."""
    edge = run.node.streams_in[0]
    reading = edge.reading_of(run)
    return None if reading is None else (edge, reading)


def is_over(run: Run) -> bool:
    """Whether all elements there will be were emitted."""
    source = source_of(run)
    return source is None or (source[1].ended and run.emitted == source[1].emitted)


def wants_element(run: Run, reading: Reading) -> bool:
    """Whether the map stands ready to take a chunk that does not exist yet."""
    return _has_room(run) and not reading.ended and run.dispatched >= reading.emitted


def _emit_results(machine: Machine, run: Run) -> bool:
    allowance = machine.streams.allowance(run.node)
    while (element := run.elements.get(run.emitted)) is not None:
        if element.outputs is None:
            machine.fail_element(run, element)
            return False
        if run.emitted >= allowance:
            break
        del run.elements[run.emitted]
        if not machine.emit(run, 1, len(element.outputs), element.outputs):
            return False
    return True


def _dispatch_elements(machine: Machine, run: Run, edge: StreamEdge, reading: Reading) -> None:
    while reading.buffer and _has_room(run):
        element = run.dispatched
        run.dispatched += 1
        key = AttemptKey(run.key.run, run.key.node, run.number, element)
        run.in_flight[element] = key
        machine.invoke(run.node, key, [reading.buffer.popleft(), *run.inputs[1:]], UNLIMITED)
    # An element is taken when it is dispatched.
    machine.streams.take(edge, reading, run.dispatched)


def _has_room(run: Run) -> bool:
    return run.dispatched - run.emitted < run.node.spec.ahead
