"""From what the user wrote to a checked graph: names resolved, nodes numbered, mistakes collected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

from executor.blueprint import MISSING, BodyKind, Port
from orchestrator.errors import FlowDefinitionError
from orchestrator.graph.draft import (
    UNCONNECTED,
    DraftNode,
    NodeRecord,
    OutputRef,
    Owner,
    Parameter,
    Placeholder,
    record_of,
)
from orchestrator.graph.finalized import (
    ConstantSource,
    DefaultSource,
    EdgeSource,
    Graph,
    GraphNode,
    ParameterSource,
    Source,
)
from orchestrator.graph.maps import add_folds, add_splits
from orchestrator.graph.validation import mistakes
from orchestrator.spec import Kind

_DEFAULT: Final = DefaultSource()
# Stands for what could not be found and is noted, so that the port is not reported a second time.
_UNRESOLVED: Final = ConstantSource(UNCONNECTED)


def finalize(
    owner: Owner,
    records: Sequence[NodeRecord],
    names: Mapping[str, object],
    placeholders: Mapping[str, Placeholder],
) -> Graph:
    """The graph of a flow.

    Args:
        owner: the flow; a node of another one is a mistake.
        records: its nodes, in order of creation, with all that they are connected to.
        names: what the user's public attributes of the flow hold.
        placeholders: the names that were read before they were defined.

    Raises:
        FlowDefinitionError: with every mistake that was found.
    """
    resolver = _Resolver(owner, names)
    nodes = _number(records)
    for node, record in zip(nodes, records, strict=True):
        node.inputs = [resolver.source(argument, node) for argument in record.inputs]
    for placeholder in placeholders.values():
        resolver.check_defined(placeholder)
    graph = Graph(nodes, resolver.parameters)
    # Splits first: a mono node is no mistake as the source of a map, and a mistake anywhere else.
    add_splits(graph)
    problems = [*resolver.problems, *mistakes(graph)]
    if problems:
        raise FlowDefinitionError(tuple(problems))
    add_folds(graph)
    return graph


def _number(records: Sequence[NodeRecord]) -> list[GraphNode]:
    """Nodes without inputs yet, named: by attribute, else by template and number of use."""
    taken = {record.name for record in records if record.name is not None}
    uses: Counter[str] = Counter()
    nodes = []
    for number, record in enumerate(records):
        template = record.template.name
        instance = f"{template}#{uses[template]}"
        while record.name is None and instance in taken:
            uses[template] += 1
            instance = f"{template}#{uses[template]}"
        uses[template] += 1
        record.number = number
        nodes.append(
            GraphNode(
                number,
                record.name or instance,
                instance,
                record.template,
                _kind(record),
                record.place,
                _ports(record),
                [],
                record.ahead,
            )
        )
    return nodes


def _kind(record: NodeRecord) -> Kind:
    if record.is_map:
        return "map"
    return "stream" if record.template.blueprint.kind is BodyKind.GENERATOR else "mono"


def _ports(record: NodeRecord) -> tuple[Port, ...]:
    shape = record.template.blueprint
    ports = shape.ports
    if shape.variadic is not None:
        further = range(len(record.inputs) - len(ports))
        name, run_level = shape.variadic.name, shape.variadic.run_level
        ports += tuple(Port(f"{name}[{index}]", MISSING, run_level) for index in further)
    if record.is_map:
        # The stream of elements: a default would be no stream, so it cannot begin a cycle.
        ports = (Port(ports[0].name, MISSING, 1), *ports[1:])
    return ports


class _Resolver:
    """Turns arguments into sources; what it cannot turn it notes among ``problems``."""

    def __init__(self, owner: Owner, names: Mapping[str, object]) -> None:
        self.parameters: dict[str, Parameter] = {}
        self.problems: list[str] = []
        self._owner = owner
        self._names = names
        self._nodes_by_name = {name: held for name, held in names.items() if isinstance(held, DraftNode)}
        self._complained: set[str] = set()  # of names; once is enough for each
        self._kinds: dict[type, Callable[[Any, GraphNode], Source]] = {
            DraftNode: lambda node, user: self._edge(node, 0, user),
            Placeholder: lambda name, user: self._edge(name, 0, user),
            OutputRef: lambda output, user: self._edge(output.of, output.index, user),
            Parameter: self._parameter,
        }

    def source(self, argument: object, user: GraphNode) -> Source:
        if argument is UNCONNECTED:
            return _DEFAULT
        resolve = self._kinds.get(type(argument))
        return ConstantSource(argument) if resolve is None else resolve(argument, user)

    def check_defined(self, placeholder: Placeholder, user: GraphNode | None = None) -> None:
        """Note a name that holds no node."""
        name = placeholder.name
        held = self._names.get(name)
        if isinstance(held, DraftNode) or name in self._complained:
            return
        self._complained.add(name)
        reader = f"{user.label} reads" if user else "the flow reads"
        where = f"{reader} {name!r} (at {placeholder.place})"
        if name in self._names:
            self.problems.append(
                f"{where} before it was defined, and it is not a node but {held!r}; "
                "define it before its first use"
            )
            return
        near = get_close_matches(name, self._nodes_by_name, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        self.problems.append(f"{where}, which is not defined in the flow{hint}")

    def _edge(self, of: DraftNode | Placeholder, output: int, user: GraphNode) -> Source:
        owner = of.owner if isinstance(of, Placeholder) else record_of(of).owner
        if owner is not self._owner:
            shown = repr(of.name) if isinstance(of, Placeholder) else record_of(of).label
            self.problems.append(f"{user.label} reads {shown}, which belongs to another flow")
            return _UNRESOLVED
        if isinstance(of, Placeholder):
            self.check_defined(of, user)
            node = self._nodes_by_name.get(of.name)
            return _UNRESOLVED if node is None else EdgeSource(record_of(node).number, output)
        return EdgeSource(record_of(of).number, output)

    def _parameter(self, given: Parameter, user: GraphNode) -> Source:  # noqa: ARG002 - as the others
        known = self.parameters.setdefault(given.name, given)
        if not _agree(known.default, given.default):
            self.problems.append(
                f"parameter {given.name!r} has default {known.default!r} at {known.place} "
                f"and {given.default!r} at {given.place}; give it the same at both"
            )
        return ParameterSource(given.name)


def _agree(one: object, other: object) -> bool:
    if one is other:
        return True
    try:
        return type(one) is type(other) and bool(one == other)
    except Exception:  # noqa: BLE001 - a default is any object, and compares as it likes
        return False
