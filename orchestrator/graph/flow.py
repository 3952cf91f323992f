"""The flow: where nodes are written down, checked, planned and run."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar

from orchestrator.companions import Companions
from orchestrator.graph.builder import Builder
from orchestrator.graph.describe import FlowDescription, describe
from orchestrator.graph.draft import DraftNode, OutputRef, Placeholder, Scope, current_scope, record_of
from orchestrator.graph.finalized import Graph
from orchestrator.graph.nearest import did_you_mean
from orchestrator.graph.place import caller_place
from orchestrator.graph.planning import plan_graph
from orchestrator.graph.results import Results

if TYPE_CHECKING:
    from executor.pool import Pool
    from executor.surroundings import NodeInfo
    from orchestrator.event_loop import EventLoop, TaskHandle
    from orchestrator.node_state import NodeState
    from orchestrator.report import RunReport

T = TypeVar("T")
StopLimit: TypeAlias = tuple[int, ...] | None
StopAt: TypeAlias = tuple[int, ...] | Mapping[Any, StopLimit]
"""One generation for all nodes, or one for each of some, by node or name; None and () mean never."""


class Flow:
    """A graph of nodes, written inside a ``with`` block.

    ::

        with Flow() as f:
            f.total = add(f.previous, 1)  # f.previous is defined below
            f.previous = keep(f.total)
        f.run(workers=2)

    Assigning a node to a public attribute names it. Inside the block, reading a public name that is
    not defined yet gives a placeholder for the node that will have it. At the end of the block the
    flow is checked. Names that begin with ``_`` are ordinary attributes, and so is everything that is
    no node.
    """

    def __init__(self) -> None:
        self._builder = Builder(vars(self))
        self._token: contextvars.Token[Scope | None] | None = None
        self._event_loop: EventLoop | None = None  # made when it is needed
        self._companions = Companions()

    def __enter__(self) -> Self:
        self._builder.open(caller_place())
        self._token = current_scope.set(self._builder)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the block; check the flow, unless the block itself raised.

        Raises:
            FlowDefinitionError: with all mistakes that were found.
        """
        assert self._token is not None
        current_scope.reset(self._token)
        self._token = None
        self._builder.close(failed=error is not None)
        if error is None:
            self._builder.graph()

    # -- attributes -------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and isinstance(value, DraftNode | OutputRef | Placeholder):
            self._admit(name, value, caller_place())
        object.__setattr__(self, name, value)

    def _admit(self, name: str | None, value: DraftNode | OutputRef | Placeholder, place: str) -> None:
        """Refuse a node that may not have this name, or may not be in this flow; else add it."""
        if name is not None and hasattr(type(self), name):
            raise AttributeError(
                f"a node at {place} is assigned to {name!r}, which is a method of Flow; "
                "give the node another name"
            )
        node = value.of if isinstance(value, OutputRef) else value
        if isinstance(node, DraftNode):
            self._builder.add(record_of(node), place)

    def __getattr__(self, name: str) -> Any:
        # Only reached for names that nothing was assigned to.
        if name.startswith("_"):
            raise AttributeError(f"this flow has no attribute {name!r}")
        if self._builder.is_open:
            return self._builder.placeholder(name, caller_place())
        public = [known for known in dir(self) if not known.startswith("_")]
        raise AttributeError(f"this flow has no node {name!r}{did_you_mean(name, public)}")

    # -- nodes without a block ----------------------------------------------------------------------

    def add_node(self, node: Any, name: str | None = None) -> None:
        """Add a node that was made outside of any block, with all nodes it is connected to.

        Args:
            node: the node.
            name: makes it an attribute of the flow.

        Raises:
            FlowDefinitionError: it belongs to another flow.
            RuntimeError: the flow has been checked already, so it is complete.
        """
        self._add(node, name, caller_place())

    def add_nodes(self, *nodes: Any, **named: Any) -> None:
        """Add nodes like :meth:`add_node`; keyword arguments name them."""
        place = caller_place()
        for node in nodes:
            self._add(node, None, place)
        for name, node in named.items():
            self._add(node, name, place)

    def _add(self, node: object, name: str | None, place: str) -> None:
        if not isinstance(node, DraftNode | OutputRef):
            raise TypeError(f"{node!r}, added at {place}, is not a node; call a @node template")
        self._admit(name, node, place)
        if name is not None:
            object.__setattr__(self, name, node)

    # -- planning and running -----------------------------------------------------------------------

    def plan(self) -> FlowDescription:
        """Check the flow and decide where its cycles are broken; runs nothing.

        Raises:
            MissingDefaultError: a cycle has no node that could begin it on its defaults.
            FlowDefinitionError: nodes are connected wrongly.
        """
        graph = self._builder.graph()
        return describe(graph, plan_graph(graph))

    def create_task(self, coroutine: Coroutine[Any, Any, T]) -> TaskHandle[T]:
        """Run a coroutine over ``orchestrator.event_loop`` beside the flow, in the thread that runs it.

        Given before a run, it starts with it; during one, from any thread, at once. A run that ends well
        waits for it, for ``timeout_s`` at most; one that does not closes it where it awaits. What it
        raises is raised for who joins it, and else logged.

        Returns:
            Its handle. ``await handle.join()`` gives its value to other tasks and to inline bodies;
            after the run ``handle.outcome()`` does.

        Raises:
            TypeError: it is no coroutine object.
        """
        task = (self._event_loop or event_loop_of(self)).create_task(coroutine)
        self._companions.add(task)
        return task

    def run(
        self,
        *,
        workers: int | None = None,
        pool: Pool | None = None,
        stop_at_node_generation: StopAt = (),
        terminate_on_node_error: bool = True,
        timeout_s: float | None = None,
        parameters: Mapping[str, object] | None = None,
        context_factory: Callable[[NodeInfo], object] | None = None,
    ) -> RunReport:
        """Run the flow to its end and report on it.

        Args:
            workers: how many worker processes to start for this run; as many as there are processors
                if None. 0 runs every node in this process: inline, except for those that are placed in
                the thread, where asyncio works.
            pool: workers that are there already, instead of ``workers``.
            stop_at_node_generation: end the run as soon as a node has emitted this generation;
                ``report.status`` is then ``"limit"``.
            terminate_on_node_error: the first node that fails ends the run. If false, what needs a
                failed node does not run, everything else does, and then the first error is raised; if
                there are several, an ExceptionGroup of all of them is its ``__cause__``.
            timeout_s: end the run after so long.
            parameters: values for ``parameter(name)``.
            context_factory: called here with the :class:`NodeInfo` of a run of a node, makes what
                ``current_context()`` gives to its body; it must pickle unless the body is inline.

        Raises:
            Exception: whatever a node raised, with the worker's traceback chained to it.
            InvalidFlowError: the flow cannot be run as it is written; no node has started.
            TimeoutError: ``timeout_s`` is over.
        """
        from orchestrator.running import run_flow  # noqa: PLC0415 - needed only to run

        return run_flow(
            self,
            workers=workers,
            pool=pool,
            stop_at_node_generation=stop_at_node_generation,
            terminate_on_node_error=terminate_on_node_error,
            timeout_s=timeout_s,
            parameters=parameters,
            context_factory=context_factory,
        )

    def run_until_complete(
        self,
        stop_at_node_generation: StopAt = (),
        terminate_on_node_error: bool = True,
        *,
        workers: int | None = None,
        pool: Pool | None = None,
        timeout_s: float | None = None,
        parameters: Mapping[str, object] | None = None,
        context_factory: Callable[[NodeInfo], object] | None = None,
    ) -> None:
        """Run the flow like :meth:`run`; reaching the stop limit is an exception here.

        Args:
            stop_at_node_generation: as for :meth:`run`.
            terminate_on_node_error: as for :meth:`run`.
            workers: as for :meth:`run`.
            pool: as for :meth:`run`.
            timeout_s: as for :meth:`run`.
            parameters: as for :meth:`run`.
            context_factory: as for :meth:`run`.

        Raises:
            TerminateLimitReached: a node has emitted the generation to stop at.
            Exception: as :meth:`run` does.
        """
        from orchestrator.running import run_flow_until_complete  # noqa: PLC0415 - needed only to run

        run_flow_until_complete(
            self,
            workers=workers,
            pool=pool,
            stop_at_node_generation=stop_at_node_generation,
            terminate_on_node_error=terminate_on_node_error,
            timeout_s=timeout_s,
            parameters=parameters,
            context_factory=context_factory,
        )


