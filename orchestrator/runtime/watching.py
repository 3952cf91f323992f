"""Who may listen to a flow run while it goes on: the seam between the machine and instruments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from executor.host import Broken
from orchestrator.resolver.firing import Listener
from orchestrator.runtime.state import Node, Run, StreamEdge
from protocol.values import Value

if TYPE_CHECKING:
    from orchestrator.runtime.machine import FlowMachine
    from orchestrator.runtime.outcome import Failure


class Watcher(Listener, Protocol):
    """Told of each step as it takes effect; nobody pays for one that is not there.

    What it raises ends the run.
    """

    def begins(self, machine: FlowMachine) -> None: ...

    def ends(self) -> None: ...

    def changed(self, node: Node) -> None:
        """Something that makes the node's status may have changed."""

    def started(self, run: Run) -> None:
        """It has left the queue and gathered its inputs."""

    def emitted(self, run: Run, values: list[Value]) -> None:
        """One chunk; no values where nobody reads them."""

    def written(self, run: Run, outputs: list[Value] | None) -> None:
        """The final value; None where there is none."""

    def waits_to_write(self, run: Run) -> None:
        """Its final value is held back until those before it are read."""

    def waits_at_gate(self, run: Run) -> None: ...

    def passes_gate(self, run: Run) -> None: ...

    def waits(self, run: Run, port: int) -> None: ...

    def wakes(self, run: Run) -> None: ...

    def took(self, edge: StreamEdge, count: int) -> None:
        """The consumer's body has taken so many more chunks."""

    def stream_ended(self, edge: StreamEdge, broken: Broken | None) -> None:
        """No chunk will follow for the consumer's run; ``broken``: because the producer failed."""

    def body_ended(self, run: Run) -> None: ...

    def failed(self, run: Run, failure: Failure) -> None: ...

    def reached_limit(self, node: Node, generation: tuple[int, ...]) -> None: ...
