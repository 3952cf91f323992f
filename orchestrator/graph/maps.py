"""The hidden nodes around parallel maps (SEMANTICS A8): splitting what is no stream, folding results."""

from __future__ import annotations

import functools
from typing import Any

from executor.fold import collect, folding, split
from orchestrator.graph.finalized import EdgeSource, Graph, GraphNode, Source
from orchestrator.graph.template import NodeOptions, NodeTemplate
from orchestrator.spec import Kind, Placement


def add_splits(graph: Graph) -> None:
    """Put a splitting generator between each map and a source that is no stream."""
    for node in list(graph.nodes):
        if node.kind != "map":
            continue
        source = node.inputs[0]
        if isinstance(source, EdgeSource) and graph.nodes[source.producer].kind != "mono":
            continue
        template = _splitting(node.template.options.placement)
        number = _add_hidden(graph, node, "split", template, source)
        node.inputs[0] = EdgeSource(number, 0)


def add_folds(graph: Graph) -> None:
    """Give final values to the maps that are read for one, and count the outputs that are read."""
    read_for_final = _count_outputs(graph)
    for number in read_for_final:
        node = graph.nodes[number]
        template = _folding(node.template)
        graph.folds[number] = tuple(
            _add_hidden(graph, node, _fold_name(output), template, EdgeSource(number, output))
            for output in range(node.needed_outputs)
        )
    for node in graph.nodes if graph.folds else ():
        for index, source in enumerate(node.inputs):
            if node.ports[index].run_level == 0 and isinstance(source, EdgeSource):
                folds = graph.folds.get(source.producer)
                if folds is not None:
                    node.inputs[index] = EdgeSource(folds[source.output], 0)


def _count_outputs(graph: Graph) -> list[int]:
    """Set each node's ``needed_outputs``; returns the maps of which a final value is read, in order."""
    nodes = graph.nodes
    read_for_final: dict[int, None] = {}
    for node in nodes:
        for port, source in zip(node.ports, node.inputs, strict=True):
            if isinstance(source, EdgeSource):
                producer = nodes[source.producer]
                producer.needed_outputs = max(producer.needed_outputs, source.output + 1)
                if producer.kind == "map" and not port.run_level:
                    read_for_final[source.producer] = None
    return sorted(read_for_final)


def _add_hidden(
    graph: Graph, beside: GraphNode, role: str, template: NodeTemplate[..., Any], source: Source
) -> int:
    number = len(graph.nodes)
    name = f"{beside.name}.{role}"
    kind: Kind = "stream" if template.name == "split" else "mono"
    ports = template.blueprint.ports
    graph.nodes.append(
        GraphNode(number, name, name, template, kind, beside.place, ports, [source], hidden=True)
    )
    return number


def _fold_name(output: int) -> str:
    return f"fold[{output}]" if output else "fold"


@functools.cache
def _splitting(placement: Placement) -> NodeTemplate[..., Any]:
    return NodeTemplate(split, NodeOptions(placement=placement), "split", "executor/fold.py")


@functools.cache
def _collecting(placement: Placement, keep: bool) -> NodeTemplate[..., Any]:
    options = NodeOptions(placement=placement, keep=keep)
    return NodeTemplate(collect, options, "collect", "executor/fold.py")


def _folding(mapped: NodeTemplate[..., Any]) -> NodeTemplate[..., Any]:
    options = mapped.options
    if options.accumulate is None or isinstance(options.accumulate, type):
        return _collecting(options.placement, options.keep)
    body = folding(options.accumulate)
    return NodeTemplate(
        body, NodeOptions(placement=options.placement, keep=options.keep), "fold", "executor/fold.py"
    )
