"""Which nodes of a directed graph lie on common cycles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence


def strongly_connected(dependencies: Mapping[int, Sequence[int]]) -> list[list[int]]:
    """The strongly connected components of a graph, dependencies first; a lone node is a list of one.

    Members of a component are in ascending order. Dependencies that are no keys are ignored, so a
    part of a graph needs no edges taken out. The result depends only on the order of the mapping.

    Iterative form of Tarjan 1972 (SIAM J. Comput. 1:146): O(nodes + edges), no recursion limit.
    """
    search = _Search(dependencies)
    for node in dependencies:
        if node not in search.number:
            search.explore(node)
    return search.components


class _Search:
    """One depth-first search; ``number`` is the order in which nodes were first seen."""

    def __init__(self, dependencies: Mapping[int, Sequence[int]]) -> None:
        self.components: list[list[int]] = []
        self.number: dict[int, int] = {}
        self._dependencies = dependencies
        # The least number that a node is known to reach; once its component is closed, above them all.
        self._reaches: dict[int, int] = {}
        self._closed = len(dependencies)
        self._open: list[int] = []  # seen, and in no component yet

    def explore(self, start: int) -> None:
        number, reaches, dependencies = self.number, self._reaches, self._dependencies
        path: list[tuple[int, Iterator[int]]] = [self._enter(start)]
        while path:
            node, remaining = path[-1]
            for other in remaining:
                if other not in number:
                    if other in dependencies:
                        path.append(self._enter(other))
                        break
                elif reaches[other] < reaches[node]:
                    reaches[node] = reaches[other]
            else:
                path.pop()
                reached = reaches[node]
                if reached == number[node]:
                    self._close(node)
                elif reached < reaches[path[-1][0]]:
                    reaches[path[-1][0]] = reached

    def _enter(self, node: int) -> tuple[int, Iterator[int]]:
        self.number[node] = self._reaches[node] = len(self.number)
        self._open.append(node)
        return node, iter(self._dependencies[node])

    def _close(self, root: int) -> None:
        component = []
        while True:
            member = self._open.pop()
            self._reaches[member] = self._closed
            component.append(member)
            if member == root:
                break
        component.sort()
        self.components.append(component)
