"""From what the user wrote to a checked graph: names resolved, nodes numbered, mistakes collected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
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
from orchestrator.graph.groups import Expansion
from orchestrator.graph.maps import add_folds, add_splits
from orchestrator.graph.names import Names
from orchestrator.graph.validation import mistakes
from orchestrator.spec import Kind

_DEFAULT: Final = DefaultSource()
# Stands for what could not be found and is noted, so that the port is not reported a second time.
_UNRESOLVED: Final = ConstantSource(UNCONNECTED)


def finalize(
    owner: Owner,
    records: Sequence[NodeRecord],
    names: Names,
    placeholders: Iterable[Placeholder],
) -> Graph:
    """The graph of a flow.

    Args:
        owner: the flow; a node of another one is a mistake.
        records: its nodes, in order of creation, with all that they are connected to.
        names: the user's public attributes of the flow.
        placeholders: the names that were read before they were defined.

    Raises:
        FlowDefinitionError: with every mistake that was found.
    """
    resolver = _Resolver(owner, names)
    nodes = _number(records)
    for node, record in zip(nodes, records, strict=True):
        node.inputs = [resolver.source(argument, node) for argument in record.inputs]
    names.check(placeholders)
    graph = Graph(nodes, resolver.parameters)
    # Splits first: a mono node is no mistake as the source of a map, and a mistake anywhere else.
    add_splits(graph)
    problems = [*names.problems, *resolver.problems, *mistakes(graph)]
    if problems:
        raise FlowDefinitionError(tuple(problems))
    add_folds(graph)
    return graph


def _number(records: Sequence[NodeRecord]) -> list[GraphNode]:
    """Nodes without inputs yet, named: by attribute, else by template and number of use."""
    naming = _Naming(record.name for record in records if record.name is not None)
    nodes = []
    for number, record in enumerate(records):
        record.number = number
        name, instance = naming.of(record)
        nodes.append(
            GraphNode(
                number,
                name,
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


class _Naming:
    """Gives every node of a flow a name of its own; ``taken`` are those of the flow's attributes."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)
        self._uses: Counter[str] = Counter()
        self._prefixes: dict[Expansion, str] = {}

    def of(self, record: NodeRecord) -> tuple[str, str]:
        """The node's name, and its template's name with the number of this use."""
        prefix = "" if record.group is None else self._prefix(record.group)
        template = prefix + record.template.name
        name = record.name
        if name is None and record.local_name is not None:
            name = prefix + record.local_name
            if name in self._taken:
                name = None
        instance = f"{template}#{self._uses[template]}"
        while name is None and instance in self._taken:
            self._uses[template] += 1
            instance = f"{template}#{self._uses[template]}"
        self._uses[template] += 1
        name = name or instance
        self._taken.add(name)
        return name, instance

    def _prefix(self, expansion: Expansion) -> str:
        """What the names of the nodes in a group begin with: ``outer#0.inner#3.``."""
        prefix = self._prefixes.get(expansion)
        if prefix is None:
            group = (
                expansion.name
                if expansion.around is None
                else self._prefix(expansion.around) + expansion.name
            )
            prefix = self._prefixes[expansion] = f"{group}#{self._uses[group]}."
            self._uses[group] += 1
        return prefix


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
    """Turns arguments into sources; what it cannot turn is among its ``problems`` or those of names."""

    def __init__(self, owner: Owner, names: Names) -> None:
        self.parameters: dict[str, Parameter] = {}
        self.problems: list[str] = []
        self._owner = owner
        self._names = names
        self._kinds: dict[type, Callable[[Any, GraphNode], Source]] = {
            Placeholder: self._named,
            OutputRef: self._named,
            Parameter: self._parameter,
        }

    def source(self, argument: object, user: GraphNode) -> Source:
        if type(argument) is DraftNode:
            return self._edge(argument, 0, user)
        if argument is UNCONNECTED:
            return _DEFAULT
        resolve = self._kinds.get(type(argument))
        return ConstantSource(argument) if resolve is None else resolve(argument, user)

    def _named(self, argument: Placeholder | OutputRef, user: GraphNode) -> Source:
        found = self._names.resolve(argument, user)
        if found is UNCONNECTED:
            return _UNRESOLVED
        of, output = (found.of, found.index) if isinstance(found, OutputRef) else (found, 0)
        assert isinstance(of, DraftNode | Placeholder)
        return self._edge(of, output, user)

    def _edge(self, of: DraftNode | Placeholder, output: int, user: GraphNode) -> Source:
        if isinstance(of, DraftNode):
            record = record_of(of)
            if record.owner is self._owner:
                return EdgeSource(record.number, output)
        # A placeholder that is left is a name of another flow.
        shown = repr(of.name) if isinstance(of, Placeholder) else record_of(of).label
        self.problems.append(f"{user.label} reads {shown}, which belongs to another flow")
        return _UNRESOLVED

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
