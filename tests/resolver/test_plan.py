"""Where cycles are broken (SEMANTICS A3, 19-32), against the rules played out step by step."""

from __future__ import annotations

import heapq
import random
import time
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.resolver.condensation import strongly_connected
from orchestrator.resolver.plan import Dependency, Stuck, UnbreakableCycle, edge_delays


def edges(*given: tuple[int, int] | tuple[int, int, str]) -> list[Dependency]:
    """``(producer, consumer)``, or ``(producer, consumer, "default")``."""
    return [Dependency(edge[0], edge[1], len(edge) == 3) for edge in given]


def test_a_graph_without_cycles_has_no_delays_whatever_its_defaults_rule_26() -> None:
    assert edge_delays(4, edges((0, 1, "default"), (0, 2), (1, 3), (2, 3, "default"))) == [0] * 4


def test_a_cycle_is_broken_where_it_has_a_default_rule_29() -> None:
    assert edge_delays(3, edges((0, 1), (1, 2, "default"), (2, 0))) == [0, 1, 0]


def test_the_first_created_of_several_candidates_begins_rule_30() -> None:
    assert edge_delays(2, edges((1, 0, "default"), (0, 1, "default"))) == [1, 0]


def test_a_node_that_feeds_itself_reads_its_run_before_rule_21() -> None:
    assert edge_delays(1, edges((0, 0, "default"))) == [1]


def test_only_internal_edges_of_the_beginning_node_are_delayed_rule_21() -> None:
    # 0 feeds the cycle from outside, through a port that has a default as well.
    assert edge_delays(3, edges((0, 1, "default"), (2, 1, "default"), (1, 2))) == [0, 1, 0]


def test_every_internal_port_of_the_beginning_node_needs_a_default_rule_29() -> None:
    # 0 is fed by 1 and by 2 and lacks a default for 2, so 1 begins; that breaks both cycles.
    assert edge_delays(3, edges((1, 0, "default"), (2, 0), (0, 1, "default"), (1, 2))) == [0, 0, 1, 0]


def test_what_remains_of_a_broken_component_may_hold_another_cycle() -> None:
    # 0 <-> 1 and 1 <-> 2: once 0 has begun, 1 and 2 still wait for each other.
    given = edges((1, 0, "default"), (0, 1), (2, 1), (1, 2, "default"))
    assert edge_delays(3, given) == [1, 0, 0, 1]


def test_a_port_from_a_node_that_began_before_needs_no_default_any_more() -> None:
    # 1 has a default for 2 only; it can begin 1 <-> 2 because 0 has begun the larger cycle.
    given = edges((2, 0, "default"), (0, 1), (2, 1, "default"), (1, 2))
    assert edge_delays(3, given) == [1, 0, 1, 0]


def test_two_edges_between_the_same_nodes_are_judged_one_by_one() -> None:
    with pytest.raises(UnbreakableCycle) as caught:
        edge_delays(2, edges((0, 1), (1, 0, "default"), (1, 0)))
    assert caught.value.members == (Stuck(0, (2,)), Stuck(1, (0,)))


def test_a_cycle_without_defaults_names_what_each_member_lacks_rule_31() -> None:
    with pytest.raises(UnbreakableCycle) as caught:
        edge_delays(4, edges((3, 0), (1, 0), (0, 1), (2, 1), (1, 2), (2, 3)))
    # 3 is a member too: 0 reads it, and it reads 2.
    assert [member.node for member in caught.value.members] == [0, 1, 2, 3]
    assert [member.edges for member in caught.value.members] == [(0, 1), (2, 3), (4,), (5,)]


def test_the_first_unbreakable_cycle_in_order_of_dependency_is_reported() -> None:
    with pytest.raises(UnbreakableCycle) as caught:
        edge_delays(4, edges((0, 1), (1, 0), (2, 3), (3, 2), (2, 1)))
    assert [member.node for member in caught.value.members] == [2, 3]


