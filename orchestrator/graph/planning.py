"""The plan of a graph: which inputs stay one generation behind, so that its cycles can turn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from orchestrator.errors import FlowDefinitionError, MissingDefaultError, MissingDefaults
from orchestrator.graph.finalized import EdgeSource, Graph, GraphNode
from orchestrator.graph.signature import underlined_signature
from orchestrator.resolver.plan import Dependency, UnbreakableCycle, edge_delays


class Plan:
    """The delays of a graph's inputs."""

    def __init__(self, delayed: frozenset[tuple[int, int]]) -> None:
        self._delayed = delayed  # (node, port); all others have delay 0

    def delay(self, node: int, port: int) -> int:
        return int((node, port) in self._delayed)

    def undelayed_edges(self, graph: Graph) -> Iterator[tuple[int, int]]:
        """Producer and consumer of each edge within a generation; they hold no cycle."""
        for node in graph.nodes:
            for port, source in enumerate(node.inputs):
                if type(source) is EdgeSource and (node.number, port) not in self._delayed:
                    yield source.producer, node.number


def plan_graph(graph: Graph) -> Plan:
    """Decide every delay (SEMANTICS A3); the plan is made once and kept with the graph.

    Raises:
        MissingDefaultError: no member of a cycle can begin it on its defaults.
    """
    if graph.plan is None:
        graph.plan = Plan(frozenset(_delayed(graph)) if _has_returns(graph) else frozenset())
    return graph.plan


def _has_returns(graph: Graph) -> bool:
    """Whether any node reads a later one, or itself. Without that there is no cycle."""
    return any(
        type(source) is EdgeSource and source.producer >= node.number
        for node in graph.nodes
        for source in node.inputs
    )


def _delayed(graph: Graph) -> Iterator[tuple[int, int]]:
    """The inputs, by node and port, that stay one generation behind."""
    inputs: list[tuple[int, int]] = []
    edges: list[Dependency] = []
    for node in graph.nodes:
        for index, source in enumerate(node.inputs):
            if type(source) is EdgeSource:
                inputs.append((node.number, index))
                edges.append(Dependency(source.producer, node.number, node.ports[index].has_default))
    try:
        delays = edge_delays(len(graph.nodes), edges)
    except UnbreakableCycle as cycle:
        stuck: dict[int, list[int]] = defaultdict(list)
        for member in cycle.members:
            stuck[member.node] = [inputs[edge][1] for edge in member.edges]
        raise _missing_default(graph, stuck) from None
    return (input_ for input_, delay in zip(inputs, delays, strict=True) if delay)


def _missing_default(graph: Graph, stuck: dict[int, list[int]]) -> Exception:
    """The user's error; ``stuck`` holds for each member the ports that would need a default."""
    blocks = []
    parameters = 0
    for number, ports in stuck.items():
        node = graph.nodes[number]
        if not _can_begin(node, ports):
            continue
        blocks.append(_block(node, [node.ports[port].name for port in ports]))
        parameters += len(ports)
    if not blocks:
        members = ", ".join(
            graph.nodes[number].label for number in stuck if not graph.nodes[number].hidden
        )
        problem = (
            f"a cycle that cannot begin: {members}. A map cannot begin a cycle with a default, "
            "because it needs a stream: let the cycle pass through a node with a default"
        )
        return FlowDefinitionError((problem,))
    return MissingDefaultError(tuple(blocks), parameters)


def _can_begin(node: GraphNode, lacking: list[int]) -> bool:
    """Whether defaults would help: not for the elements of a map, nor for what a user cannot edit."""
    return not node.hidden and not (node.kind == "map" and 0 in lacking)


def _block(node: GraphNode, parameters: list[str]) -> MissingDefaults:
    called = node.name if node.name == node.instance else f"{node.name} = {node.instance}"
    signature = underlined_signature(node.template, parameters)
    return MissingDefaults(called, node.template.place, signature)
