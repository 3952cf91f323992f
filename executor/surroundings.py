"""What code of a body can ask about where it runs (SEMANTICS 39, 16.3).

The answers are the same over all awaits of a body, and in the tasks and threads (``asyncio.to_thread``)
that it starts; outside of any body they are None.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from executor.host import Invocation
from protocol.messages import WHOLE, AttemptKey
from protocol.values import Value

if TYPE_CHECKING:
    from executor.body_task import BodyTask


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """A node and the run of it whose body asks. ``number`` counts the nodes of the flow from 0.

    ``generation``: which run of the node. ``element``: which element of a map, else None. ``run``: which
    run of a flow in its process, from 1 on. ``attempt``: how often this was tried before.
    """

    name: str
    number: int
    generation: int
    element: int | None
    run: int
    attempt: int
    signature: str


@dataclass(frozen=True, slots=True)
class FlowInfo:
    """The flow as a body sees it that does not run in the flow's own thread."""

    run: int


running_flow: ContextVar[Any] = ContextVar("running_flow", default=None)
"""The flow that this thread runs."""

surroundings: ContextVar[Surroundings | None] = ContextVar("surroundings", default=None)
"""Those of the body whose context this is."""


def current_node() -> NodeInfo | None:
    """The node whose body is running; None outside of bodies."""
    around = surroundings.get()
    return None if around is None else around.node()


def current_flow() -> Any:
    """The flow that is running; None outside of a run.

    The :class:`Flow` itself where it runs: in inline bodies, and in what ``Flow.create_task`` was given.
    In workers a :class:`FlowInfo`.
    """
    around = surroundings.get()
    flow = running_flow.get()
    return FlowInfo(around.run) if flow is None and around is not None else flow


def current_context() -> Any:
    """What ``context_factory`` has made for the run of the node whose body asks.

    Inline it is made anew at each call. For a body in a worker it was made when that was sent there, or
    is made when first asked for, if the flow runs on a coordinator in a process of its own.

    Raises:
        RuntimeError: this is no body of a node, or the flow was run without ``context_factory``.
    """
    around = surroundings.get()
    if around is not None:
        return around.context()
    where = "a flow" if running_flow.get() is None else "a node"
    raise RuntimeError(f"current_context() called outside of {where}")


@dataclass(frozen=True, slots=True)
class ContextFactory:
    """Makes the context of a body in the worker, where the coordinator runs no code of the user's."""

    make: Callable[[NodeInfo], object]


class Surroundings:
    """Those of one body. ``make`` makes its context; without it that came with the invocation."""

    __slots__ = ("_body", "_invocation", "_load", "_loaded", "_make", "task")

    def __init__(
        self,
        invocation: Invocation,
        body: Callable[..., object],
        load: Callable[[Value], object],
        make: Callable[[AttemptKey], object] | None,
    ) -> None:
        self.task: BodyTask | None = None  # of an async body
        self._invocation = invocation
        self._body = body
        self._load = load
        self._make = make
        self._loaded: tuple[object, ...] = ()

    @property
    def run(self) -> int:
        return self._invocation.key.run

    def node(self) -> NodeInfo:
        return node_info(self._invocation.key, self._invocation.name, self._body)

    def context(self) -> object:
        if self._make is not None:
            return self._make(self._invocation.key)
        if self._invocation.context is None:
            raise RuntimeError("No context factory provided to run_until_complete()")
        if not self._loaded:
            context = self._load(self._invocation.context)
            if isinstance(context, ContextFactory):
                context = context.make(self.node())
            self._loaded = (context,)
        return self._loaded[0]


def node_info(key: AttemptKey, name: str, body: Callable[..., object]) -> NodeInfo:
    """The description of an attempt's node."""
    element = None if key.element == WHOLE else key.element
    return NodeInfo(name, key.node, key.generation, element, key.run, key.attempt, _signature(body))


def _signature(body: Callable[..., object]) -> str:
    if not isinstance(body, type):
        return str(inspect.signature(body))
    signature = inspect.signature(body.call)  # type: ignore[attr-defined]  # a class that is a node has it
    return str(signature.replace(parameters=list(signature.parameters.values())[1:]))