@st.composite
def dependencies(draw: st.DrawFn) -> tuple[int, list[Dependency]]:
    nodes = draw(st.integers(1, 8))
    node = st.integers(0, nodes - 1)
    drawn = draw(st.lists(st.tuples(node, node, st.booleans()), max_size=20))
    return nodes, [Dependency(*edge) for edge in drawn]


def play(nodes: int, edges: list[Dependency]) -> list[int] | None:
    """Rules 27-31 for run 0, one node at a time; None where they get stuck.

    A node that is ready runs; when none is, some leaf component must have a member that can begin.
    """
    delays = [0] * len(edges)
    ran: set[int] = set()

    def stale(node: int) -> list[int]:
        return [i for i, e in enumerate(edges) if e.consumer == node and e.producer not in ran]

    def reach(start: int) -> set[int]:
        seen, todo = {start}, [start]
        while todo:
            for index in stale(todo.pop()):
                producer = edges[index].producer
                if producer not in seen:
                    seen.add(producer)
                    todo.append(producer)
        return seen

    while len(ran) < nodes:
        waiting = [node for node in range(nodes) if node not in ran]
        ready = next((node for node in waiting if not stale(node)), None)
        if ready is not None:
            ran.add(ready)
            continue
        reached = {node: reach(node) for node in waiting}
        leaves = [n for n in waiting if all(n in reached[other] for other in reached[n])]
        able = [n for n in leaves if all(edges[i].has_default for i in stale(n))]
        stuck = [n for n in leaves if not any(other in reached[n] for other in able)]
        if stuck:
            return None
        # Independent leaves do not depend on each other's choice; take the first of any one.
        for index in stale(able[0]):
            delays[index] = 1
        ran.add(able[0])
    return delays


@given(dependencies())
def test_the_plan_is_what_the_rules_lead_to_when_they_are_played_out_A3(
    graph: tuple[int, list[Dependency]],
) -> None:
    nodes, drawn = graph
    expected = play(nodes, drawn)
    if expected is None:
        with pytest.raises(UnbreakableCycle) as caught:
            edge_delays(nodes, drawn)
        for member in caught.value.members:
            assert member.edges
            assert not any(drawn[index].has_default for index in member.edges)
    else:
        assert edge_delays(nodes, drawn) == expected


@given(dependencies())
def test_where_every_port_has_a_default_cycles_begin_in_order_of_creation_rule_30(
    graph: tuple[int, list[Dependency]],
) -> None:
    nodes, drawn = graph
    free = [edge._replace(has_default=True) for edge in drawn]
    assert edge_delays(nodes, free) == play(nodes, free)


@given(dependencies())
def test_the_edges_without_delay_hold_no_cycle(graph: tuple[int, list[Dependency]]) -> None:
    nodes, drawn = graph
    assume(play(nodes, drawn) is not None)
    delays = edge_delays(nodes, drawn)
    kept = [edge for edge, delay in zip(drawn, delays, strict=True) if not delay]
    assert edge_delays(nodes, kept) == [0] * len(kept)
    assert all(edge.has_default for edge, delay in zip(drawn, delays, strict=True) if delay)


def test_a_ring_of_100000_is_planned_without_recursion() -> None:
    length = 100_000
    ring = [Dependency(node, (node + 1) % length, node == 6) for node in range(length)]
    delays = edge_delays(length, ring)
    assert delays.index(1) == 6
    assert sum(delays) == 1


def test_a_mesh_of_10000_cells_that_read_each_other_is_planned_in_near_linear_time() -> None:
    cells = 10_000
    mesh = [Dependency(cell, cell + 1, has_default=True) for cell in range(cells - 1)]
    mesh += [Dependency(cell + 1, cell, has_default=True) for cell in range(cells - 1)]
    delays = edge_delays(cells, mesh)
    assert delays == [0] * (cells - 1) + [1] * (cells - 1)


