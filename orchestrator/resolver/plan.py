"""Where cycles are broken: the delay of every edge, fixed before anything runs (SEMANTICS A3, 19-32).

Theory of operation. Nodes that lie on common cycles wait for each other, so one of them must begin on
its defaults: the first-created one that has a default wherever the cycle feeds it. Those of its inputs
then stay one generation behind for good (delay 1), which takes the node out of the component; what
remains of it may still hold cycles and is looked at again. Everything else has delay 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from orchestrator.resolver.condensation import strongly_connected
from orchestrator.resolver.feedback import feedback_edges


class Dependency(NamedTuple):
    """A connected input: nodes are numbers, in order of creation."""

    producer: int
    consumer: int
    has_default: bool


@dataclass(frozen=True, slots=True)
class Stuck:
    """A node that could not begin a cycle: the edges (by index) that would need a default."""

    node: int
    edges: tuple[int, ...]


class UnbreakableCycle(Exception):  # noqa: N818 - a finding that the caller turns into the user's error
    """No member of a cycle has defaults for all that the cycle feeds it; ``args`` is the members."""

    def __init__(self, members: tuple[Stuck, ...]) -> None:
        super().__init__(members)
        self.members = members


def edge_delays(nodes: int, edges: Sequence[Dependency]) -> list[int]:
    """The delay of each edge, 0 or 1, in the order given.

    Near-linear, but for a large component that lacks some defaults and still takes many nodes to break:
    that is searched once for each of them.

    Raises:
        UnbreakableCycle: for the first component, in order of dependency, that cannot begin.
    """
    graph = _Graph(nodes, edges)
    delays = [0] * len(edges)
    cycles = list(graph.cycles(range(nodes)))
    while cycles:
        members = cycles.pop()
        internal = graph.internal_edges(members)
        indices = [index for node in members for index in internal[node]]
        if all(edges[index].has_default for index in indices):
            ends = [(edges[index].producer, edges[index].consumer) for index in indices]
            for position in feedback_edges(members, ends):
                delays[indices[position]] = 1
            continue
        chosen = _choose(members, internal, edges)
        for index in internal[chosen]:
            delays[index] = 1
        cycles.extend(graph.cycles(node for node in members if node != chosen))
    return delays


def _choose(
    members: Sequence[int], internal: Mapping[int, Sequence[int]], edges: Sequence[Dependency]
) -> int:
    """The member that begins: the first-created one with every default it needs (rules 29-31)."""
    for node in members:
        if all(edges[index].has_default for index in internal[node]):
            return node
    raise UnbreakableCycle(
        tuple(
            Stuck(node, tuple(index for index in internal[node] if not edges[index].has_default))
            for node in members
        )
    )


class _Graph:
    def __init__(self, nodes: int, edges: Sequence[Dependency]) -> None:
        self._edges = edges
        self._inputs: list[list[int]] = [[] for _ in range(nodes)]
        self._producers: list[list[int]] = [[] for _ in range(nodes)]
        for index, edge in enumerate(edges):
            self._inputs[edge.consumer].append(index)
            self._producers[edge.consumer].append(edge.producer)

    def cycles(self, nodes: Iterable[int]) -> Iterator[list[int]]:
        """The components among these nodes that hold a cycle; the last one depends on no other."""
        part = {node: self._producers[node] for node in nodes}
        for component in reversed(strongly_connected(part)):
            if len(component) > 1 or component[0] in self._producers[component[0]]:
                yield component

    def internal_edges(self, component: Sequence[int]) -> dict[int, list[int]]:
        """For each member the edges that come from a member, by index."""
        members = frozenset(component)
        return {
            node: [index for index in self._inputs[node] if self._edges[index].producer in members]
            for node in component
        }