def event_loop_of(flow: Flow) -> EventLoop:
    """The event loop for a run of the flow: the one that ``Flow.create_task`` uses, if it is free."""
    from orchestrator.event_loop import EventLoop  # noqa: PLC0415 - needed only to run

    if flow._event_loop is None:  # noqa: SLF001 - Flow's public names are for users
        flow._event_loop = EventLoop()  # noqa: SLF001 - as above
    loop = flow._event_loop  # noqa: SLF001 - as above
    return loop if loop.thread_id is None else EventLoop()


def companions_of(flow: Flow) -> Companions:
    """What ``Flow.create_task`` has started, and will have."""
    return flow._companions  # noqa: SLF001 - as above


def graph_of(flow: Flow) -> Graph:
    """The checked graph of a flow, which is complete from now on.

    Raises:
        FlowDefinitionError: with all mistakes that were found.
    """
    return flow._builder.graph()  # noqa: SLF001 - Flow's public names are for users


def number_in(flow: Flow, node: DraftNode) -> int | None:
    """The number of a node in a checked flow; None if it belongs to another."""
    record = record_of(node)
    return record.number if record.owner is flow._builder else None  # noqa: SLF001 - as above


def nodes_of(flow: Flow) -> list[DraftNode]:
    """The nodes of a checked flow that the user wrote, by number; as the flow's attributes hold them."""
    held = {number_in(flow, node): node for node in vars(flow).values() if isinstance(node, DraftNode)}
    records = flow._builder.records  # noqa: SLF001 - as above
    return [held[record.number] if record.number in held else DraftNode(record) for record in records]


def states_of(flow: Flow) -> dict[int, NodeState]:
    """The states of the nodes of a checked flow that are classes, by number."""
    return flow._builder.states()  # noqa: SLF001 - as above


def publish(flow: Flow, results: Results) -> None:
    """Let the nodes' ``get_data`` read these results from now on."""
    flow._builder.results = results  # noqa: SLF001 - as above
