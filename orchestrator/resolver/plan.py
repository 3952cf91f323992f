"""Where cycles are broken: the delay of every edge, fixed before anything runs (SEMANTICS A3, 19-32).

Theory of operation. Nodes that lie on common cycles wait for each other, so one of them must begin on
its defaults: the first-created one that has a default wherever the cycle feeds it. Those of its inputs
then stay one generation behind for good (delay 1), which takes the node out of the component; what
remains of it may still hold cycles and is looked at again. Everything else has delay 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from orchestrator.resolver.breaking import Breaking
from orchestrator.resolver.condensation import strongly_connected


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

    Linear for a graph without cycles. A component with cycles takes O(edges log(nodes)) where every port
    has a default; elsewhere it depends on how it falls apart (:mod:`orchestrator.resolver.breaking`).

    Raises:
        UnbreakableCycle: for the first component, in order of dependency, that cannot begin.
    """
    delays = [0] * len(edges)
    inside = _within_returns(nodes, edges)
    kept = [index for index, edge in enumerate(edges) if inside[edge.producer] and inside[edge.consumer]]
    if kept:
        breaking = Breaking([edges[index] for index in kept])
        breaking.run()
        if breaking.is_stuck:
            raise UnbreakableCycle(_first_stuck(edges, {kept[index] for index in breaking.delayed}))
        for index in breaking.delayed:
            delays[kept[index]] = 1
    return delays


def _within_returns(nodes: int, edges: Iterable[Dependency]) -> list[int]:
    """For each node, how many edges lead from it or a later node back to it or an earlier one.

    A cycle that goes on from node n to a later one must come back past n, so where there is none
    there is no cycle. Most flows are written almost in order of dependency.
    """
    changes = [0] * (nodes + 1)
    for producer, consumer, _ in edges:
        if producer >= consumer:
            changes[consumer] += 1
            changes[producer + 1] -= 1
    return list(accumulate(changes))


def _first_stuck(edges: Sequence[Dependency], delayed: Collection[int]) -> tuple[Stuck, ...]:
    """The members of the first cycle that is left, in order of dependency (rule 31)."""
    inputs: defaultdict[int, list[int]] = defaultdict(list)
    for index, edge in enumerate(edges):
        if index not in delayed:
            inputs[edge.consumer].append(index)
    producers = {node: [edges[index].producer for index in inputs[node]] for node in inputs}
    members = next(
        component
        for component in strongly_connected(producers)
        if len(component) > 1 or component[0] in producers[component[0]]
    )
    cycle = frozenset(members)
    return tuple(
        Stuck(
            node,
            tuple(
                index
                for index in inputs[node]
                if edges[index].producer in cycle and not edges[index].has_default
            ),
        )
        for node in members
    )
