"""A template's signature as text, with some of its parameters underlined."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator
from inspect import Parameter
from typing import Any

from orchestrator.graph.template import NodeTemplate


def underlined_signature(template: NodeTemplate[..., Any], names: Collection[str]) -> tuple[str, ...]:
    """The lines of a signature, then a line of dashes under the parameters with these names.

    ``*args`` is underlined for each ``args[0]``, ``args[1]`` and so on.
    """
    body: Any = template.__wrapped__
    shape = template.blueprint
    keyword = "async def" if shape.is_async else "def"
    if shape.is_class:
        head = [f"class {template.name}:"]
        line, end = f"    {keyword} call(", "): ..."
        signature = inspect.signature(body.call)
    else:
        head = []
        line, end = f"{keyword} {template.name}(", ")"
        signature = inspect.signature(body)
    dashes = " " * len(line)
    underlined = {name.partition("[")[0] for name in names}
    separator = ""
    for name, text in _parts(list(signature.parameters.values())):
        line += separator + text
        dashes += " " * len(separator) + ("-" if name in underlined else " ") * len(text)
        separator = ", "
    return (*head, line + end, dashes.rstrip())


def _parts(parameters: list[Parameter]) -> Iterator[tuple[str, str]]:
    """Each parameter's name and text; the bare ``/`` and ``*`` between them have the name ``""``."""
    before = None
    for parameter in parameters:
        kind = parameter.kind
        if before is parameter.POSITIONAL_ONLY and kind is not before:
            yield "", "/"
        if kind is parameter.KEYWORD_ONLY and before not in (kind, parameter.VAR_POSITIONAL):
            yield "", "*"
        yield parameter.name, _text(parameter)
        before = kind
    if before is Parameter.POSITIONAL_ONLY:
        yield "", "/"


def _text(parameter: Parameter) -> str:
    """As it was written, as far as that can be known: ``x: int = 3``."""
    text = ("*" if parameter.kind is parameter.VAR_POSITIONAL else "") + parameter.name
    annotation = parameter.annotation
    if annotation is not parameter.empty:
        written = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
        text += f": {written}"
    if parameter.default is not parameter.empty:
        text += (" = " if annotation is not parameter.empty else "=") + repr(parameter.default)
    return text
