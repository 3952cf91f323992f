"""What can be known of a body without running it: its kind, its ports and their defaults."""

from __future__ import annotations

import ast
import enum
import inspect
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from executor.body import Stream

MISSING: Final = inspect.Parameter.empty
"""The ``default`` of a port without one."""

FOLD_METHOD: Final = "accumulate_streamed_data"
"""How a class calls its own way to add up its chunks; it is preferred to ours (rule 37)."""


class BodyKind(enum.Enum):
    FUNCTION = "function"  # returns once: a mono node
    GENERATOR = "generator"  # yields chunks: a streaming node


@dataclass(frozen=True, slots=True)
class Port:
    """An input port. ``run_level`` is 1 where it receives a stream, else 0."""

    name: str
    default: object
    run_level: int
    keyword_only: bool = False

    @property
    def has_default(self) -> bool:
        return self.default is not MISSING


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A body's shape. ``variadic``: a ``*args`` parameter takes any number of further inputs.

    For a class the function is its ``call`` method, and ports leave out ``self``.
    """

    kind: BodyKind
    is_async: bool
    is_class: bool
    ports: tuple[Port, ...]
    variadic: Port | None

    def port(self, index: int) -> Port:
        """The port at an index, any of the variadic ones included."""
        if index < len(self.ports):
            return self.ports[index]
        if self.variadic is None:
            raise IndexError(index)
        return self.variadic


def blueprint(body: Callable[..., object] | type, stream_in: Sequence[str] = ()) -> Blueprint:
    """Read the shape of a function, a generator, or a class with a ``call`` method.

    A parameter receives a stream if it is annotated ``Stream`` or ``Stream[...]``, alone or as part of
    a union (``Stream[int] | None = None``), or named in ``stream_in``.

    Raises:
        TypeError: the body is none of these, or takes ``**kwargs``, or a name in ``stream_in`` is
            not one of its parameters.
    """
    is_class = isinstance(body, type)
    function = _function_of(body)
    parameters = list(inspect.signature(function).parameters.values())
    if is_class:
        if not parameters or parameters[0].name != "self":
            raise TypeError(f"{_name(body)}.call() must take 'self' first")
        parameters = parameters[1:]
    annotations = _annotations_of(function)
    unknown = [name for name in stream_in if name not in {p.name for p in parameters}]
    if unknown:
        known = ", ".join(p.name for p in parameters) or "none"
        raise TypeError(
            f"{_name(body)}: stream_in names {unknown[0]!r}, which is not a parameter of it "
            f"(parameters: {known})"
        )
    ports: list[Port] = []
    variadic: Port | None = None
    for parameter in parameters:
        streams = parameter.name in stream_in or _is_stream(annotations.get(parameter.name))
        port = Port(
            parameter.name,
            parameter.default,
            int(streams),
            parameter.kind is parameter.KEYWORD_ONLY,
        )
        if parameter.kind is parameter.VAR_KEYWORD:
            raise TypeError(f"{_name(body)}: '**{parameter.name}' has no ports; name each parameter")
        if parameter.kind is parameter.VAR_POSITIONAL:
            variadic = port
        else:
            ports.append(port)
    generates = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
    return Blueprint(
        kind=BodyKind.GENERATOR if generates else BodyKind.FUNCTION,
        is_async=inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function),
        is_class=is_class,
        ports=tuple(ports),
        variadic=variadic,
    )


def _function_of(body: Callable[..., object] | type) -> Callable[..., object]:
    if isinstance(body, type):
        call = inspect.getattr_static(body, "call", None)
        if not isinstance(call, types.FunctionType):
            raise TypeError(
                f"class {body.__name__} is not a node: give it a method 'def call(self, ...)'"
            )
        return call
    if not callable(body):
        raise TypeError(f"{body!r} is not a node: @node takes a function or a class")
    return body


def _annotations_of(function: Callable[..., object]) -> dict[str, Any]:
    """The annotations, evaluated if all can be; else as written (``from __future__``, local names)."""
    try:
        return typing.get_type_hints(function)
    except Exception:  # noqa: BLE001 - an annotation is any expression and may raise anything
        return dict(getattr(function, "__annotations__", {}))


def _is_stream(annotation: object) -> bool:
    """Whether it is ``Stream`` or ``Stream[...]``, or may be one: ``Stream[int] | None``."""
    if isinstance(annotation, str):
        # An annotation that could not be evaluated: judge by its names, however they were imported.
        try:
            return _says_stream(ast.parse(annotation, mode="eval").body)
        except SyntaxError:
            return False
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return any(_is_stream(option) for option in typing.get_args(annotation))
    return annotation is Stream or typing.get_origin(annotation) is Stream


def _says_stream(annotation: ast.expr) -> bool:
    match annotation:
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _says_stream(left) or _says_stream(right)
        case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name), slice=within):
            if name == "Union" and isinstance(within, ast.Tuple):
                return any(_says_stream(option) for option in within.elts)
            return name == "Stream" or (name in ("Optional", "Union") and _says_stream(within))
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name == "Stream"
        case ast.Constant(value=str(text)):
            return _is_stream(text)
        case _:
            return False


def _name(body: object) -> str:
    return getattr(body, "__qualname__", None) or repr(body)
