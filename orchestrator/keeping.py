"""Makes the states of a flow's nodes ready for one run of it, and free for the user again."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from executor.states import portable
from orchestrator.errors import NotSerializableError
from orchestrator.node_state import NodeState
from orchestrator.spec import FlowSpec, NodeSpec
from protocol.serialization import SerializationError, dumps, dumps_or_none
from protocol.values import Local, Value

log = logging.getLogger(__name__)

HEAVY_BYTES: Final = 1 << 28
"""State that takes more in one run of a flow is worth a word."""

_HEAVY: Final = (
    "the state of node %r was pickled after each of its runs, %d MiB in all; "
    '@node(state="resident") spares that, if nothing reads it from outside'
)


@contextmanager
def in_use(states: Mapping[int, NodeState], spec: FlowSpec) -> Iterator[None]:
    """Nobody but the run changes the states meanwhile; what it commits stays when it has ended.

    Raises:
        NotSerializableError: something that a worker needs of a state does not pickle.
        RuntimeError: the flow is running already.
    """
    busy = [spec.nodes[number].name for number, state in states.items() if state.in_use]
    if busy:
        raise RuntimeError(f"this flow is running already, and node {busy[0]!r} has one state only")
    try:
        for number, state in states.items():
            _enter(state, spec.nodes[number])
        yield
    finally:
        for number, state in states.items():
            state.leave()
            if state.written_bytes >= HEAVY_BYTES:
                log.warning(_HEAVY, spec.nodes[number].name, state.written_bytes >> 20)


def _copied(changes: object) -> Value:
    """Where it does not pickle, the objects themselves."""
    copied = dumps_or_none(changes)
    return Local(changes) if copied is None else copied


def _enter(state: NodeState, node: NodeSpec) -> None:
    if node.placement == "inline":
        state.enter(_copied)
        return
    try:
        if state.committed is not None:
            state.committed = portable(state.committed)  # the node was inline before
        state.enter(dumps)
    except SerializationError as error:
        raise NotSerializableError(
            f"the state of node {node.name!r} ({node.place})", str(error)
        ) from error
