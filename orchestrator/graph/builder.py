"""The state of a flow while it is written, behind :class:`orchestrator.graph.flow.Flow`."""

from __future__ import annotations

import enum
from collections.abc import Mapping, MutableMapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from orchestrator.errors import FlowDefinitionError
from orchestrator.graph.draft import DraftNode, NodeRecord, OutputRef, Placeholder, record_of
from orchestrator.graph.finalize import finalize
from orchestrator.graph.finalized import Graph
from orchestrator.graph.groups import Expansion
from orchestrator.graph.names import Names
from orchestrator.graph.results import NoResults, Results

if TYPE_CHECKING:
    from orchestrator.node_state import NodeState


class _Phase(enum.Enum):
    NEW = "new"  # no block was entered; nodes may be added
    OPEN = "open"  # inside the block
    CLOSED = "closed"  # after the block, or checked without one
    FAILED = "failed"  # the block raised


class Builder:
    """The nodes and placeholders of one flow.

    ``namespace`` is the flow's own attributes, which name its nodes. ``results`` is what ``get_data``
    reads.
    """

    def __init__(self, namespace: MutableMapping[str, Any]) -> None:
        self.results: Results = NoResults()
        self._namespace = namespace
        self._phase = _Phase.NEW
        self._records: list[NodeRecord] = []
        self._placeholders: dict[str, Placeholder] = {}
        self._graph: Graph | None = None

    # -- the block ----------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        return self._phase is _Phase.OPEN

    def open(self, place: str) -> None:
        if self._phase is not _Phase.NEW:
            raise RuntimeError(
                f"the flow is entered at {place}, but it had its block or was run already"
            )
        self._phase = _Phase.OPEN

    def close(self, *, failed: bool) -> None:
        self._phase = _Phase.FAILED if failed else _Phase.CLOSED

    # -- nodes and names ------------------------------------------------------------------------------

    def adopt(self, record: NodeRecord) -> None:
        record.owner = self
        self._records.append(record)

    def add(self, record: NodeRecord, place: str) -> None:
        """Take a node in, unless it is here already."""
        if record.owner is self:
            return
        if record.owner is not None:
            raise FlowDefinitionError((f"{record.label}, added at {place}, belongs to another flow",))
        if self._phase not in (_Phase.NEW, _Phase.OPEN):
            raise RuntimeError(
                f"{record.label} is added at {place}, but the flow is complete since its block ended "
                "or it was planned"
            )
        self.adopt(record)

    def placeholder(self, name: str, place: str) -> Placeholder:
        placeholder = Placeholder(self, name, place)
        self._placeholders.setdefault(name, placeholder)
        return placeholder

    @property
    def records(self) -> Sequence[NodeRecord]:
        """The nodes; by number, once the flow was checked."""
        return self._records

    # -- the result -----------------------------------------------------------------------------------

    def graph(self) -> Graph:
        """The checked graph; from the first call on nothing can be added.

        Raises:
            FlowDefinitionError: with all mistakes that were found.
            RuntimeError: the block raised, so the flow is not complete, or it has not ended.
        """
        if self._graph is None:
            if self._phase is _Phase.OPEN:
                raise RuntimeError("the flow is complete only at the end of its 'with' block")
            if self._phase is _Phase.FAILED:
                raise RuntimeError("the 'with' block of this flow raised, so the flow is not complete")
            self._phase = _Phase.CLOSED
            held = {name: value for name, value in self._namespace.items() if name[0] != "_"}
            self._adopt_connected()
            self._name_nodes(held)
            names = Names(self, held, "the flow")
            self._graph = finalize(self, self._records, names, self._placeholders.values())
            for name, value in held.items():
                if isinstance(value, Placeholder | OutputRef):
                    self._namespace[name] = names.resolve(value, None)
        return self._graph

    def _adopt_connected(self) -> None:
        """Take in what belongs to the nodes and was made outside of any block (A6).

        That is what they are connected to, and the rest of the groups they were made in.
        """
        whole: set[Expansion] = set()
        for record in self._records:  # grows while it is walked
            for argument in record.inputs:
                of = argument.of if type(argument) is OutputRef else argument
                if type(of) is DraftNode and record_of(of).owner is None:
                    self.adopt(record_of(of))
            if record.group is not None and (group := record.group.outermost) not in whole:
                whole.add(group)
                for member in group.records:
                    if member.owner is None:
                        self.adopt(member)
        self._records.sort(key=attrgetter("created"))

    def _name_nodes(self, held: Mapping[str, object]) -> None:
        for name, value in held.items():
            if isinstance(value, DraftNode):
                record = record_of(value)
                if record.owner is self and record.name is None:
                    record.name = name

    def data_of(self, record: NodeRecord, run_level: int) -> tuple[Any, ...] | None:
        """What a node shows at a run level; a map's final values are those of its folds."""
        if self._graph is None:
            return None
        folds = self._graph.folds.get(record.number, ()) if record.is_map else ()
        if run_level or not folds:
            return self.results.get(record.number, run_level)
        outputs: list[Any] = []
        for number in folds:
            folded = self.results.get(number, 0)
            if folded is None:
                return None
            outputs += folded
        return tuple(outputs)

    def states(self) -> dict[int, NodeState]:
        """The states of the nodes that are classes, by number."""
        from orchestrator.graph.attributes import state_of  # noqa: PLC0415 - needed by few

        self.graph()
        classes = [record for record in self._records if record.template.blueprint.is_class]
        return {record.number: state_of(record) for record in classes}
