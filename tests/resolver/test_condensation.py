"""Condensation, against a naive oracle and on graphs that break recursion and path enumeration (B20)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.resolver.condensation import strongly_connected


@st.composite
def graphs(draw: st.DrawFn) -> dict[int, list[int]]:
    nodes = draw(st.integers(0, 12))
    if nodes == 0:
        return {}
    edges = draw(st.lists(st.tuples(st.integers(0, nodes - 1), st.integers(0, nodes - 1)), max_size=40))
    return {node: [b for a, b in edges if a == node] for node in range(nodes)}


def reachable(graph: dict[int, list[int]], start: int) -> set[int]:
    seen = {start}
    todo = [start]
    while todo:
        for other in graph.get(todo.pop(), []):
            if other not in seen:
                seen.add(other)
                todo.append(other)
    return seen


@given(graphs())
def test_nodes_share_a_component_if_and_only_if_they_reach_each_other(
    graph: dict[int, list[int]],
) -> None:
    reach = {node: reachable(graph, node) for node in graph}
    expected = {frozenset(b for b in reach[a] if a in reach[b]) for a in graph}
    components = strongly_connected(graph)
    assert {frozenset(component) for component in components} == expected
    assert sorted(node for component in components for node in component) == sorted(graph)
    assert all(component == sorted(component) for component in components)


@given(graphs())
def test_dependencies_come_first(graph: dict[int, list[int]]) -> None:
    components = strongly_connected(graph)
    place = {node: index for index, component in enumerate(components) for node in component}
    assert all(place[b] <= place[a] for a, dependencies in graph.items() for b in dependencies)


@given(graphs(), st.data())
def test_dependencies_outside_of_the_mapping_are_ignored(
    graph: dict[int, list[int]], data: st.DataObject
) -> None:
    kept = [node for node in graph if data.draw(st.booleans())]
    part = {node: graph[node] for node in kept}
    cut = {node: [b for b in graph[node] if b in part] for node in kept}
    assert strongly_connected(part) == strongly_connected(cut)


def test_a_chain_of_100000_needs_no_recursion() -> None:
    length = 100_000
    chain = {node: [node + 1] if node + 1 < length else [] for node in range(length)}
    assert strongly_connected(chain) == [[node] for node in reversed(range(length))]


def test_a_ring_of_100000_is_one_component() -> None:
    length = 100_000
    ring = {node: [(node + 1) % length] for node in range(length)}
    assert strongly_connected(ring) == [list(range(length))]


def test_a_thousand_stacked_diamonds_are_searched_once_not_along_each_path() -> None:
    diamonds: dict[int, list[int]] = {0: []}
    for top in range(0, 3_000, 3):
        diamonds |= {top + 1: [top], top + 2: [top], top + 3: [top + 1, top + 2]}
    components = strongly_connected(diamonds)
    assert len(components) == 3_001
    assert all(len(component) == 1 for component in components)
