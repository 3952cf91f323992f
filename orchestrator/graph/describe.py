"""What a planned flow consists of, as plain data for people and programs to read."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from executor.blueprint import Port
from orchestrator.graph.finalized import (
    ConstantSource,
    DefaultSource,
    EdgeSource,
    Graph,
    GraphNode,
    ParameterSource,
    Source,
)
from orchestrator.graph.planning import Plan
from orchestrator.spec import Kind, Placement


class InputDescription(Struct, frozen=True, gc=False):
    """What feeds a port. ``source`` is a node's name, a constant's repr, or a parameter's name.

    ``kind``: ``edge``, ``constant``, ``parameter`` or ``default``. ``output`` and ``delay`` (in
    generations) mean something for an edge only. ``run_level`` is 1 where the port takes a stream.
    """

    port: str
    run_level: int
    kind: str
    source: str
    output: int = 0
    delay: int = 0


class NodeDescription(Struct, frozen=True, gc=False):
    """A node; ``place`` is where it was written."""

    name: str
    template: str
    kind: Kind
    placement: Placement
    place: str
    hidden: bool
    inputs: tuple[InputDescription, ...]


class ParameterDescription(Struct, frozen=True):
    """A value given at run time; ``default`` is its repr, None where it is required."""

    name: str
    default: str | None


class FlowDescription(Struct, frozen=True):
    """A planned flow: nodes in order of creation."""

    nodes: tuple[NodeDescription, ...]
    parameters: tuple[ParameterDescription, ...]


def describe(graph: Graph, plan: Plan) -> FlowDescription:
    """Describe a graph and its plan."""
    return FlowDescription(
        tuple(_node(graph, plan, node) for node in graph.nodes),
        tuple(
            ParameterDescription(name, None if given.is_required else _short(given.default))
            for name, given in graph.parameters.items()
        ),
    )


def _node(graph: Graph, plan: Plan, node: GraphNode) -> NodeDescription:
    inputs = [
        _input(graph, port, source, plan.delay(node.number, index))
        for index, (port, source) in enumerate(zip(node.ports, node.inputs, strict=True))
    ]
    template = node.template
    placement = template.options.placement
    return NodeDescription(
        node.name, template.name, node.kind, placement, node.place, node.hidden, tuple(inputs)
    )


def _input(graph: Graph, port: Port, source: Source, delay: int) -> InputDescription:
    name, run_level = port.name, port.run_level
    match source:
        case EdgeSource():
            of = graph.nodes[source.producer].name
            return InputDescription(name, run_level, "edge", of, source.output, delay)
        case ConstantSource():
            return InputDescription(name, run_level, "constant", _short(source.value))
        case ParameterSource():
            return InputDescription(name, run_level, "parameter", source.name)
        case DefaultSource():
            return InputDescription(name, run_level, "default", "")


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a constant is any object, and its repr may raise anything
        return f"<{type(value).__name__}>"
    return text if len(text) <= 60 else f"{text[:59]}…"
