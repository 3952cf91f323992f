"""What fires next (rules 19, 22, 33, 34): counters against a naive interpreter of the rules."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.resolver.firing import Firing, Link


def started(firing: Firing) -> list[int]:
    """Start everything that is ready, in order."""
    nodes = []
    while (node := firing.take_ready()) is not None:
        firing.start(node)
        nodes.append(node)
    return nodes


def finish(firing: Firing, links: list[Link], node: int) -> None:
    firing.end(node)
    for index, link in enumerate(links):
        if link.producer == node:
            firing.arrive(index)


def test_rule_33_every_node_is_demanded_at_the_start_and_sources_are_ready() -> None:
    links = [Link(0, 2, 0), Link(1, 2, 0)]
    firing = Firing(3, links)
    firing.begin()
    assert started(firing) == [0, 1]
    finish(firing, links, 0)
    assert started(firing) == []
    assert list(firing.lacking(2)) == [1]
    finish(firing, links, 1)
    assert started(firing) == [2]
    finish(firing, links, 2)
    assert started(firing) == []


def test_rule_33_a_source_in_a_cyclic_component_runs_only_on_demand() -> None:
    # 0: a source; 1: a cycle by itself, broken; 2 reads both.
    links = [Link(0, 2, 0), Link(1, 1, 1), Link(1, 2, 0)]
    firing = Firing(3, links)
    firing.begin()
    assert started(firing) == [0, 1]
    finish(firing, links, 0)
    assert started(firing) == []  # nobody has asked for its run 1 yet
    finish(firing, links, 1)
    # Node 1 runs on by itself; node 2 begins run 0, and the new final demands nothing of 0 yet.
    assert started(firing) == [1, 2]
    finish(firing, links, 2)
    finish(firing, links, 1)
    assert sorted(started(firing)) == [0, 1]  # run 1 of node 2 is demanded now, and so is its source


def test_rule_40_a_busy_node_is_not_ready_and_no_trigger_is_lost_meanwhile() -> None:
    links = [Link(0, 0, 1), Link(0, 1, 0)]
    firing = Firing(2, links)
    firing.begin()
    assert started(firing) == [0]
    finish(firing, links, 0)
    assert started(firing) == [0, 1]
    finish(firing, links, 0)
    assert started(firing) == [0]  # 1 is still at run 0
    finish(firing, links, 1)
    assert started(firing) == [1]
    assert firing.next_run(1) == 2


@given(st.integers(0, 10_000))
def test_rules_19_and_22_random_graphs_run_in_step_whatever_the_order(seed: int) -> None:
    draw = random.Random(seed)
    nodes = draw.randint(1, 6)
    links = []
    for _ in range(draw.randint(0, 8)):
        producer, consumer = draw.randrange(nodes), draw.randrange(nodes)
        # Forward edges have no delay and all others one, so that every cycle has a delay.
        links.append(Link(producer, consumer, int(producer >= consumer)))
    firing = Firing(nodes, links)
    firing.begin()
    runs = [0] * nodes
    finals = [0] * nodes
    busy: list[int] = []
    for _ in range(60):
        busy += started(firing)
        for node in range(nodes):
            if firing.next_run(node) > runs[node]:
                for link in links:
                    if link.consumer == node:
                        assert finals[link.producer] > runs[node] - link.delay
                runs[node] += 1
                assert firing.next_run(node) == runs[node]
        if not busy:
            break
        node = busy.pop(draw.randrange(len(busy)))
        finals[node] += 1
        finish(firing, links, node)
    else:
        return  # a cycle: goes on for ever
    cyclic = [link for link in links if link.delay]
    if not cyclic:
        assert runs == [1] * nodes


@pytest.mark.parametrize("length", [10, 2_000])  # beyond the limit of recursion
def test_demand_recurses_without_recursion(length: int) -> None:
    links = [Link(node, node + 1, 0) for node in range(length - 1)]
    firing = Firing(length, links)
    firing.begin()
    order = []
    while ready := started(firing):
        order += ready
        for node in ready:
            finish(firing, links, node)
    assert order == list(range(length))


def test_rule_52_a_node_whose_demanded_run_comes_to_lack_something_is_told_of() -> None:
    """Its wait may complete a deadlock, which is repaired at once."""
    # Node 2 reads two others, of which one runs by itself.
    links = [Link(0, 2, 0), Link(1, 2, 0), Link(1, 1, 1)]
    firing = Firing(3, links)
    firing.begin()
    assert firing.held_up == []  # nothing can be amiss before anything has run
    assert started(firing) == [0, 1]
    finish(firing, links, 0)
    finish(firing, links, 1)
    assert started(firing) == [2, 1]
    firing.end(2)
    assert firing.held_up == []
    finish(firing, links, 1)
    assert firing.held_up == [2]  # it has one of its inputs, and now wants the other


def test_rule_32_a_demand_for_a_busy_node_is_remembered() -> None:
    """Its chunks have started the reader, whose next run wants it again before it has ended (B4)."""
    links = [Link(0, 1, 0), Link(1, 1, 1)]  # a generator, and a reader that also feeds itself
    firing = Firing(2, links)
    firing.begin()
    assert started(firing) == [0]
    firing.arrive(0)  # its first chunk
    assert started(firing) == [1]
    finish(firing, links, 1)
    assert firing.demanded(0) == 1
    assert firing.wanted_again == [0]
    assert started(firing) == []  # it is still busy with run 0
    firing.end(0)
    assert started(firing) == [0]


def test_rule_34_nodes_fire_in_order_of_demand_and_at_once_in_order_of_creation() -> None:
    links = [Link(2, 0, 0), Link(3, 1, 0)]
    firing = Firing(4, links)
    firing.begin()
    assert started(firing) == [2, 3]
    finish(firing, links, 3)
    finish(firing, links, 2)
    assert started(firing) == [1, 0]
