"""Node templates: what ``@node`` makes of a function or class, and calling it to use it in a flow."""

from __future__ import annotations

import functools
import operator
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeVar

from executor.blueprint import BodyKind, blueprint
from executor.limits import check_limit, check_timeout
from executor.retry import RetryPolicy
from executor.scheduling import check_priority
from orchestrator.graph.draft import UNCONNECTED, NodeRecord, attach
from orchestrator.graph.nearest import did_you_mean
from orchestrator.graph.place import caller_place

if TYPE_CHECKING:
    from executor.code import Accumulate
    from executor.host import Demand
    from orchestrator.spec import OnSkip, Placement, StatePlace

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)

_STATE_PLACES: Final = (None, "checkpoint", "resident")
_PLACEMENTS: Final = ("process", "thread", "inline")
_ON_SKIP: Final = ("skip", "default")


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """The options of ``@node``, checked when they are made.

    Raises:
        TypeError, ValueError: an option is not what it must be.
    """

    stream_in: tuple[str, ...] = ()
    multiple_outputs: bool = False
    window: int | None = None
    placement: Placement = "process"
    drain: bool = True
    on_skip: OnSkip = "skip"
    accumulate: Accumulate = None
    keep: bool = False
    state: StatePlace | None = None
    timeout_s: float | None = None
    memory_hard_bytes: int | None = None
    retry: RetryPolicy | None = None
    priority: float = 0
    demand: Demand = ()

    def __post_init__(self) -> None:
        for name in ("multiple_outputs", "drain", "keep"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be True or False, not {getattr(self, name)!r}")
        if not all(isinstance(name, str) for name in self.stream_in):
            raise TypeError(f"stream_in must hold names of parameters, not {self.stream_in!r}")
        if self.window is not None:
            check_count("window", self.window, least=0)
        check_timeout(self.timeout_s)
        check_limit("memory_hard_bytes", self.memory_hard_bytes)
        if self.retry is not None and not isinstance(self.retry, RetryPolicy):
            raise TypeError(f"retry must be a RetryPolicy, not {self.retry!r}")
        self._check_scheduling()
        if self.on_skip not in _ON_SKIP:
            known = " or ".join(map(repr, _ON_SKIP))
            raise ValueError(f"on_skip must be {known}, not {self.on_skip!r}")
        if self.placement not in _PLACEMENTS:
            known = ", ".join(map(repr, _PLACEMENTS))
            raise ValueError(f"placement must be one of {known}, not {self.placement!r}")
        if self.state not in _STATE_PLACES:
            raise ValueError(f"state must be 'checkpoint' or 'resident', not {self.state!r}")
        if self.accumulate not in (None, list) and (
            isinstance(self.accumulate, type) or not callable(self.accumulate)
        ):
            raise TypeError(
                "accumulate must be None, list, or a function of (accumulated, chunk), "
                f"not {self.accumulate!r}"
            )

    def _check_scheduling(self) -> None:
        check_priority(self.priority)
        is_limited = self.timeout_s is not None or self.memory_hard_bytes is not None
        if is_limited and self.placement != "process":
            raise ValueError(
                "timeout_s= and memory_hard_bytes= are limits of a worker process; "
                f"placement={self.placement!r} has none"
            )
        if self.demand and self.placement != "process":
            raise ValueError(
                f"cpus=, memory= and resources= are a pool's; placement={self.placement!r} uses none"
            )


def check_count(name: str, count: object, *, least: int) -> None:
    """Refuse what is no integer, or is less than ``least``."""
    if not isinstance(count, int) or isinstance(count, bool):
        raise TypeError(f"{name} must be an integer, not {count!r}")
    if count < least:
        raise ValueError(f"{name} must be at least {least}, not {count}")


class NodeTemplate(Generic[P, R_co]):
    """A function or class as a kind of node; calling it makes a node of that kind.

    Inside a ``with Flow()`` block the node belongs to that flow; elsewhere to none, until it is given
    to ``Flow.add_node`` or assigned to a flow's attribute. The body itself is ``__wrapped__``.

    A template pickles by reference where it is found under its name in a module that workers can
    import, else by value.
    """

    __wrapped__: Callable[P, R_co]
    __name__: str
    __qualname__: str

    def __init__(self, body: Callable[P, R_co], options: NodeOptions, name: str, place: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"name must be a string, not {name!r}")
        self.blueprint = blueprint(body, options.stream_in)
        self.positional = sum(not port.keyword_only for port in self.blueprint.ports)
        self.options = options
        self.name = name
        self.place = place
        functools.update_wrapper(self, body, updated=())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Make a node: each argument feeds a port with a node's output, a parameter or a constant.

        Raises:
            TypeError: too many arguments, or a name that is no parameter or is given twice.
        """
        place = caller_place()
        return attach(NodeRecord(self, bind(self, args, kwargs, place), place))

    def map(self, source: object, *rest: object, ahead: int | None = None) -> Any:
        """Apply the body to each element of a stream, on any free worker; the results are a stream.

        Args:
            source: a streaming node, or anything that yields an iterable value.
            rest: what feeds the parameters after the first, the same for every element.
            ahead: how many elements may be in flight at a time; twice the workers if None.

        Raises:
            TypeError: the template is not a function that returns, or it reads streams.
        """
        place = caller_place()
        _check_mappable(self, place)
        if ahead is not None:
            check_count("ahead", ahead, least=1)
        inputs = bind(self, (source, *rest), {}, place)
        return attach(NodeRecord(self, inputs, place, is_map=True, ahead=ahead))

    def __reduce__(self) -> str | tuple[Any, ...]:
        if _is_importable(self):
            return self.__qualname__
        return NodeTemplate, (self.__wrapped__, self.options, self.name, self.place)

    def __repr__(self) -> str:
        return f"<node template {self.name} ({self.place})>"


def bind(
    template: NodeTemplate[..., Any],
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    place: str,
) -> list[object]:
    """What feeds each port: those of the signature in order, then one for each further ``*args``."""
    shape = template.blueprint
    positional = template.positional
    if len(args) > positional and shape.variadic is None:
        raise TypeError(
            f"{template.name} at {place}: {len(args)} arguments, but it takes {_count(positional)}"
        )
    extra = args[positional:]
    inputs = list(args[:positional])
    if len(inputs) < len(shape.ports):
        inputs += [UNCONNECTED] * (len(shape.ports) - len(inputs))
    if kwargs:
        index_of = {port.name: index for index, port in enumerate(shape.ports)}
        for name, argument in kwargs.items():
            index = index_of.get(name)
            if index is None:
                raise TypeError(_no_such_parameter(template, name, list(index_of), place))
            if inputs[index] is not UNCONNECTED:
                raise TypeError(f"{template.name} at {place}: two arguments for parameter {name!r}")
            inputs[index] = argument
    inputs += extra
    return inputs


def _no_such_parameter(template: NodeTemplate[..., Any], name: str, known: list[str], place: str) -> str:
    hint = did_you_mean(name, known, otherwise=f"; it has {', '.join(known) or 'none'}")
    return f"{template.name} at {place}: no parameter is named {name!r}{hint}"


def _count(arguments: int) -> str:
    return f"{arguments} positional argument{'' if arguments == 1 else 's'}"


def _check_mappable(template: NodeTemplate[..., Any], place: str) -> None:
    shape = template.blueprint
    reason = None
    if shape.is_class:
        reason = "it keeps state, so its runs cannot go to several workers; write it as a function"
    elif shape.kind is BodyKind.GENERATOR:
        reason = "it is a generator; a mapped body returns one result for each element"
    elif not shape.ports and shape.variadic is None:
        reason = "it has no parameter that could take the element"
    else:
        ports = [*shape.ports, *([shape.variadic] if shape.variadic else [])]
        stream = next((port.name for port in ports if port.run_level), None)
        if stream is not None:
            reason = f"its parameter {stream!r} is a stream; a mapped body gets single elements"
    if reason:
        raise TypeError(f"{template.name}.map at {place}: {reason}")


def _is_importable(template: NodeTemplate[..., Any]) -> bool:
    # Heavy, and needed only by those who pickle a template.
    from protocol.serialization import worker_can_import  # noqa: PLC0415

    module = sys.modules.get(template.__module__)
    try:
        found = operator.attrgetter(template.__qualname__)(module)
    except AttributeError:
        return False
    return found is template and worker_can_import(template.__module__)
