"""The decorators ``@node`` and ``@node.template``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, Protocol, TypeVar, cast, overload

from executor.blueprint import FOLD_METHOD, BodyKind
from executor.retry import RetryPolicy
from executor.scheduling import demand_of
from orchestrator.graph.capture import warn_of_changes
from orchestrator.graph.groups import GroupTemplate, template
from orchestrator.graph.place import caller_place, definition_place
from orchestrator.graph.template import NodeOptions, NodeTemplate

if TYPE_CHECKING:
    from executor.code import Accumulate
    from orchestrator.spec import OnSkip, Placement, StatePlace

P = ParamSpec("P")
R = TypeVar("R")
Make = TypeVar("Make", bound=Callable[..., Any])


class _Decorator(Protocol):
    """``@node(...)``: what takes the body once the options are given."""

    @overload
    def __call__(self, body: type[Any], /) -> NodeTemplate[..., Any]: ...
    @overload
    def __call__(self, body: Callable[P, R], /) -> NodeTemplate[P, R]: ...


@overload
def _node(body: type[Any], /) -> NodeTemplate[..., Any]: ...
@overload
def _node(body: Callable[P, R], /) -> NodeTemplate[P, R]: ...
@overload
def _node(
    *,
    stream_in: Sequence[str] = (),
    multiple_outputs: bool = False,
    window: int | None = None,
    placement: Placement = "process",
    drain: bool = True,
    on_skip: OnSkip = "skip",
    accumulate: Accumulate = None,
    keep: bool = False,
    state: StatePlace | None = None,
    timeout_s: float | None = None,
    memory_hard_bytes: int | None = None,
    retry: RetryPolicy | None = None,
    retries: int | None = None,
    priority: float = 0,
    cpus: float | None = None,
    memory: int | None = None,
    resources: Mapping[str, float] | None = None,
    name: str | None = None,
) -> _Decorator: ...


def _node(  # noqa: PLR0913 - every option by its name
    body: Callable[..., Any] | None = None,
    /,
    *,
    stream_in: Sequence[str] = (),
    multiple_outputs: bool = False,
    window: int | None = None,
    placement: Placement = "process",
    drain: bool = True,
    on_skip: OnSkip = "skip",
    accumulate: Accumulate = None,
    keep: bool = False,
    state: StatePlace | None = None,
    timeout_s: float | None = None,
    memory_hard_bytes: int | None = None,
    retry: RetryPolicy | None = None,
    retries: int | None = None,
    priority: float = 0,
    cpus: float | None = None,
    memory: int | None = None,
    resources: Mapping[str, float] | None = None,
    name: str | None = None,
) -> Any:
    """Make a kind of node of a function, a generator (plain or ``async``), or a class with ``call``.

    Parameters are the node's input ports; one annotated ``Stream[...]`` receives a stream. A class has
    one instance for each node of a flow, which keeps its attributes from run to run.

    Args:
        body: the function or class, where the decorator is used without options.
        stream_in: names of further parameters that receive streams.
        multiple_outputs: each result is a tuple with one element for each output.
        window: how many chunks a generator may be ahead of its slowest reader; by default 1, or 0
            where both run inline.
        placement: ``"process"`` runs the body in a worker process. ``"thread"`` runs it in a thread
            beside the coordinator, with all others of that placement: for ``async def`` bodies that wait
            for I/O, thousands at a time, on asyncio; plain bodies run there one after the other.
            ``"inline"`` runs it on the event loop of the coordinator.
        drain: a generator that nobody reads runs to its end.
        on_skip: what the node does where something it reads was skipped: ``"skip"`` skips its run too,
            ``"default"`` lets the parameter take its default.
        accumulate: how a generator's chunks make its final value: summed if None, collected by
            ``list``, or folded by a function of ``(accumulated, chunk)``. Of a map, how its results do.
        keep: the final value stays readable by ``get_data()`` whatever its size.
        state: of a class. ``"checkpoint"``, the default: the attributes are pickled after each run and
            committed with its result; ``f.node.attr`` reads them, and a run that fails leaves them as
            they were. ``"resident"``: they stay where the node runs, while the flow runs; for large
            state, or such as does not pickle.
        retry: how often the body may run again after its own errors, and after the loss of its worker;
            by default as the pool says, which is: not after an error, and twice after a loss.
        retries: so many times after an error; 0: the body runs at most once, whatever happens.
        timeout_s: how long one run of the body may compute in its worker, by default as long as the
            pool allows; loading its code counts, waiting for streams does not. Then it is interrupted.
        memory_hard_bytes: how large its worker may be while it runs the body, by default as the pool
            allows. Then the worker is killed.
        priority: where several nodes could run, those of lower numbers do first.
        cpus: of a node that neither reads nor writes streams: how many of the pool's processors a run
            claims while it runs (default: 1), for bodies that use several threads.
        memory: how many bytes of the pool's memory it claims; what it really uses is not compared.
        resources: what else it claims, by names that ``Pool(resources=...)`` gives.
        name: what the node is called in messages, if not by the body's name.

    Raises:
        TypeError, ValueError: the body is none of these, or an option is not what it must be.
    """
    place = caller_place()

    def make(body: Callable[..., Any]) -> NodeTemplate[..., Any]:
        called = name if name is not None else str(getattr(body, "__name__", type(body).__name__))
        defined = definition_place(body) or place
        if isinstance(body, NodeTemplate | GroupTemplate):
            raise TypeError(
                f"@node {called} at {place}: it is a template already; to give its body other options, "
                "write node(...)(template.__wrapped__)"
            )
        try:
            options = NodeOptions(
                stream_in=_names(stream_in),
                multiple_outputs=multiple_outputs,
                window=window,
                placement=placement,
                drain=drain,
                on_skip=on_skip,
                accumulate=accumulate,
                keep=keep,
                state=state,
                timeout_s=timeout_s,
                memory_hard_bytes=memory_hard_bytes,
                retry=_retry(retry, retries),
                priority=priority,
                demand=demand_of(cpus, memory, resources),
            )
            _check_class(body, options)
            template = NodeTemplate(body, options, called, defined)
            _check_demand(template)
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"@node {called} at {defined}: {error}") from error
        if placement == "process":
            warn_of_changes(body, called, defined)
        return template

    return make if body is None else make(body)


def _check_demand(template: NodeTemplate[..., Any]) -> None:
    shape = template.blueprint
    streams = shape.kind is BodyKind.GENERATOR or any(
        port.run_level for port in (*shape.ports, *([shape.variadic] if shape.variadic else []))
    )
    if template.options.demand and streams:
        raise ValueError(
            "a node that reads or writes a stream cannot have cpus=, memory= or resources=: it would "
            "hold them while it waits for others, which may need them to go on. Let it pass the work to "
            "a node that returns once"
        )


def _check_class(body: object, options: NodeOptions) -> None:
    if not isinstance(body, type):
        if options.state is not None:
            raise TypeError(f"state={options.state!r} is for classes; a function keeps no state")
        return
    if options.accumulate is not None and hasattr(body, FOLD_METHOD):
        raise TypeError(f"accumulate= and the method {FOLD_METHOD}() do the same; keep one of them")
    compiled = next((base for base in body.__mro__[:-1] if not base.__flags__ & _HEAP_TYPE), None)
    if compiled is not None:
        raise TypeError(
            f"its base class {compiled.__name__} keeps state that is in no attribute; "
            f"give it an attribute that holds a {compiled.__name__} instead"
        )
    _check_constructor(body)


_HEAP_TYPE: Final = 1 << 9
"""CPython's flag of a class that was made at run time, and not compiled in."""


