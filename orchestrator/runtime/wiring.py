"""The nodes of a job and the edges between them, as one flow run has them."""

from __future__ import annotations

from orchestrator.resolver.firing import Link
from orchestrator.runtime.chunk_log import ValueStore
from orchestrator.runtime.job import Job
from orchestrator.runtime.state import Edge, FinalEdge, Node, StreamEdge
from orchestrator.spec import EdgeInput


class Wiring:
    """``nodes`` by number, ``edges`` by index, and ``by_port`` the edge that feeds (node, port)."""

    def __init__(self, job: Job) -> None:
        self.nodes = [
            Node(index, node, job.state_of(index)) for index, node in enumerate(job.spec.nodes)
        ]
        self.edges: list[Edge] = []
        self.by_port: dict[tuple[int, int], Edge] = {}
        self._store = None if job.spill is None else ValueStore(job.spill)
        for node in self.nodes:
            self._connect(node)
        for node in self.nodes:
            node.sole_reads = [e.port for e in node.finals_in if len(e.producer.finals_out) == 1]

    def links(self) -> list[Link]:
        """The edges as far as firing knows them, by index."""
        return [Link(edge.producer.index, edge.consumer.index, edge.spec.delay) for edge in self.edges]

    def _connect(self, node: Node) -> None:
        for port, spec in enumerate(node.spec.ports):
            if not isinstance(spec.input, EdgeInput):
                continue
            producer = self.nodes[spec.input.producer]
            index = len(self.edges)
            edge: Edge
            if spec.run_level == 0:
                edge = FinalEdge(index, producer, node, port, spec.input, store=self._store)
                producer.finals_out.append(edge)
                node.finals_in.append(edge)
            else:
                edge = StreamEdge(index, producer, node, port, spec.input)
                producer.streams_out.append(edge)
                node.streams_in.append(edge)
            self.edges.append(edge)
            self.by_port[node.index, port] = edge
