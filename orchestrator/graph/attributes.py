"""The attributes of a node that is a class, ``flow.node.total``, read and set from outside of its runs.

SEMANTICS 37 and 16.1: what is read is the state after the node's last completed run, before any run the
class's own attributes. What is set is there when the node's next run starts.
"""

from __future__ import annotations

from typing import Any

from executor.instances import data_attributes, initial_value
from executor.states import StateError, read_attributes
from orchestrator.errors import StateNotAvailable
from orchestrator.graph.draft import DraftNode, NodeRecord
from orchestrator.graph.nearest import did_you_mean
from orchestrator.node_state import NodeState
from protocol.values import Value


def state_of(record: NodeRecord) -> NodeState:
    """The state of a node that is a class, the same for all runs of its flow."""
    if record.state is None:
        record.state = NodeState()
    return record.state


def read_attribute(record: NodeRecord, name: str) -> Any:
    """A copy of an attribute's value: to change it, set it.

    Raises:
        StateNotAvailable: the value cannot be had here, or not yet.
        AttributeError: the node is not a class, or its state has no such attribute.
    """
    kind = _class_of(record, name)
    state = state_of(record)
    if name in state.changes:
        return state.changes[name]
    if record.template.options.state == "resident":
        raise StateNotAvailable(
            record.label,
            name,
            'with state="resident" it never leaves the place where the node runs; '
            'return it from call(), or use state="checkpoint"',
        )
    if state.committed is None:
        return _initial(record, kind, name)
    attributes = _committed(record, kind, name, state.committed)
    if name not in attributes:
        raise _unknown(record, kind, name, attributes)
    return attributes[name]


def write_attribute(record: NodeRecord, name: str, value: object) -> None:
    """Set an attribute for the node's next run, which goes on with it as with any other.

    Raises:
        AttributeError: the node is not a class, or the name is taken.
        RuntimeError: the flow is running.
    """
    _class_of(record, name)
    if hasattr(DraftNode, name) or name.startswith("__"):
        raise AttributeError(
            f"{name!r} is a name that every node has, so it cannot be set on node {record.label}; "
            "give the attribute of the class another name"
        )
    state = state_of(record)
    if state.in_use:
        raise RuntimeError(
            f"{name!r} of node {record.label} cannot be set while the flow runs; set it before or after"
        )
    state.changes[name] = value


def _class_of(record: NodeRecord, name: str) -> type:
    kind = record.template.__wrapped__
    if not isinstance(kind, type):
        raise AttributeError(  # noqa: TRY004 - a name is what is wrong
            f"node {record.label} has no attribute {name!r}: it is a function, and only nodes that "
            "are classes have state"
        )
    return kind


def _committed(record: NodeRecord, kind: type, name: str, committed: Value) -> dict[str, Any]:
    try:
        return read_attributes(kind, committed)
    except StateError as error:
        raise StateNotAvailable(record.label, name, str(error)) from error


def _initial(record: NodeRecord, kind: type, name: str) -> Any:
    """Before any run the instance does not exist: the class alone says what it will hold."""
    defined = data_attributes(kind)
    if name in defined:
        try:
            return initial_value(kind, name, defined[name])
        except StateError as error:
            raise StateNotAvailable(record.label, name, str(error)) from error
    if kind.__init__ is object.__init__ or hasattr(kind, name):  # type: ignore[misc]  # only compared
        raise _unknown(record, kind, name, defined)
    raise StateNotAvailable(
        record.label,
        name,
        "the class does not define it, and __init__() is called when the node's first run starts; "
        f"give the class an attribute {name!r}, set it, or read it after the run",
    )


def _unknown(record: NodeRecord, kind: type, name: str, attributes: dict[str, Any]) -> AttributeError:
    if hasattr(kind, name):
        reason = "; it is a method or property of the class; only its data can be read here"
    else:
        known = ", ".join(sorted(attributes)) or "none"
        reason = did_you_mean(name, attributes, otherwise=f"; its state has: {known}")
    return AttributeError(f"node {record.label} has no attribute {name!r}{reason}")
