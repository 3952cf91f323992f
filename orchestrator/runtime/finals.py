"""Final values from producers to readers: barrier 0 (SEMANTICS 9).

Theory of operation. An edge holds ``capacity`` final values, one unless it was widened. A run that has
ended *holds* its final value until every edge it writes to has room; the node's next run starts only
then. The start of a reader's run takes its values off the edges, which lets those be written that wait.
"""

from __future__ import annotations

from orchestrator.resolver.firing import Firing
from orchestrator.runtime.limits import Limits
from orchestrator.runtime.progress import Progress
from orchestrator.runtime.results import Newest
from orchestrator.runtime.state import Node, Run
from orchestrator.runtime.watching import Watcher
from protocol.values import size_bytes


class Finals:
    """All edges of one flow run that carry final values."""

    def __init__(
        self,
        firing: Firing,
        progress: Progress,
        newest: Newest,
        limits: Limits,
        watcher: Watcher | None,
    ) -> None:
        self._firing = firing
        self._progress = progress
        self._newest = newest
        self._limits = limits
        self._watcher = watcher

    def can_write(self, node: Node) -> bool:
        """Whether all edges of the node have room for one more."""
        for edge in node.finals_out:  # noqa: SIM110 - half the cost, once for each value
            if edge.is_full:
                return False
        return True

    def write(self, node: Node) -> bool:
        """Write a final value that is held, as soon as all that read the one before have (rule 46).

        False if that ended the flow's run.
        """
        run = node.run
        if run is None or run.held is None:
            return True
        if not self.can_write(node):
            self._progress.suspect(node)
            if self._watcher is not None:
                self._watcher.waits_to_write(run)
            return True
        if self.reaches_limit(run):
            return False
        outputs = run.held
        for edge in node.finals_out:
            edge.put(run.void or outputs[edge.spec.output])
        node.runs += 1
        node.run = None
        self._commit(run)
        if self._watcher is not None:
            self._watcher.changed(node)
            self._watcher.written(run, outputs if run.has_final else None)
        self._firing.end(node.index)
        for edge in node.finals_out:
            self._firing.arrive(edge.index)
        return True

    def write_awaited(self, reader: Node) -> None:
        """The reader's run has taken its values: what waited for that is written."""
        for edge in reader.finals_in:
            if edge.producer.run is not None and not self.write(edge.producer):
                return

    def reaches_limit(self, run: Run) -> bool:
        """Whether the final value that is held ends the flow's run; it stays readable."""
        if not self._limits.reached(run.node, (run.number,)):
            return False
        run.node.runs += 1
        self._commit(run)
        return True

    def _commit(self, run: Run) -> None:
        """The result and the state that the run has left count from now on, both (SEMANTICS 16.1)."""
        node = run.node
        size = sum(map(size_bytes, run.held or ()))
        node.bytes += size
        self._newest.keep_final(node, run.number, run.held if run.has_final else None, size)
        if node.state is not None and run.is_complete:
            node.state.commit(run.state)
