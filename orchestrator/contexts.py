"""The contexts that ``context_factory`` makes: in the coordinator, one for each run of a node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from executor.surroundings import NodeInfo, node_info
from orchestrator.graph.finalized import GraphNode
from protocol.messages import AttemptKey

ContextFactory: TypeAlias = Callable[[NodeInfo], object]


class Contexts:
    """Calls the factory for the nodes of one flow."""

    def __init__(self, factory: ContextFactory, nodes: Sequence[GraphNode]) -> None:
        self._factory = factory
        self._nodes = nodes

    def make(self, key: AttemptKey) -> object:
        """A context for an attempt.

        Raises:
            Exception: whatever the factory raises, with a note that names the node.
        """
        node = self._nodes[key.node]
        try:
            return self._factory(node_info(key, node.name, node.template.__wrapped__))
        except Exception as error:
            error.add_note(f"(raised by context_factory, called for node {node.label})")
            raise
