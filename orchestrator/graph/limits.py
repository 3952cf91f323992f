"""Where a run is to stop: what ``stop_at_node_generation`` says, by node number (SEMANTICS 66)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.graph.draft import DraftNode
from orchestrator.graph.flow import Flow, StopAt, graph_of, number_in
from orchestrator.graph.nearest import did_you_mean


@dataclass(frozen=True, slots=True)
class StopLimits:
    """``nodes`` by number; ``constants`` is the limit of every constant, None: never."""

    nodes: dict[int, tuple[int, ...]]
    constants: tuple[int, ...] | None


def stop_limits(flow: Flow, stop_at: StopAt) -> StopLimits:
    """The limits of one run; a limit of None or ``()`` is left out.

    Raises:
        TypeError, ValueError: a limit is no generation, or a key is not a node of the flow.
    """
    nodes = graph_of(flow).nodes
    if not isinstance(stop_at, Mapping):
        limit = _generation(stop_at)
        if not limit:
            return StopLimits({}, None)
        return StopLimits({node.number: limit for node in nodes if not node.hidden}, limit)
    numbers = {node.name: node.number for node in nodes}
    limits = {}
    for key, given in stop_at.items():
        number = _number(flow, numbers, key)
        limit = _generation(given)
        if limit:
            limits[number] = limit
    return StopLimits(limits, None)


def _number(flow: Flow, numbers: Mapping[str, int], key: object) -> int:
    if isinstance(key, str) and key in numbers:
        return numbers[key]
    # A node may have been assigned to several names, and is called by the first.
    node = vars(flow).get(key) if isinstance(key, str) else key
    number = number_in(flow, node) if isinstance(node, DraftNode) else None
    if number is not None:
        return number
    hint = did_you_mean(key, numbers)
    raise ValueError(f"stop_at_node_generation: {key!r} is not a node of this flow{hint}")


def _generation(given: Any) -> tuple[int, ...]:
    if given is None:
        return ()
    if isinstance(given, tuple) and all(type(part) is int and part >= 0 for part in given):
        return given
    raise TypeError(
        "stop_at_node_generation: a generation is a tuple of run and chunk, "
        f"as (3,) or (0, 7), not {given!r}"
    )
