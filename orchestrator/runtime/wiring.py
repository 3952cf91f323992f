"""The nodes of a job and the edges between them, as one flow run has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

from executor.host import Input
from orchestrator.resolver.firing import Link
from orchestrator.runtime.chunk_log import ValueStore
from orchestrator.runtime.job import Job
from orchestrator.runtime.state import Edge, FinalEdge, Node, StreamEdge
from orchestrator.spec import ConstantInput, EdgeInput, ParameterInput, Unconnected
from protocol.messages import DefaultInput, NodeId

DEFAULT: Final = DefaultInput()
E = TypeVar("E", bound=Edge)


class Wiring:
    """``nodes`` by number and ``edges`` by index."""

    def __init__(self, job: Job) -> None:
        self.nodes = [
            Node(NodeId(index), node, job.state_of(index)) for index, node in enumerate(job.spec.nodes)
        ]
        self.edges: list[Edge] = []
        self._constants = job.constants()
        self._parameters = job.parameters
        self._store = None if job.spill is None else ValueStore(job.spill)
        for node in self.nodes:
            self._connect(node)
        for node in self.nodes:
            if node.spec.placement == "process":
                node.sole_reads = [e.port for e in node.finals_in if len(e.producer.finals_out) == 1]

    def links(self) -> list[Link]:
        """The edges as far as firing knows them, by index."""
        return [Link(edge.producer.index, edge.consumer.index, edge.spec.delay) for edge in self.edges]

    def _connect(self, node: Node) -> None:
        node.sources = [
            self._edge(node, index, port.run_level, port.input)
            if isinstance(port.input, EdgeInput)
            else self._input(port.input)
            for index, port in enumerate(node.spec.ports)
        ]

    def _edge(self, node: Node, port: int, run_level: int, given: EdgeInput) -> Edge:
        producer = self.nodes[given.producer]
        index = len(self.edges)
        edge: Edge
        if run_level == 0:
            edge = FinalEdge(index, producer, node, port, given, store=self._store)
            producer.finals_out = _added(producer.finals_out, edge)
            node.finals_in = _added(node.finals_in, edge)
        else:
            edge = StreamEdge(index, producer, node, port, given)
            producer.streams_out = _added(producer.streams_out, edge)
            node.streams_in = _added(node.streams_in, edge)
        self.edges.append(edge)
        return edge

    def _input(self, given: ConstantInput | ParameterInput | Unconnected) -> Input:
        """What a port has in every run."""
        if isinstance(given, ConstantInput):
            return self._constants[given.constant]
        if isinstance(given, ParameterInput):
            return self._parameters[given.parameter]
        return DEFAULT


def _added(edges: Sequence[E], edge: E) -> Sequence[E]:
    """Most nodes have edges of one kind or two: only those get lists."""
    if isinstance(edges, list):
        edges.append(edge)
        return edges
    return [edge]
