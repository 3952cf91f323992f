"""Instruments: objects that are told what a flow does while it runs, for logs, traces and measurements.

``with instrument: flow.run(...)`` installs one, for the runs that are started in the block; of nested
blocks only the innermost counts. Hooks are called in the thread that runs the flow, between two of its
turns: they must not block. What a hook raises ends the run, and is raised by it. Where bodies run in
workers, an instrument hears of what they did when their messages arrive, in the order in which it
took effect.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from orchestrator.runtime.status import NodeStatus

if TYPE_CHECKING:
    from orchestrator.graph.flow import Flow

FlowNode: TypeAlias = Any
"""A node as the flow's attributes hold it; what has no name is made for the occasion."""

Data: TypeAlias = tuple[Any, ...] | None
"""One element for each output; None where there is no value."""


class FlowInstrument:
    """Base of instruments: hooks that do nothing. Override those that are of interest (SEMANTICS 84).

    ``run_level`` is 0 for final values and whole runs, 1 for chunks. Nodes that the builder has made
    itself, beside a map, are not mentioned, and constants are no nodes here.
    """

    def on_flow_start(self, flow: Flow) -> None:
        """A run begins."""

    def on_flow_end(self, flow: Flow) -> None:
        """The run is over, however it ended."""

    def on_node_registered(self, flow: Flow, node: FlowNode) -> None:
        """The run has this node; told of each at the start, in order of creation."""

    def on_node_visited(self, flow: Flow, node: FlowNode) -> None:
        """The node starts a run for the first time."""

    def on_resolution_queue_put(self, flow: Flow, node: FlowNode) -> None:
        """The node's next run can start."""

    def on_resolution_queue_get(self, flow: Flow, node: FlowNode) -> None:
        """The node's next run is about to start."""

    def on_solving_nodes(self, flow: Flow, head: FlowNode, solution: list[FlowNode]) -> None:
        """A run of ``head`` is demanded; that lets the runs of ``solution`` start."""

    def on_node_resumed(self, flow: Flow, node: FlowNode, run_level: int) -> None:
        """A body that rested may go on: a chunk for it has come (0), or its gate is open (1)."""

    def on_node_stalled(self, flow: Flow, node: FlowNode, port: str) -> None:
        """The body waits for the next chunk of the stream it reads as ``port``."""

    def on_node_pause(self, flow: Flow, node: FlowNode, run_level: int) -> None:
        """A generator rests at its gate: its readers have yet to take what it has emitted."""

    def on_node_emitted_data(self, flow: Flow, node: FlowNode, data: Data, run_level: int) -> None:
        """The node has emitted a chunk or a final value. Overriding this costs unpickling it."""

    def on_node_generation_limit(self, flow: Flow, node: FlowNode, generation: tuple[int, ...]) -> None:
        """The node has reached the generation at which the run is to stop."""

    def on_node_error(self, flow: Flow, node: FlowNode, error: BaseException) -> None:
        """A run of the node has failed."""

    def on_node_status_change(
        self, flow: Flow, node: FlowNode, old: NodeStatus, new: NodeStatus
    ) -> None:
        """What the node does, or waits for, has changed (SEMANTICS 86)."""

    def on_stream_start(self, flow: Flow, node: FlowNode, port: str) -> None:
        """A run of the node begins to read a stream."""

    def on_stream_next(self, flow: Flow, node: FlowNode, port: str) -> None:
        """The body has taken a chunk."""

    def on_stream_end(self, flow: Flow, node: FlowNode, port: str) -> None:
        """No chunk will follow: the producer has ended, or the reader has left."""

    def on_stream_error(self, flow: Flow, node: FlowNode, port: str, error: str) -> None:
        """The stream breaks off because its producer failed."""

    def on_barrier_node_read(self, flow: Flow, node: FlowNode, run_level: int) -> None:
        """The node has read an input: one less that a producer's next value waits for."""

    def on_defaulted_inputs(self, flow: Flow, node: FlowNode, ports: list[str]) -> None:
        """A run begins in which these connected ports take their defaults."""

    def on_barrier_node_write(
        self, flow: Flow, node: FlowNode, run_level: int
    ) -> AbstractContextManager[object]:
        """Entered while the node waits for its readers before it may emit."""
        del flow, node, run_level
        return nullcontext()

    def node_lifecycle(
        self, flow: Flow, node: FlowNode, run_level: int
    ) -> AbstractContextManager[object]:
        """Entered during each run of the node (0), and during the computation of each chunk (1)."""
        del flow, node, run_level
        return nullcontext()

    # -- installing ---------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        _installed.set((*_installed.get(), self))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _installed.set(_installed.get()[:-1])


def current_instrument() -> FlowInstrument | None:
    """The innermost instrument that is installed here, if any."""
    installed = _installed.get()
    return installed[-1] if installed else None


_installed: Final[ContextVar[tuple[FlowInstrument, ...]]] = ContextVar("instruments", default=())
