"""Random graphs: cycles, streams, forks and joins, maps, cancels, all from a seed."""

from __future__ import annotations

import random
from dataclasses import replace

from tests.differential.description import Graph, Node, Op, Port, Script
from tests.reference import Unsatisfiable, delays

MOST_NODES = 8

_SUMMABLE = ("str", "int", "float", "bool", "bytes")
_ANY_VALUE = (*_SUMMABLE, "mixed", "none", "list")


def random_graph(seed: int) -> Graph:
    """A graph that can be run: where a cycle could not begin, its ports were given defaults."""
    graph = raw_graph(seed)
    try:
        delays(graph.expanded)
    except Unsatisfiable:
        nodes = tuple(_with_defaults(node) for node in graph.nodes)
        graph = Graph(graph.seed, nodes, graph.stop)
        try:
            delays(graph.expanded)
        except Unsatisfiable:  # a cycle of maps alone: no default can begin it
            return random_graph(seed + 1_000_000)
    return replace(graph, stop=_Generator(seed).stop(graph))


def raw_graph(seed: int, most_nodes: int = MOST_NODES) -> Graph:
    """A graph as it was drawn; it may have a cycle that cannot begin."""
    return _Generator(seed, most_nodes).graph()


def _with_defaults(node: Node) -> Node:
    ports = tuple(
        replace(port, has_default=not (node.kind == "map" and index == 0))
        for index, port in enumerate(node.ports)
    )
    return replace(node, ports=ports)