def search_each_time(nodes: int, edges: list[Dependency]) -> list[int] | None:
    """Rules 27-31 with a new search for components after each node that begins."""
    delays = [0] * len(edges)
    out: set[int] = set()
    while True:
        kept = [i for i, e in enumerate(edges) if e.producer not in out and e.consumer not in out]
        producers = {
            node: [edges[i].producer for i in kept if edges[i].consumer == node] for node in range(nodes)
        }
        cycles = [
            frozenset(component)
            for component in strongly_connected(producers)
            if len(component) > 1 or component[0] in producers[component[0]]
        ]
        if not cycles:
            return delays
        for cycle in cycles:
            inputs = {
                node: [i for i in kept if edges[i].consumer == node and edges[i].producer in cycle]
                for node in sorted(cycle)
            }
            able = [n for n in inputs if all(edges[i].has_default for i in inputs[n])]
            if not able:
                return None
            for index in inputs[able[0]]:
                delays[index] = 1
            out.add(able[0])


@pytest.mark.parametrize("seed", range(60))
def test_large_components_break_as_if_searched_each_time_rule_30(seed: int) -> None:
    rng = random.Random(seed)
    nodes = rng.randint(10, 40)
    has_default = rng.choice((0.8, 0.95, 0.99))
    drawn = [
        Dependency(rng.randrange(nodes), rng.randrange(nodes), rng.random() < has_default)
        for _ in range(rng.choice((2, 3)) * nodes)
    ]
    expected = search_each_time(nodes, drawn)
    if expected is None:
        with pytest.raises(UnbreakableCycle):
            edge_delays(nodes, drawn)
    else:
        assert edge_delays(nodes, drawn) == expected


def tangled(nodes: int, inputs: int, seed: int) -> list[Dependency]:
    """Nearly all nodes reach each other; a fifth of the inputs lack defaults, but on no cycle all do."""
    rng = random.Random(seed)
    turn = rng.sample(range(nodes), nodes)
    drawn = []
    for consumer in range(nodes):
        for _ in range(inputs):
            producer = rng.randrange(nodes)
            lacks = rng.random() < 0.4 and turn[producer] < turn[consumer]
            drawn.append(Dependency(producer, consumer, not lacks))
    return drawn


@pytest.mark.parametrize("seed", range(60))
def test_what_begins_does_not_depend_on_what_was_forecast_rule_30(seed: int) -> None:
    nodes = 10 + seed
    drawn = tangled(nodes, 2 + seed % 4, seed)
    expected = search_each_time(nodes, drawn)
    assert expected is not None
    assert edge_delays(nodes, drawn) == expected


def test_a_dense_component_of_which_a_fifth_lacks_defaults_takes_few_steps_for_each_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nodes = 8_000
    drawn = tangled(nodes, 5, seed=1)
    steps = 0
    heappop = heapq.heappop

    def counting(heap: list[Any]) -> Any:
        nonlocal steps
        steps += 1
        return heappop(heap)

    monkeypatch.setattr(heapq, "heappop", counting)
    edge_delays(nodes, drawn)
    # 9 to 15 at any size; trees that ignore who begins next take 22 at 500 nodes and 61 at 8,000.
    assert steps < 30 * nodes


def peeled(cells: int) -> list[Dependency]:
    """Only cell 0 can begin; then only cell 1 can, and so on."""
    forth = [Dependency(cell, cell + 1, has_default=False) for cell in range(cells - 1)]
    return forth + [Dependency(cell + 1, cell, has_default=True) for cell in range(cells - 1)]


def test_a_component_that_is_broken_node_by_node_takes_near_linear_time() -> None:
    def seconds(cells: int) -> float:
        mesh = peeled(cells)
        started = time.process_time()
        delays = edge_delays(cells, mesh)
        assert delays == [0] * (cells - 1) + [1] * (cells - 1)
        return time.process_time() - started

    # 8 times the cells take 8 to 10 times as long; searched each time it were 64.
    assert seconds(8_000) < 32 * seconds(1_000)


def test_nodes_outside_of_all_returns_are_not_searched_rule_26() -> None:
    chain = [Dependency(node, node + 1, has_default=True) for node in range(9)]
    delays = edge_delays(10, [*chain, Dependency(5, 3, has_default=False)])
    assert [index for index, delay in enumerate(delays) if delay] == [3]
