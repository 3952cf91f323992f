"""Finding deadlocks in a graph of waits (rules 46, 52, 65)."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from orchestrator.runtime.state import Node, StreamEdge
from orchestrator.runtime.waits import Wait, edge_to_widen, find_deadlock, is_certain, waits_behind
from orchestrator.spec import EdgeInput, NodeSpec
from protocol.messages import Digest, NodeId


class Waits:
    """A graph of waits by letters: ``a>b`` a waits for b, ``a=>b`` for room on a full edge to b."""

    def __init__(self, text: str, *, parked: str = "") -> None:
        self.nodes: dict[str, Node] = {}
        self.parked = parked
        self.waits: dict[str, list[Wait]] = {}
        for index, term in enumerate(text.split()):
            waiter, _, awaited = term.partition(">")
            is_full = waiter.endswith("=")
            ends = self.node(waiter.rstrip("=")), self.node(awaited)
            producer, consumer = ends if is_full else ends[::-1]
            edge = StreamEdge(index, producer, consumer, 0, EdgeInput(producer.index, 0, 0, index))
            wait = Wait(ends[0], ends[1], edge, is_full=is_full)
            self.waits.setdefault(ends[0].name, []).append(wait)

    def node(self, name: str) -> Node:
        spec = NodeSpec(name, "stream", Digest(b""), (), "inline", "f:1")
        return self.nodes.setdefault(name, Node(NodeId(len(self.nodes)), spec))

    def deadlock(self, suspects: str) -> list[Wait] | None:
        return find_deadlock(
            deque(self.nodes[name] for name in suspects),
            lambda node: self.waits.get(node.name, []),
            lambda node: node.name in self.parked,
        )

    def names(self, suspects: str) -> str | None:
        deadlock = self.deadlock(suspects)
        return None if deadlock is None else "".join(wait.waiter.name for wait in deadlock)


def test_waits_that_end_at_a_node_that_goes_on_are_no_deadlock() -> None:
    assert Waits("a>b b>c a>c").names("ab") is None


def test_a_cycle_is_found_from_any_node_that_leads_to_it_and_nothing_else_is_on_it() -> None:
    graph = Waits("x>a a>b b>c c>a b>y")
    for suspect in "xabc":
        assert sorted(graph.names(suspect) or "") == ["a", "b", "c"]


def test_a_diamond_of_waits_is_followed_once() -> None:
    stacked = " ".join(
        f"{a}>{b} {a}>{c} {b}>{d} {c}>{d}"
        for a, b, c, d in (
            (f"n{3 * i}", f"n{3 * i + 1}", f"n{3 * i + 2}", f"n{3 * i + 3}") for i in range(500)
        )
    )
    graph = Waits(stacked)
    asked: list[str] = []

    def waits_of(node: Node) -> list[Wait]:
        asked.append(node.name)
        return graph.waits.get(node.name, [])

    assert find_deadlock(deque([graph.nodes["n0"]]), waits_of, lambda node: False) is None
    assert len(asked) == len(set(asked)) == 1501


def test_rule_52_the_smallest_full_edge_on_the_cycle_is_widened() -> None:
    deadlock = Waits("a=>b b=>c c>a").deadlock("a")
    assert deadlock is not None
    edge = edge_to_widen(deadlock)
    assert edge is not None
    assert (edge.producer.name, edge.consumer.name) == ("a", "b")


def test_rule_65_a_cycle_without_a_full_edge_cannot_be_repaired() -> None:
    deadlock = Waits("a>b b>a").deadlock("a")
    assert deadlock is not None
    assert edge_to_widen(deadlock) is None
    assert deadlock[0].describe() == "'a' waits for a chunk of 'b'"


def test_rule_51_waiting_for_room_that_a_parked_node_would_make_is_a_deadlock() -> None:
    graph = Waits("a=>b", parked="b")
    assert graph.names("a") == "a"
    assert Waits("a>b", parked="b").names("a") is None


def test_a_cycle_through_a_body_that_reads_several_streams_at_once_proves_nothing() -> None:
    graph = Waits("a>b a>c b>a c=>d d>c")
    one, other = graph.waits["a"]
    graph.waits["a"] = [replace(one, is_one_of_several=True), replace(other, is_one_of_several=True)]
    deadlock = graph.deadlock("a")
    assert deadlock is not None
    assert edge_to_widen(deadlock) is None
    assert not is_certain(deadlock)
    # With the whole flow at rest, room on any full edge behind it may help.
    edge = edge_to_widen(waits_behind(deadlock, lambda node: graph.waits.get(node.name, [])))
    assert edge is not None
    assert (edge.producer.name, edge.consumer.name) == ("c", "d")
