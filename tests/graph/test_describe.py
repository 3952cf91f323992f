"""The description of a planned flow, which ``orchestrator check`` shows."""

from __future__ import annotations

from typing import Any

from orchestrator import Flow, node, parameter
from orchestrator.graph.describe import InputDescription, ParameterDescription


@node
def add(x: Any, y: Any = 1) -> Any:
    return x + y


class Mute:
    def __repr__(self) -> str:
        raise RuntimeError


def test_a_description_tells_nodes_inputs_delays_and_parameters() -> None:
    with Flow() as f:
        f.a = add(parameter("start", 3), f.b)
        f.b = add(f.a, parameter("step"))
        f.c = add("text")
    described = f.plan()
    assert [node.name for node in described.nodes] == ["a", "b", "c"]
    a, b, c = described.nodes
    assert (a.template, a.kind, a.placement, a.hidden) == ("add", "mono", "process", False)
    assert a.place.startswith(f"{__file__}:")
    assert a.inputs == (
        InputDescription("x", 0, "parameter", "start"),
        InputDescription("y", 0, "edge", "b", 0, 1),
    )
    assert b.inputs[0] == InputDescription("x", 0, "edge", "a", 0, 0)
    assert c.inputs == (
        InputDescription("x", 0, "constant", "'text'"),
        InputDescription("y", 0, "default", ""),
    )
    assert described.parameters == (
        ParameterDescription("start", "3"),
        ParameterDescription("step", None),
    )


def test_hidden_nodes_are_marked() -> None:
    with Flow() as f:
        f.m = add.map([1])
    assert [(node.name, node.hidden) for node in f.plan().nodes] == [("m", False), ("m.split", True)]


def test_constants_are_shown_short_whatever_they_are() -> None:
    with Flow() as f:
        f.a = add("x" * 1000, Mute())
    long, mute = f.plan().nodes[0].inputs
    assert len(long.source) == 60
    assert mute.source == "<Mute>"
