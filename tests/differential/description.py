"""A flow as plain data: what the random graphs are, before they become flows or are interpreted.

Nodes are numbered in order of creation. ``Graph.expanded`` adds the hidden nodes of maps (A8): one
that splits a list where a map reads a mono node, one that makes the final value of a map that is read
at run level 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, TypeAlias

UNREAD = "default"
"""The default of every port that has one."""

MOST_PORTS = 3

Op: TypeAlias = tuple[str, int]
"""``take`` a chunk of a port, ``drain`` a port, ``cancel`` a port, or ``emit`` (its port is 0)."""


class Script(NamedTuple):
    """What a body does. The loop ends after ``rounds``, or when a ``take`` in it met the end.

    ``value`` is the kind of values it makes, ``ends`` how a generator ends, ``on_cancel`` what it does
    about StreamCancelled. One that ``skips`` gives SKIP at its end if what it has read says so.
    """

    name: str
    prologue: tuple[Op, ...] = ()
    loop: tuple[Op, ...] = ()
    rounds: int = 0
    epilogue: tuple[Op, ...] = ()
    value: str = "str"
    outputs: int = 1
    ends: str = "natural"
    on_cancel: str = "propagate"
    skips: bool = False


@dataclass(frozen=True, slots=True)
class Port:
    """A connected input."""

    producer: int
    output: int = 0
    is_stream: bool = False
    has_default: bool = False


@dataclass(frozen=True, slots=True)
class Node:
    """``kind``: mono, stream, map, split or fold; ``accumulate``: sum, list or join."""

    number: int
    kind: str
    ports: tuple[Port, ...]
    script: Script
    is_async: bool = False
    is_class: bool = False
    accumulate: str = "sum"
    drains: bool = True
    takes_default: bool = False
    """Whether a skipped input is replaced by the port's default (``on_skip``)."""

    @property
    def name(self) -> str:
        return self.script.name


@dataclass(frozen=True)
class Graph:
    """A random flow. ``stop`` is the stop limit: of all nodes, of one by number, or None."""

    seed: int
    nodes: tuple[Node, ...]
    stop: tuple[int | None, tuple[int, ...]] | None = None

    @cached_property
    def expanded(self) -> tuple[Node, ...]:
        """All nodes with the hidden ones, as they run."""
        nodes = list(self.nodes)
        for node in self.nodes:
            if node.kind == "map" and nodes[node.ports[0].producer].kind == "mono":
                split = Node(len(nodes), "split", (replace(node.ports[0], is_stream=False),), _SPLIT)
                nodes.append(split)
                first = replace(node.ports[0], producer=split.number, output=0)
                nodes[node.number] = replace(node, ports=(first, *node.ports[1:]))
        folds: dict[int, int] = {}
        for number in sorted({p.producer for node in nodes for p in node.ports if not p.is_stream}):
            if nodes[number].kind == "map":
                folds[number] = len(nodes)
                nodes.append(Node(len(nodes), "fold", (Port(number, is_stream=True),), _FOLD))
        return tuple(
            replace(
                node,
                ports=tuple(
                    port
                    if port.is_stream
                    else replace(port, producer=folds.get(port.producer, port.producer))
                    for port in node.ports
                ),
            )
            for node in nodes
        )


_SPLIT = Script("split")
_FOLD = Script("fold")
