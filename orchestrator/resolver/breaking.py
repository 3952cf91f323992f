"""Breaking the cycles of components one node after the other, without searching them again each time.

Theory of operation. In each component begins the first-created node that is *able*: every input that
the component feeds it has a default. It is taken out, and what remains may fall apart into components
that are treated likewise. Ability is never lost, so a count of the inputs without default and a heap
per component find the next node. Whether the component falls apart is told by two trees from one of
its nodes, the *root*: of the nodes it reaches, and of those that reach it. When a node is taken out,
only those above it in a tree are looked at; what a tree cannot take back is in the component no more.

The trees prefer paths through nodes that are taken out late. Which these are is *forecast*: the order
in which the members would begin if none of them broke off (Kahn 1962, Comm. ACM 5:558, the
first-created of those that could be next). A node's *width* is the earliest turn on its path, and each
path is as wide as can be (Pollack 1960, Oper. Res. 8:733). As far as the forecast holds, those above a
node that is taken out are exactly those that the root loses, so each node moves a few times in all; what
is delayed does not depend on it. The root is from the middle, so that pieces that break off tend to be
small.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol, TypeAlias

from orchestrator.resolver.condensation import strongly_connected
from orchestrator.resolver.feedback import feedback_edges

Neighbours: TypeAlias = Mapping[int, Sequence[int]]


class Edge(Protocol):
    """A connected input: ``producer`` feeds ``consumer``, which may have a default for it."""

    @property
    def producer(self) -> int: ...
    @property
    def consumer(self) -> int: ...
    @property
    def has_default(self) -> bool: ...


class Breaking:
    """One graph while its cycles are broken.

    ``delayed`` holds the inputs, by index, that are left to their defaults; ``is_stuck`` tells that
    there are cycles that no node can begin.
    """

    def __init__(self, edges: Sequence[Edge]) -> None:
        self.delayed: set[int] = set()
        self.is_stuck = False
        self._edges = edges
        self._inputs: defaultdict[int, list[int]] = defaultdict(list)
        self._outputs: defaultdict[int, list[int]] = defaultdict(list)
        self._producers: defaultdict[int, list[int]] = defaultdict(list)
        self._consumers: defaultdict[int, list[int]] = defaultdict(list)
        for index, edge in enumerate(edges):
            self._inputs[edge.consumer].append(index)
            self._outputs[edge.producer].append(index)
            self._producers[edge.consumer].append(edge.producer)
            self._consumers[edge.producer].append(edge.consumer)
        self._component: dict[int, _Component] = {}  # of the nodes that still lie on cycles
        self._lacking: dict[int, int] = {}  # how many inputs from its component have no default

    def run(self) -> None:
        """Break every cycle that some node can begin; those that none can are left."""
        waiting = self._components(sorted(self._inputs))
        while waiting:
            component = waiting.pop()
            while component.able:
                node = heapq.heappop(component.able)
                if self._component.get(node) is not component:
                    continue
                waiting += self._begin(node, component)
                if not component.lacking:
                    self._break_freely(component)
            self.is_stuck |= component.lacking > 0

    # -- components ---------------------------------------------------------------------------------

    def _components(self, nodes: Iterable[int]) -> list[_Component]:
        """The components that hold cycles among these nodes."""
        part = {node: self._producers[node] for node in nodes}
        found = []
        for members in strongly_connected(part):
            if len(members) > 1 or members[0] in self._producers[members[0]]:
                component = self._establish(members)
                if component.lacking:
                    found.append(component)
                else:
                    self._break_freely(component)
        return found

    def _establish(self, members: list[int]) -> _Component:
        component = _Component()
        for node in members:
            self._component[node] = component
        for node in members:
            self._lacking[node] = sum(
                not self._edges[index].has_default for index in self._internal(node, component)
            )
            component.lacking += self._lacking[node]
        component.able = [node for node in members if not self._lacking[node]]
        component.plant(self._forecast(members, component), self._producers, self._consumers)
        return component

    def _forecast(self, members: list[int], component: _Component) -> dict[int, int]:
        """The turn of each member, in that order, if the component did not fall apart."""
        lacking = {node: self._lacking[node] for node in members}
        able = component.able.copy()
        turns: dict[int, int] = {}
        while able:
            node = heapq.heappop(able)
            turns[node] = len(turns)
            for consumer in self._waiting_for(node, component):
                lacking[consumer] -= 1
                if not lacking[consumer]:
                    heapq.heappush(able, consumer)
        for node in members:
            turns.setdefault(node, len(turns))  # one that never can begin
        return turns

    def _internal(self, node: int, component: _Component) -> Iterator[int]:
        """The inputs of a node that its component feeds."""
        for index in self._inputs[node]:
            if self._component.get(self._edges[index].producer) is component:
                yield index

    def _waiting_for(self, node: int, component: _Component) -> Iterator[int]:
        """The consumer of each output of a node, in the component, that has no default for it."""
        for index in self._outputs[node]:
            edge = self._edges[index]
            if not edge.has_default and self._component.get(edge.consumer) is component:
                yield edge.consumer

    def _break_freely(self, component: _Component) -> None:
        """Break all cycles of a component in which every node is able."""
        members = sorted(component.reached.nodes())
        internal = [index for node in members for index in self._internal(node, component)]
        ends = [(self._edges[index].producer, self._edges[index].consumer) for index in internal]
        self.delayed.update(internal[position] for position in feedback_edges(members, ends))
        component.able.clear()

    # -- taking a node out ----------------------------------------------------------------------------

    def _begin(self, node: int, component: _Component) -> list[_Component]:
        """Let a node begin, and take it out; returns the components that broke off."""
        self.delayed.update(self._internal(node, component))
        broken_off = component.without(node)
        for other in (node, *broken_off):
            self._leave(other, component)
        return self._components(broken_off)

    def _leave(self, node: int, component: _Component) -> None:
        for index in self._internal(node, component):
            component.lacking -= not self._edges[index].has_default
        del self._component[node]
        for consumer in self._waiting_for(node, component):
            component.lacking -= 1
            self._lacking[consumer] -= 1
            if not self._lacking[consumer]:
                heapq.heappush(component.able, consumer)


class _Component:
    """Nodes that all reach each other.

    ``lacking`` counts the inputs without default inside, ``able`` is a heap of the nodes that have none;
    it may hold nodes that have left.
    """

    reached: _Tree
    _reaching: _Tree

    def __init__(self) -> None:
        self.lacking = 0
        self.able: list[int] = []
        self._root = -1

    def plant(self, turns: Mapping[int, int], producers: Neighbours, consumers: Neighbours) -> None:
        """Grow the trees of its members, ``turns`` by forecast."""
        self._root = list(turns)[len(turns) // 2]
        self.reached = _Tree(self._root, turns, consumers, producers)
        self._reaching = _Tree(self._root, turns, producers, consumers)

    def without(self, node: int) -> list[int]:
        """Take a node out; returns what is no longer part of the component, in ascending order.

        Without its root the component is dissolved: all that remains is returned.
        """
        if node == self._root:
            lost = set(self.reached.nodes()) - {node}
        else:
            lost = self.reached.cut(node) | self._reaching.cut(node)
        self.reached.drop(lost)
        self._reaching.drop(lost)
        return sorted(lost)


class _Tree:
    """The paths from a root to all nodes that it reaches, over ``ahead``; ``behind`` is the reverse.

    ``turns`` holds what is to be reached, with the moment at which each is expected to be taken out.
    """

    def __init__(
        self, root: int, turns: Mapping[int, int], ahead: Neighbours, behind: Neighbours
    ) -> None:
        self._turns = turns
        self._ahead = ahead
        self._behind = behind
        self._below: dict[int, int] = {root: root}  # the next node on the path to the root
        self._above: defaultdict[int, list[int]] = defaultdict(list)  # may hold nodes that have moved
        self._width = {root: turns[root]}
        missing = set(turns) - {root}
        self._grow([self._path(node, root) for node in ahead[root] if node in missing], missing)

    def nodes(self) -> Iterable[int]:
        return self._below.keys()

    def cut(self, node: int) -> set[int]:
        """Take a node out and find other paths to those above it; returns those without any."""
        above = self._all_above(node)
        self.drop((node,))
        loose = [
            self._path(end, other)
            for end in above
            for other in self._behind[end]
            if other in self._below and other not in above
        ]
        self._grow(loose, above)
        return above

    def drop(self, nodes: Iterable[int]) -> None:
        for node in nodes:
            self._below.pop(node, None)
            self._width.pop(node, None)
            self._above.pop(node, None)

    def _all_above(self, node: int) -> set[int]:
        found: set[int] = set()
        todo = [node]
        while todo:
            lower = todo.pop()
            for upper in self._above.get(lower, ()):
                if upper not in found and self._below.get(upper) == lower:
                    found.add(upper)
                    todo.append(upper)
        return found

    def _grow(self, loose: list[tuple[int, int, int]], missing: set[int]) -> None:
        """Take in what is missing, widest path first; ``loose`` holds (-width, node, below it)."""
        heapq.heapify(loose)
        while loose:
            narrow, node, below = heapq.heappop(loose)
            if node not in missing:
                continue
            missing.remove(node)
            self._below[node] = below
            self._above[below].append(node)
            self._width[node] = -narrow
            for other in self._ahead[node]:
                if other in missing:
                    heapq.heappush(loose, self._path(other, node))

    def _path(self, node: int, below: int) -> tuple[int, int, int]:
        return -min(self._width[below], self._turns[node]), node, below
