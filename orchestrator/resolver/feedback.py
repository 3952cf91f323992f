"""Breaking all cycles of a component at once, where any of its nodes could begin one.

Theory of operation. If every input has a default, cycles are begun in order of creation: node v begins
one if it still lies on a cycle when all before it have had their turn, that is, among the nodes from v
on. So add the nodes one by one, the last-created first: the edge u -> v (u created after v) stays a run
behind if u and v come to share a cycle just when v is added. Taking nodes out one by one instead, as
``plan`` does in general, would search a mesh of n cells n times.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from orchestrator.resolver.condensation import strongly_connected

Edge: TypeAlias = tuple[int, int]
"""Producer and consumer."""


def feedback_edges(members: Sequence[int], edges: Sequence[Edge]) -> list[int]:
    """The edges, by index, that stay behind when members begin in ascending order.

    Finds when the ends of each edge come to share a component, by divide and conquer over the moments
    at which nodes are added: O(edges * log(members)) searches of single edges.
    """
    moment = {node: index for index, node in enumerate(reversed(members))}
    never = len(members)
    added = [max(moment[producer], moment[consumer]) for producer, consumer in edges]
    joined = _Classes()
    behind = []
    # Invariant: at the top of the stack, ``joined`` holds what shares a component before ``first``, and
    # the ends of the edges come to share one at a moment from ``first`` to ``last``.
    stack = [(0, never, list(range(len(edges))))]
    while stack:
        first, last, part = stack.pop()
        if first == last:
            for index in part if first < never else ():
                producer, consumer = edges[index]
                joined.union(producer, consumer)
                if producer >= consumer and added[index] == first:
                    behind.append(index)
        elif part:
            middle = (first + last) // 2
            early, late = _divide(part, edges, added, middle, joined)
            stack += [(middle + 1, last, late), (first, middle, early)]
    return behind


def _divide(
    part: list[int], edges: Sequence[Edge], added: Sequence[int], moment: int, joined: _Classes
) -> tuple[list[int], list[int]]:
    """The edges whose ends share a component at a moment, and the others."""
    graph: dict[int, list[int]] = {}
    for index in part:
        if added[index] <= moment:
            producer, consumer = edges[index]
            graph.setdefault(joined.find(producer), [])
            graph.setdefault(joined.find(consumer), []).append(joined.find(producer))
    component = {
        node: number for number, nodes in enumerate(strongly_connected(graph)) for node in nodes
    }
    early: list[int] = []
    late: list[int] = []
    for index in part:
        producer, consumer = edges[index]
        shares = added[index] <= moment and (
            component[joined.find(producer)] == component[joined.find(consumer)]
        )
        (early if shares else late).append(index)
    return early, late


class _Classes:
    """Disjoint sets of nodes, with path halving (Tarjan & van Leeuwen 1984)."""

    def __init__(self) -> None:
        self._parent: dict[int, int] = {}

    def find(self, node: int) -> int:
        parent = self._parent
        while (above := parent.get(node, node)) != node:
            parent[node] = node = parent.get(above, above)
        return node

    def union(self, one: int, other: int) -> None:
        one, other = self.find(one), self.find(other)
        if one != other:
            self._parent[max(one, other)] = min(one, other)