def _retry(retry: RetryPolicy | None, retries: int | None) -> RetryPolicy | None:
    if retries is None:
        return retry
    if retry is not None:
        raise TypeError("give either retry= or retries=, not both")
    return RetryPolicy.of(retries)


def _check_constructor(body: type) -> None:
    """Each node makes an instance of its class by itself, so it has nothing to give it."""
    needed = [
        parameter.name
        for parameter in inspect.signature(body).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if needed:
        raise TypeError(
            f"its constructor needs {needed[0]!r}, but a node's instance is made without arguments; "
            "give it a default, or make it a parameter of call()"
        )


def _names(stream_in: Sequence[str]) -> tuple[str, ...]:
    if isinstance(stream_in, str):
        raise TypeError(f"stream_in must be a list of names: write [{stream_in!r}]")
    return tuple(stream_in)


class NodeDecorator(Protocol[Make]):
    """``@node`` makes a kind of node of a function or class, ``@node.template`` a group of nodes."""

    __call__: Make

    @staticmethod
    def template(function: Callable[Concatenate[Any, P], object], /) -> GroupTemplate[P]: ...


def _with_template(make: Make) -> NodeDecorator[Make]:
    vars(make)["template"] = template
    return cast("NodeDecorator[Make]", make)


_node.__name__ = _node.__qualname__ = "node"
node: Final = _with_template(_node)
