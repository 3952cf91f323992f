"""Which nodes go on by themselves, and which have just come to rest."""

from __future__ import annotations

from collections import deque

from orchestrator.runtime.gate import goes_on
from orchestrator.runtime.state import Node
from orchestrator.runtime.watching import Watcher


class Progress:
    """Counts the nodes whose bodies can go on, so that rest is known without looking at all nodes.

    ``suspects`` came to rest since the last search for a deadlock: a cycle of waits that is new has
    one of them on it.
    """

    def __init__(self, watcher: Watcher | None = None) -> None:
        self.count = 0
        self.suspects: deque[Node] = deque()
        self._watcher = watcher

    def note(self, node: Node) -> None:
        """Look at a node again after something about its run has changed."""
        progresses = goes_on(node)
        if progresses is not node.progresses:
            node.progresses = progresses
            self.count += 1 if progresses else -1
        if self._watcher is not None:
            self._watcher.changed(node)

    def note_rest(self, node: Node) -> None:
        """Like :meth:`note`, where it may have come to rest."""
        self.note(node)
        if not node.progresses:
            self.suspects.append(node)

    def suspect(self, node: Node) -> None:
        self.suspects.append(node)

    def suspect_upstream(self, node: Node) -> None:
        """The node is parked: nothing that it reads, however far up, may wait for it any more."""
        pending = [node]
        seen = {node.index}
        while pending:
            for edge in pending.pop().streams_in:
                producer = edge.producer
                if producer.index not in seen:
                    seen.add(producer.index)
                    self.suspects.append(producer)
                    if producer.run is not None:
                        pending.append(producer)
