"""A flow to run, with all that its run needs from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from executor.host import Code
from orchestrator.node_state import NodeState
from orchestrator.spec import FlowSpec, Locals
from protocol.messages import AttemptKey, Digest
from protocol.values import Local, Value

if TYPE_CHECKING:
    from orchestrator.runtime.chunk_log import Spill
    from orchestrator.runtime.machine import FlowMachine
    from orchestrator.runtime.watching import Watcher


@dataclass(frozen=True, slots=True)
class Job:
    """``observe`` is called after each turn with the machine, to read from; it must not block.

    ``limits`` maps node numbers to the generation at which to stop; ``constant_limit`` is that of all
    constants. ``make_context`` makes what the body of an attempt gets by ``current_context()``; instead
    ``context`` may hold a :class:`~executor.surroundings.ContextFactory` for workers.
    ``states`` are those of the nodes that are classes, where they have one from before.
    """

    spec: FlowSpec
    locals: Locals
    parameters: Mapping[str, Value]
    limits: Mapping[int, tuple[int, ...]]
    constant_limit: tuple[int, ...] | None = None
    timeout_s: float | None = None
    terminate_on_node_error: bool = True
    watcher: Watcher | None = None
    spill: Spill | None = None
    observe: Callable[[FlowMachine], None] | None = None
    states: Mapping[int, NodeState] = field(default_factory=dict)
    make_context: Callable[[AttemptKey], object] | None = None
    context: Value | None = None

    def state_of(self, node: int) -> NodeState | None:
        """The state of a node, by number; None for a node that keeps none."""
        return (self.states.get(node) or NodeState()) if self.spec.nodes[node].pinned else None

    def codes(self) -> dict[Digest, Code]:
        """Each body's code: the object where it stays in this process, else its serialized form."""
        local = self.locals.codes
        return {
            code.digest: Code(
                code.digest, Local(local[code.digest]) if code.payload is None else code.payload
            )
            for code in self.spec.codes
        }

    def constants(self) -> list[Value]:
        """The constants by number, like the codes."""
        local = self.locals.constants
        return [
            Local(local[index]) if constant.payload is None else constant.payload
            for index, constant in enumerate(self.spec.constants)
        ]
