"""``stop_at_node_generation`` (SEMANTICS 66)."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator import Flow, node
from orchestrator.graph.limits import StopLimits, stop_limits


@node
def same(value: Any) -> Any:
    return value


@pytest.fixture
def flow() -> Flow:
    with Flow() as f:
        f.a = f.also_a = same(1)
        f.m = same.map([1, 2])
        f.b = same(f.m)
    return f


def test_a_tuple_holds_for_all_nodes_and_constants_but_not_for_hidden_ones(flow: Flow) -> None:
    assert stop_limits(flow, (3,)) == StopLimits({0: (3,), 1: (3,), 2: (3,)}, (3,))


@pytest.mark.parametrize("never", [(), {}, {"a": None}, {"a": ()}])
def test_nothing_none_and_the_empty_tuple_mean_never(flow: Flow, never: Any) -> None:
    assert stop_limits(flow, never) == StopLimits({}, None)


def test_nodes_are_given_by_themselves_or_by_any_of_their_names(flow: Flow) -> None:
    limits = {flow.a: (1,), "b": (0, 7), flow.m: None}
    assert stop_limits(flow, limits) == StopLimits({0: (1,), 2: (0, 7)}, None)
    assert stop_limits(flow, {"also_a": (1,)}) == StopLimits({0: (1,)}, None)


def test_anonymous_nodes_are_given_by_their_generated_names() -> None:
    with Flow() as f:
        same(1)
    assert stop_limits(f, {"same#0": (1,)}).nodes == {0: (1,)}


def test_a_key_that_is_not_in_the_flow_is_refused(flow: Flow) -> None:
    with Flow() as other:
        other.x = same(1)
    for stranger in (other.x, same(1), 3, "zzz"):
        with pytest.raises(ValueError, match="is not a node of this flow"):
            stop_limits(flow, {stranger: (1,)})
    with pytest.raises(ValueError, match="did you mean 'a'"):
        stop_limits(flow, {"aa": (1,)})


@pytest.mark.parametrize("limit", [3, (1.0,), (-1,), (True,), "1"])
def test_a_limit_is_a_generation(flow: Flow, limit: Any) -> None:
    with pytest.raises(TypeError, match="a generation is a tuple"):
        stop_limits(flow, limit)
    with pytest.raises(TypeError, match="a generation is a tuple"):
        stop_limits(flow, {"a": limit})
