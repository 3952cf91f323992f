"""What users hold while they write a flow: nodes, their outputs, names not defined yet, parameters."""

from __future__ import annotations

import itertools
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

from orchestrator.graph.place import caller_place

if TYPE_CHECKING:
    from orchestrator.graph.groups import Expansion
    from orchestrator.graph.template import NodeTemplate
    from orchestrator.node_state import NodeState


class _Marker:
    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


UNCONNECTED: Final = _Marker("UNCONNECTED")
"""In place of an argument: the port takes its default in every run."""

REQUIRED: Final = _Marker("REQUIRED")
"""In place of a parameter's default: it has none."""


class Scope(Protocol):
    """Where nodes are being written: the block of a flow, or a group."""

    def adopt(self, record: NodeRecord) -> None: ...


class Owner(Scope, Protocol):
    """The flow that a node belongs to, as far as the node knows it."""

    def data_of(self, record: NodeRecord, run_level: int) -> tuple[Any, ...] | None: ...


current_scope: ContextVar[Scope | None] = ContextVar("current_scope", default=None)
"""The flow whose ``with`` block is being executed, or the group that is being written."""

_creations: Final = itertools.count()


@dataclass(slots=True, eq=False)
class NodeRecord:
    """A node as it was written. ``inputs`` holds what was passed for each port, or UNCONNECTED.

    ``created`` orders the nodes of a flow. ``number`` and ``name`` are set when the flow is finalized;
    until then ``name`` is None where no attribute of the flow names the node. ``group`` is the innermost
    call of a group that it was written in, or the one of which a name, ``local_name``, holds it.
    """

    template: NodeTemplate[..., Any]
    inputs: list[object]
    place: str
    is_map: bool = False
    ahead: int | None = None
    created: int = field(default_factory=_creations.__next__)
    owner: Owner | None = None
    group: Expansion | None = None
    local_name: str | None = None
    name: str | None = None
    number: int = -1
    state: NodeState | None = None  # made when it is needed (``graph.attributes``)

    @property
    def label(self) -> str:
        """How messages call it."""
        name = self.name or self.local_name
        if name is None:
            return f"{self.template.name} ({self.place})"
        return f"{name!r} ({self.template.name}, {self.place})"


class DraftNode:
    """A node of a flow. Passed as an argument it stands for its output 0.

    Of a node that is a class, every other attribute is one of its state: reading gives a copy of what
    the last completed run has left; setting one takes effect when the next run starts, and is refused
    while the flow runs.
    """

    __slots__ = ("__weakref__", "_record")

    def __init__(self, record: NodeRecord) -> None:
        object.__setattr__(self, "_record", record)

    def __bool__(self) -> NoReturn:
        raise TypeError(_no_truth(self))

    def output(self, index: int) -> Any:
        """One output of a node with ``multiple_outputs=True``, to be passed as an argument."""
        return OutputRef(self, _checked(index))

    def get_data(self, run_level: int = 0) -> tuple[Any, ...] | None:
        """The newest data, one element for each output; None if there is none (SEMANTICS 12).

        Args:
            run_level: 0 for the final value of the last completed run, 1 for the newest chunk of the
                run in progress.
        """
        owner = self._record.owner
        return None if owner is None else owner.data_of(self._record, run_level)

    def __getattr__(self, name: str) -> Any:
        # Reached for names that every node has only where they were not set: in a node half made.
        if name.startswith("__") or name in DraftNode.__slots__:
            raise AttributeError(f"a node has no attribute {name!r}")
        from orchestrator.graph.attributes import read_attribute  # noqa: PLC0415 - needed by few

        return read_attribute(self._record, name)

    def __setattr__(self, name: str, value: object) -> None:
        from orchestrator.graph.attributes import write_attribute  # noqa: PLC0415 - needed by few

        write_attribute(self._record, name, value)

    def __reduce__(self) -> NoReturn:
        called = self._record.template.name
        raise TypeError(
            f"node {self._record.label} is part of a value. As an argument a node stands by itself, "
            f"not inside a list or another object; to run its body, call {called}.__wrapped__"
        )

    def __repr__(self) -> str:
        return f"<node {self._record.label}>"


class Placeholder:
    """A name of a flow or group that nothing is assigned to yet; as an argument, the node's output 0."""

    __slots__ = ("name", "owner", "place")

    def __init__(self, owner: Scope, name: str, place: str) -> None:
        self.owner = owner
        self.name = name
        self.place = place

    def __bool__(self) -> NoReturn:
        raise TypeError(_no_truth(self))

    def output(self, index: int) -> Any:
        """One output of the node that will have this name."""
        return OutputRef(self, _checked(index))

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self.name!r}, a name of a flow, is part of a value. "
            "As an argument it stands by itself, not inside a list or another object"
        )

    def __repr__(self) -> str:
        return f"<undefined node {self.name!r} ({self.place})>"


@dataclass(frozen=True, slots=True)
class OutputRef:
    """One output of a node, as an argument."""

    of: DraftNode | Placeholder
    index: int

    def __bool__(self) -> NoReturn:
        raise TypeError(_no_truth(self))

    def get_data(self, run_level: int = 0) -> tuple[Any, ...] | None:
        """The newest data of this output alone, as :meth:`DraftNode.get_data` gives that of all."""
        data = None if isinstance(self.of, Placeholder) else self.of.get_data(run_level)
        return None if data is None else data[self.index : self.index + 1]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value that is given when the flow is run; ``default`` is REQUIRED where it must be."""

    name: str
    default: object
    place: str

    @property
    def is_required(self) -> bool:
        return self.default is REQUIRED


def parameter(name: str, default: Any = REQUIRED) -> Any:
    """A value given at run time, by ``flow.run(parameters={name: ...})`` or ``--set name=...``.

    Pass it to any number of nodes. The same name used twice must have the same default.

    Raises:
        TypeError, ValueError: the name is not an identifier.
    """
    place = caller_place()
    if not isinstance(name, str):
        raise TypeError(f"parameter at {place}: its name must be a string, not {name!r}")
    if not name.isidentifier():
        raise ValueError(f"parameter at {place}: its name must be an identifier, not {name!r}")
    return Parameter(name, default, place)


def record_of(node: DraftNode) -> NodeRecord:
    """The record behind a node that a user holds."""
    record: NodeRecord = node._record  # noqa: SLF001 - DraftNode's public names are for users
    return record


def attach(record: NodeRecord) -> DraftNode:
    """The node to hand out; it belongs to the flow or group that is being written, if one is."""
    scope = current_scope.get()
    if scope is not None:
        scope.adopt(record)
    return DraftNode(record)


def _no_truth(node: DraftNode | Placeholder | OutputRef) -> str:
    return (
        f"{node!r} is neither true nor false: its value is there when the flow runs. Decide in a body, "
        "which may return SKIP to leave out what depends on it"
    )


def _checked(index: object) -> int:
    if not isinstance(index, int) or isinstance(index, bool) or index < 0:
        raise TypeError(f"an output is an index from 0 on, not {index!r}")
    return index
