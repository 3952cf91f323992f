"""A flow whose names are resolved and whose connections are checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from executor.blueprint import Port
from orchestrator.graph.draft import Parameter
from orchestrator.spec import Kind

if TYPE_CHECKING:
    from orchestrator.graph.planning import Plan
    from orchestrator.graph.template import NodeTemplate


class EdgeSource(NamedTuple):
    """An output of another node, by number."""

    producer: int
    output: int


class ConstantSource(NamedTuple):
    """A value written into the flow."""

    value: object


class ParameterSource(NamedTuple):
    """A value given at run time."""

    name: str


class DefaultSource(NamedTuple):
    """Nothing: the port takes its default in every run."""


Source: TypeAlias = EdgeSource | ConstantSource | ParameterSource | DefaultSource


@dataclass(slots=True, eq=False)
class GraphNode:
    """A node; ``inputs`` and ``ports`` run in parallel.

    ``instance`` is the template's name with the number of this use of it. ``hidden``: not the user's,
    but made for the sake of a map. ``needed_outputs``: so many outputs are read, but at least one.
    """

    number: int
    name: str
    instance: str
    template: NodeTemplate[..., Any]
    kind: Kind
    place: str
    ports: tuple[Port, ...]
    inputs: list[Source]
    ahead: int | None = None
    hidden: bool = False
    needed_outputs: int = 1

    @property
    def label(self) -> str:
        """How messages call it."""
        if self.name == self.instance:
            return f"{self.name!r} ({self.place})"
        return f"{self.name!r} ({self.template.name}, {self.place})"


@dataclass(slots=True, eq=False)
class Graph:
    """All nodes by number, the user's first; ``folds`` holds for a map the nodes with its final values.

    ``folds[m][o]`` is the node that folds output o of map m. ``plan`` is there once it was asked for.
    """

    nodes: list[GraphNode]
    parameters: dict[str, Parameter] = field(default_factory=dict)
    folds: dict[int, tuple[int, ...]] = field(default_factory=dict)
    plan: Plan | None = None
