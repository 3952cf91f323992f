"""What to do when nodes wait for one another: widen an edge, or end the run (SEMANTICS 52, 65)."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.resolver.firing import Firing
from orchestrator.runtime import gate
from orchestrator.runtime.finals import Finals
from orchestrator.runtime.outcome import Deadlocked, Outcome
from orchestrator.runtime.progress import Progress
from orchestrator.runtime.state import Edge, FinalEdge, Node
from orchestrator.runtime.streams import Streams
from orchestrator.runtime.waits import (
    Wait,
    edge_to_widen,
    find_deadlock,
    is_certain,
    waits_behind,
    waits_in_run,
    waits_to_start,
)


class Repair:
    """Looks for deadlocks in one flow run. ``widened`` counts by edge how often each was widened."""

    def __init__(
        self,
        nodes: list[Node],
        edges: list[Edge],
        firing: Firing,
        progress: Progress,
        streams: Streams,
        finals: Finals,
        stop: Callable[[Outcome], None],
    ) -> None:
        self.widened: dict[int, int] = {}
        self._nodes = nodes
        self._edges = edges
        self._firing = firing
        self._progress = progress
        self._streams = streams
        self._finals = finals
        self._stop = stop

    def look_at_suspects(self, *, at_rest: bool = False) -> bool:
        """Repair one deadlock that a suspect leads to, or end the run by it; False if there is none."""
        suspects = self._progress.suspects
        while (deadlock := find_deadlock(suspects, self.waits_of, self._is_parked)) is not None:
            edge = edge_to_widen(deadlock)
            if edge is None and not is_certain(deadlock):
                if not at_rest:
                    suspects.popleft()
                    continue
                edge = edge_to_widen(waits_behind(deadlock, self.waits_of))
            if edge is None:
                self.end(deadlock)
            else:
                self._widen(edge)
            return True
        return False

    def end(self, cycle: list[Wait]) -> None:
        """End the run, with all that is waited for; ``cycle`` is empty where there is none."""
        waits = [wait.describe() for node in self._nodes for wait in self.waits_of(node)]
        self._stop(Deadlocked(tuple(waits), tuple(wait.describe() for wait in cycle)))

    def waits_of(self, node: Node) -> list[Wait]:
        """What must happen before the node goes on; empty if it does, or if nobody wants it to."""
        if node.run is not None:
            return [] if node in self._streams.maps else waits_in_run(node, node.run)
        if node.is_dead or not self._firing.is_wanted(node.index):
            return []
        lacking = [self._edges[index] for index in self._firing.lacking(node.index)]
        return waits_to_start(node, lacking)

    def _is_parked(self, node: Node) -> bool:
        return gate.is_parked(node, lambda other: self._firing.is_wanted(other.index))

    def _widen(self, edge: Edge) -> None:
        edge.widen()
        self.widened[edge.index] = self.widened.get(edge.index, 0) + 1
        if isinstance(edge, FinalEdge):
            self._finals.write(edge.producer)
        else:
            self._streams.look_again(edge.producer)
