"""Tells an instrument, in terms of the user's flow, what the machine says in terms of runs and edges."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack

from executor.codec import BY_REFERENCE
from executor.host import Broken
from orchestrator.graph.flow import Flow, nodes_of
from orchestrator.instruments import Data, FlowInstrument, FlowNode
from orchestrator.runtime.machine import FlowMachine
from orchestrator.runtime.outcome import Failure
from orchestrator.runtime.raising import exception_of_failure
from orchestrator.runtime.state import Node, Run, StreamEdge
from orchestrator.runtime.status import NodeStatus, Waiting
from orchestrator.spec import EdgeInput
from protocol.values import Value


class Instrumented:
    """A :class:`~orchestrator.runtime.watching.Watcher` that calls the hooks of one instrument."""

    def __init__(self, instrument: FlowInstrument, flow: Flow) -> None:
        self._instrument = instrument
        self._flow = flow
        self._has_begun = False
        # Nodes that the builder has made come after the user's, and are not told of.
        self._nodes: Sequence[FlowNode] = nodes_of(flow)
        self._statuses: list[NodeStatus] = [Waiting(0)] * len(self._nodes)
        self._visited: set[int] = set()
        self._lifes: dict[tuple[int, int], _Open] = {}  # by node and run level
        self._writes: dict[int, _Open] = {}  # by node
        self._opens = type(instrument).on_node_emitted_data is not FlowInstrument.on_node_emitted_data

    def _knows(self, index: int) -> bool:
        return index < len(self._nodes)

    # -- the run ------------------------------------------------------------------------------------

    def begins(self, machine: FlowMachine) -> None:
        self._machine = machine
        self._has_begun = True
        self._instrument.on_flow_start(self._flow)
        for node in self._nodes:
            self._instrument.on_node_registered(self._flow, node)

    def ends(self) -> None:
        """The run is over: leave what was entered, then say so; nothing of one that did not begin."""
        if not self._has_begun:
            return
        with ExitStack() as stack:
            stack.callback(self._instrument.on_flow_end, self._flow)
            for entered in (*self._writes.values(), *self._lifes.values()):
                stack.push(entered.leave)

    # -- firing -------------------------------------------------------------------------------------

    def queued(self, node: int) -> None:
        if self._knows(node):
            self._instrument.on_resolution_queue_put(self._flow, self._nodes[node])
            self.changed(self._machine.nodes[node])

    def solved(self, head: int, solution: list[int]) -> None:
        if self._knows(head):
            nodes = [self._nodes[index] for index in solution if self._knows(index)]
            self._instrument.on_solving_nodes(self._flow, self._nodes[head], nodes)

    def changed(self, node: Node) -> None:
        if not self._knows(node.index):
            return
        old, new = self._statuses[node.index], self._machine.status_of(node)
        if new != old:
            self._statuses[node.index] = new
            self._instrument.on_node_status_change(self._flow, self._nodes[node.index], old, new)

    # -- runs ---------------------------------------------------------------------------------------

    def started(self, run: Run) -> None:
        index = run.node.index
        if not self._knows(index):
            return
        flow, node, instrument = self._flow, self._nodes[index], self._instrument
        instrument.on_resolution_queue_get(flow, node)
        if index not in self._visited:
            self._visited.add(index)
            instrument.on_node_visited(flow, node)
        defaulted = [
            port.name
            for port in run.node.spec.ports
            if isinstance(port.input, EdgeInput) and run.number < port.input.delay
        ]
        if defaulted:
            instrument.on_defaulted_inputs(flow, node, defaulted)
        for port in run.node.spec.ports:
            if not isinstance(port.input, EdgeInput) or port.name in defaulted:
                continue
            if port.run_level:
                instrument.on_stream_start(flow, node, port.name)
            else:
                instrument.on_barrier_node_read(flow, node, 0)
        self._enter_life(index, 0)
        if run.node.spec.kind != "mono":
            self._enter_life(index, 1)

    def emitted(self, run: Run, values: list[Value]) -> None:
        index = run.node.index
        if not self._knows(index):
            return
        self._leave_life(index, 1)
        self._tell_of_data(index, values or None, 1)
        self._enter_life(index, 1)

    def body_ended(self, run: Run) -> None:
        index = run.node.index
        if self._knows(index):
            self._leave_write(index)
            self._leave_life(index, 1)
            self._leave_life(index, 0)

    def written(self, run: Run, outputs: list[Value] | None) -> None:
        index = run.node.index
        if self._knows(index):
            self._leave_write(index)
            self._tell_of_data(index, outputs, 0)

    def failed(self, run: Run, failure: Failure) -> None:
        if self._knows(run.node.index):
            error = exception_of_failure(failure)
            self._instrument.on_node_error(self._flow, self._nodes[run.node.index], error)

    def reached_limit(self, node: Node, generation: tuple[int, ...]) -> None:
        if self._knows(node.index):
            self._instrument.on_node_generation_limit(self._flow, self._nodes[node.index], generation)

    # -- barriers -----------------------------------------------------------------------------------

    def waits_to_write(self, run: Run) -> None:
        self._enter_write(run.node.index, 0)

    def waits_at_gate(self, run: Run) -> None:
        index = run.node.index
        if self._knows(index) and index not in self._writes:
            self._instrument.on_node_pause(self._flow, self._nodes[index], 1)
            self._enter_write(index, 1)

    def passes_gate(self, run: Run) -> None:
        index = run.node.index
        if index in self._writes:
            self._leave_write(index)
            self._instrument.on_node_resumed(self._flow, self._nodes[index], 1)

    # -- reading ------------------------------------------------------------------------------------

    def waits(self, run: Run, port: int) -> None:
        index = run.node.index
        if self._knows(index):
            name = run.node.spec.ports[port].name
            self._instrument.on_node_stalled(self._flow, self._nodes[index], name)

    def wakes(self, run: Run) -> None:
        if self._knows(run.node.index):
            self._instrument.on_node_resumed(self._flow, self._nodes[run.node.index], 0)

    def took(self, edge: StreamEdge, count: int) -> None:
        index = edge.consumer.index
        if not self._knows(index):
            return
        port = edge.consumer.spec.ports[edge.port].name
        for _ in range(count):
            self._instrument.on_stream_next(self._flow, self._nodes[index], port)
            self._instrument.on_barrier_node_read(self._flow, self._nodes[index], 1)

    def stream_ended(self, edge: StreamEdge, broken: Broken | None) -> None:
        index = edge.consumer.index
        if not self._knows(index):
            return
        port = edge.consumer.spec.ports[edge.port].name
        if broken is None:
            self._instrument.on_stream_end(self._flow, self._nodes[index], port)
        else:
            reason = broken.failure.reason
            self._instrument.on_stream_error(self._flow, self._nodes[index], port, reason)

    # -- what is entered and left ---------------------------------------------------------------------

    def _enter_life(self, index: int, run_level: int) -> None:
        node = self._nodes[index]
        lifecycle = self._instrument.node_lifecycle(self._flow, node, run_level)
        self._lifes[index, run_level] = _Open(lifecycle)

    def _leave_life(self, index: int, run_level: int) -> None:
        entered = self._lifes.pop((index, run_level), None)
        if entered is not None:
            entered.leave()

    def _enter_write(self, index: int, run_level: int) -> None:
        if self._knows(index) and index not in self._writes:
            node = self._nodes[index]
            self._writes[index] = _Open(
                self._instrument.on_barrier_node_write(self._flow, node, run_level)
            )

    def _leave_write(self, index: int) -> None:
        entered = self._writes.pop(index, None)
        if entered is not None:
            entered.leave()

    def _tell_of_data(self, index: int, values: list[Value] | None, run_level: int) -> None:
        data: Data = None
        if self._opens and values is not None:
            data = tuple(BY_REFERENCE.loads(value) for value in values)
        self._instrument.on_node_emitted_data(self._flow, self._nodes[index], data, run_level)


class _Open:
    """A context manager that was entered, to be left once."""

    def __init__(self, manager: AbstractContextManager[object]) -> None:
        self._manager = manager
        manager.__enter__()

    def leave(self, *_: object) -> None:
        self._manager.__exit__(None, None, None)
