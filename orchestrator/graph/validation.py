"""What must hold of a graph before it is planned (SEMANTICS 14, 18), each mistake as a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from executor.blueprint import Port
from orchestrator.graph.draft import UNCONNECTED, DraftNode, OutputRef, Parameter, Placeholder
from orchestrator.graph.finalized import (
    ConstantSource,
    DefaultSource,
    EdgeSource,
    Graph,
    GraphNode,
    ParameterSource,
    Source,
)
from orchestrator.graph.groups import GroupTemplate
from orchestrator.graph.outputs import known_outputs
from orchestrator.graph.template import NodeTemplate

_LOOKED_AT: Final = 1_000
"""So many elements of a constant are looked through for nodes."""


def mistakes(graph: Graph) -> Iterator[str]:
    """Everything that is wrong with the connections, in order of the nodes."""
    for node in graph.nodes:
        for port, source in zip(node.ports, node.inputs, strict=True):
            mistake = _mistake(graph, node, port, source)
            if mistake is not None:
                yield mistake


def _mistake(graph: Graph, node: GraphNode, port: Port, source: Source) -> str | None:
    match source:
        case EdgeSource():
            return _edge_mistake(node, port, graph.nodes[source.producer], source.output)
        case DefaultSource():
            if port.has_default:
                return None
            return (
                f"{node.label}: parameter {port.name!r} is not connected and has no default value; "
                "pass it an argument, or give it a default"
            )
        case ConstantSource(value):
            # UNCONNECTED stands here for what could not be found, which is noted already.
            if value is UNCONNECTED:
                return None
            if (mistake := _constant_mistake(value)) is not None:
                return f"{node.label}: parameter {port.name!r} {mistake}"
            if not port.run_level:
                return None
            return _no_stream(node, port, "a constant", "feed it from a generator")
        case ParameterSource(name):
            if not port.run_level:
                return None
            return _no_stream(node, port, f"parameter {name!r}", "feed it from a generator")


def _constant_mistake(value: object) -> str | None:
    """What is no node, but was surely meant to be one, or several."""
    if isinstance(value, NodeTemplate | GroupTemplate):
        return f"is given {value!r} itself; call it to make a node"
    if isinstance(value, list | tuple | dict | set):
        within = islice(value.values() if isinstance(value, dict) else value, _LOOKED_AT)
        if any(isinstance(part, DraftNode | OutputRef | Placeholder | Parameter) for part in within):
            return (
                f"is given a {type(value).__name__} with nodes or parameters in it; as an argument each "
                "stands by itself: give the body one parameter for each, or *args"
            )
    return None


def _edge_mistake(node: GraphNode, port: Port, producer: GraphNode, output: int) -> str | None:
    outputs = known_outputs(producer.template) if output else None
    if outputs is not None and output >= outputs:
        return f"{node.label}: parameter {port.name!r} reads output {output} of {producer.label}, " + (
            "which has output 0 only; give its template multiple_outputs=True"
            if outputs == 1
            else f"which is annotated to have {outputs} outputs, counted from 0"
        )
    skips_elements = node.kind == "map" and port is node.ports[0]
    if node.template.options.on_skip == "default" and not port.has_default and not skips_elements:
        return (
            f"{node.label}: its template has on_skip='default', but parameter {port.name!r} has no "
            "default to take; give it one"
        )
    if port.run_level and producer.kind == "mono":
        return _no_stream(node, port, producer.label, "make that node a generator")
    return None


def _no_stream(node: GraphNode, port: Port, fed_by: str, remedy: str) -> str:
    return (
        f"{node.label}: parameter {port.name!r} takes a stream, but is fed by {fed_by}, "
        f"which yields none; {remedy}, or take the annotation Stream off {port.name!r}"
    )