class _Generator:
    def __init__(self, seed: int, most_nodes: int = MOST_NODES) -> None:
        self._most_nodes = most_nodes
        self._seed = seed
        self._draw = random.Random(seed)
        self._cancels = seed % 2 == 1
        self._skips = seed % 5 > 2

    def graph(self) -> Graph:
        draw = self._draw
        count = draw.randint(2, self._most_nodes)
        is_cyclic = draw.random() < 0.6
        kinds = draw.choices(("mono", "stream", "map"), (4, 5, 2), k=count)
        rank = list(range(count))
        if draw.random() < 0.5:  # else nodes are created in order of dependency
            draw.shuffle(rank)
        nodes = []
        for number in range(count):
            others = [other for other in range(count) if is_cyclic or rank[other] < rank[number]]
            nodes.append(self._node(number, kinds, others))
        fitted = [self._fitted(node, nodes) for node in nodes]
        return Graph(self._seed, tuple(self._with_outputs(node, fitted) for node in fitted))

    def stop(self, graph: Graph) -> tuple[int | None, tuple[int, ...]] | None:
        """Where to stop a graph with cycles, which would go on for ever, and a few others."""
        draw = self._draw
        delayed = any(delays(graph.expanded).values())
        if not delayed and draw.random() < 0.9:
            return None
        runs = draw.randint(1, 5)
        if not delayed or draw.random() < 0.4:
            return None, (runs,) if delayed else (0,)
        cyclic = sorted(cyclic_component(graph.expanded) & set(range(len(graph.nodes))))
        limit = (runs,) if draw.random() < 0.8 else (runs, draw.randint(0, 3))
        return draw.choice(cyclic), limit

    # -- one node -----------------------------------------------------------------------------------

    def _node(self, number: int, kinds: list[str], others: list[int]) -> Node:
        draw = self._draw
        streams = [other for other in others if kinds[other] != "mono"]
        kind = kinds[number]
        if kind == "map" and not others:
            kind = kinds[number] = "stream"
        if kind == "map":
            first = Port(draw.choice(streams or others), is_stream=True)
            beside = (self._port(others, []),) if draw.random() < 0.3 else ()
            script = Script(f"n{number}", skips=self._skips and draw.random() < 0.3)
            return Node(number, kind, (first, *beside), script, is_async=draw.random() < 0.3)
        wanted = draw.choice((0, 1, 1, 2, 2, 3)) if others else 0
        ports = tuple(self._port(others, streams) for _ in range(wanted))
        return Node(number, kind, ports, Script(f"n{number}"))

    def _port(self, others: list[int], streams: list[int]) -> Port:
        draw = self._draw
        has_default = draw.random() < 0.6
        if streams and draw.random() < 0.65:
            return Port(draw.choice(streams), is_stream=True, has_default=has_default)
        return Port(draw.choice(others), has_default=has_default)

    # -- and what depends on who reads it --------------------------------------------------------------

    def _fitted(self, node: Node, nodes: list[Node]) -> Node:
        """The node with its script, and with outputs that suit its readers."""
        if node.kind == "map":
            return node
        draw = self._draw
        edges = [
            (reader, index, port)
            for reader in nodes
            for index, port in enumerate(reader.ports)
            if port.producer == node.number
        ]
        is_split = any(reader.kind == "map" and index == 0 for reader, index, _ in edges)
        final_is_read = any(not port.is_stream for _, _, port in edges)
        is_async, is_class = draw.random() < 0.4, draw.random() < 0.5
        if all(port.has_default for port in node.ports) and draw.random() < 0.5:
            node = replace(node, takes_default=self._skips)
        if node.kind == "mono":
            value = "items" if is_split else draw.choice(_ANY_VALUE)
            script = self._script(node, value, ends="return", outputs=1 if is_split else None)
            return replace(node, script=script, is_async=is_async, is_class=is_class)
        accumulate = draw.choice(("sum", "sum", "sum", "list", "join"))
        value = draw.choice(_SUMMABLE if final_is_read and accumulate == "sum" else _ANY_VALUE)
        ends = draw.choice(("natural", "natural", "bare", "raise", "raise" if is_async else "return"))
        script = self._script(node, value, ends)
        if final_is_read:  # it has a chunk, so it has a final value
            script = script._replace(prologue=(*script.prologue, ("emit", 0)))
        return replace(
            node,
            script=script,
            is_async=is_async,
            is_class=is_class,
            accumulate=accumulate,
            drains=bool(edges) or draw.random() < 0.7,
        )

    def _with_outputs(self, node: Node, nodes: list[Node]) -> Node:
        ports = tuple(
            replace(port, output=self._draw.randrange(nodes[port.producer].script.outputs))
            for port in node.ports
        )
        return replace(node, ports=ports)

    def _script(self, node: Node, value: str, ends: str, outputs: int | None = None) -> Script:
        draw = self._draw
        streams = [index for index, port in enumerate(node.ports) if port.is_stream]
        emits = node.kind == "stream"
        return Script(
            node.name,
            prologue=self._ops(streams, 0, 2, emits),
            loop=self._ops(streams, 1, 3, emits),
            rounds=draw.randint(0, 4),
            epilogue=self._ending(streams, emits),
            value=value,
            outputs=outputs or draw.choice((1, 1, 1, 2)),
            ends=ends,
            on_cancel=draw.choice(("propagate", "propagate", "return", "raise", "decline")),
            skips=self._skips and draw.random() < 0.3,
        )

    def _ops(self, streams: list[int], least: int, most: int, emits: bool) -> tuple[Op, ...]:
        draw = self._draw
        ops: list[Op] = []
        for _ in range(draw.randint(least, most)):
            chance = draw.random()
            if streams and self._cancels and chance < 0.12:
                ops.append(("cancel", draw.choice(streams)))
            elif streams and chance < 0.6:
                ops.append(("take", draw.choice(streams)))
            elif emits:
                ops.append(("emit", 0))
        return tuple(ops)

    def _ending(self, streams: list[int], emits: bool) -> tuple[Op, ...]:
        """Mostly reads what is left; a reader that does not has left early."""
        draw = self._draw
        ops: list[Op] = [("drain", port) for port in streams if draw.random() < 0.7]
        draw.shuffle(ops)
        return (*ops, *self._ops(streams, 0, 1, emits))


def cyclic_component(nodes: tuple[Node, ...]) -> set[int]:
    """The nodes connected, in either direction, with a node whose port is delayed (rule 22)."""
    delay = delays(nodes)
    neighbours: dict[int, set[int]] = {node.number: set() for node in nodes}
    for node in nodes:
        for port in node.ports:
            neighbours[node.number].add(port.producer)
            neighbours[port.producer].add(node.number)
    found: set[int] = set()
    pending = [number for (number, _), delayed in delay.items() if delayed]
    while pending:
        number = pending.pop()
        if number not in found:
            found.add(number)
            pending.extend(neighbours[number])
    return found
