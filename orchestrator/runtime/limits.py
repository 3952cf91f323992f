"""Where a run is to stop: ``stop_at_node_generation``, looked at after each emission (SEMANTICS 66)."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.resolver.generations import compare
from orchestrator.runtime.job import Job
from orchestrator.runtime.outcome import Done, LimitReached, Outcome
from orchestrator.runtime.state import Node
from orchestrator.spec import ConstantInput


class Limits:
    """Ends the run by ``stop`` as soon as a node has emitted a generation that is to be the last."""

    def __init__(self, job: Job, stop: Callable[[Outcome], None]) -> None:
        self._by_node = job.limits
        self._in_reach = set(job.limits)  # nodes that may run again; membership only, never iterated
        self._of_constants = job.constant_limit
        self._stop = stop
        self._watcher = job.watcher

    def __bool__(self) -> bool:
        """Whether there is any limit of a node."""
        return bool(self._by_node)

    def __contains__(self, node: Node) -> bool:
        return node.index in self._by_node

    def reached(self, node: Node, generation: tuple[int, ...]) -> bool:
        """The node has emitted this generation: whether that ends the run."""
        limit = self._by_node.get(node.index)
        if limit is None or compare(generation, limit) < 0:
            return False
        if self._watcher is not None:
            self._watcher.reached_limit(node, generation)
        self._stop(LimitReached(node.name, generation))
        return True

    def give_up(self, node: Node) -> None:
        """The node never runs again: that ends the run if no node that has a limit does."""
        self._in_reach.discard(node.index)
        if self._by_node and not self._in_reach:
            self._stop(Done(()))

    def reached_by_constant(self, node: Node, run: int) -> bool:
        """The node starts a run, for which its constants emit one generation each (rule 15)."""
        limit = self._of_constants
        if limit is None or compare((run,), limit) < 0:
            return False
        if not any(isinstance(port.input, ConstantInput) for port in node.spec.ports):
            return False
        self._stop(LimitReached(f"a constant of {node.name}", (run,)))
        return True
