"""How many outputs a template has, as far as it tells."""

from __future__ import annotations

import typing
from typing import Any

from executor.blueprint import BodyKind
from orchestrator.graph.template import NodeTemplate


def known_outputs(template: NodeTemplate[..., Any]) -> int | None:
    """1, or with ``multiple_outputs=True`` the length of the annotated ``tuple[...]``; None: unknown.

    Of a generator, the annotation of what it yields counts.
    """
    if not template.options.multiple_outputs:
        return 1
    body: Any = template.__wrapped__
    shape = template.blueprint
    try:
        result = typing.get_type_hints(body.call if shape.is_class else body).get("return")
    except Exception:  # noqa: BLE001 - an annotation is any expression and may raise anything
        return None
    if shape.kind is BodyKind.GENERATOR:
        result = next(iter(typing.get_args(result)), None)
    elements = typing.get_args(result)
    if typing.get_origin(result) is not tuple or Ellipsis in elements:
        return None
    return len(elements)
