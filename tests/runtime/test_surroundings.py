"""What bodies can ask: current_node(), current_flow(), current_context() (SEMANTICS 39, 16.3)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from executor.pool import Pool
from executor.surroundings import FlowInfo, NodeInfo, current_context, current_flow, current_node
from orchestrator import event_loop
from orchestrator.graph.flow import Flow
from orchestrator.graph.node import node
from orchestrator.runtime.errors import NodeError

PLACES: tuple[Any, ...] = ("inline", "thread", "process")
in_each_place = pytest.mark.parametrize("place", PLACES)


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(1) as shared:
        shared.wait_ready()
        yield shared


@in_each_place
def test_rule_39_the_current_node_is_the_one_whose_body_runs(place: Any, pool: Pool) -> None:
    @node(placement=place)
    def asks(x: int, y: int = 2) -> object:
        return current_node()

    with Flow() as f:
        f.first = asks(1)
        f.second = asks(f.first, 3)
    f.run(pool=pool)
    [first] = f.first.get_data()
    [second] = f.second.get_data()
    assert first == NodeInfo("first", 0, 0, None, first.run, 0, "(x: 'int', y: 'int' = 2) -> 'object'")
    assert (second.name, second.number, second.run) == ("second", 1, first.run)


@in_each_place
def test_rule_39_it_is_stable_over_awaits_and_inherited_by_spawned_tasks(place: Any, pool: Pool) -> None:
    @node(placement=place)
    async def asks(is_inline: bool) -> Any:
        async def child() -> str:
            await event_loop.sleep(0)
            return names()

        def names() -> str:
            found = current_node()
            assert found is not None
            return found.name

        yield names()
        await event_loop.sleep(0.001)
        yield names()
        if is_inline:
            yield await (await event_loop.spawn(child())).join()
        else:
            yield await asyncio.create_task(child())
            yield await asyncio.to_thread(names)

    @node(placement="inline", stream_in=["names"])
    def collects(names: Any) -> list[str]:
        return list(names)

    with Flow() as f:
        f.one = asks(place == "inline")
        f.other = asks(place == "inline")
        f.ones = collects(f.one)
        f.others = collects(f.other)
    f.run(pool=pool)
    assert set(f.ones.get_data()[0]) == {"one"}
    assert set(f.others.get_data()[0]) == {"other"}


def test_of_an_element_of_a_map_it_tells_which() -> None:
    @node(placement="inline")
    def numbers() -> Any:
        yield from range(3)

    @node(placement="inline")
    def asks(x: int) -> int | None:
        found = current_node()
        return None if found is None else found.element

    with Flow() as f:
        f.elements = asks.map(numbers())
        f.total = _listed(f.elements)
    f.run(workers=0)
    assert f.total.get_data() == ([0, 1, 2],)


@node(placement="inline", stream_in=["chunks"])
def _listed(chunks: Any) -> list[object]:
    return list(chunks)


def test_rule_39_outside_of_a_run_there_is_no_node_and_no_flow_also_after_an_error() -> None:
    @node(placement="inline")
    def fails() -> None:
        raise LookupError

    assert current_node() is None
    assert current_flow() is None
    with Flow() as f:
        f.fails = fails()
    with pytest.raises(LookupError):
        f.run(workers=0)
    assert current_node() is None
    assert current_flow() is None


@in_each_place
def test_rule_39_the_current_flow_is_the_flow_inline_and_described_in_workers(
    place: Any, pool: Pool
) -> None:
    flows = []

    @node(placement=place)
    async def asks() -> bool:
        flow = current_flow()
        flows.append(flow)
        return isinstance(flow, FlowInfo)

    with Flow() as f:
        f.asks = asks()
    f.run(pool=pool)
    assert f.asks.get_data() == (place != "inline",)
    assert place != "inline" or flows == [f]


@in_each_place
def test_rule_39_the_context_is_what_the_factory_makes_in_the_coordinator(
    place: Any, pool: Pool
) -> None:
    made = []

    def factory(info: NodeInfo) -> dict[str, object]:
        made.append(threading.get_ident())
        return {"for": info.name, "signature": info.signature}

    @node(placement=place)
    async def asks() -> object:
        return current_context()

    with Flow() as f:
        f.one = asks()
        f.other = asks()
    f.run(pool=pool, context_factory=factory)
    assert f.one.get_data() == ({"for": "one", "signature": "() -> 'object'"},)
    assert f.other.get_data() == ({"for": "other", "signature": "() -> 'object'"},)
    assert made == [threading.get_ident()] * 2


def test_rule_39_inline_each_call_makes_a_context_anew() -> None:
    @node(placement="inline")
    def asks() -> bool:
        return current_context() is not current_context()

    with Flow() as f:
        f.asks = asks()
    f.run_until_complete(workers=0, context_factory=lambda _: object())
    assert f.asks.get_data() == (True,)


@in_each_place
def test_rule_39_without_a_factory_there_is_no_context(place: Any, pool: Pool) -> None:
    @node(placement=place)
    def asks() -> str:
        try:
            current_context()
        except RuntimeError as error:
            return str(error)
        return "no error"

    with Flow() as f:
        f.asks = asks()
    f.run(pool=pool)
    assert f.asks.get_data() == ("No context factory provided to run_until_complete()",)


def test_rule_39_no_context_outside_of_a_flow_or_of_a_node() -> None:
    def factory(_: NodeInfo) -> object:
        return current_context()

    @node(placement="thread")
    def asks() -> object:
        return current_context()

    with pytest.raises(RuntimeError, match=r"current_context\(\) called outside of a flow"):
        current_context()
    with Flow() as f:
        f.asks = asks()
    with pytest.raises(RuntimeError, match=r"current_context\(\) called outside of a node"):
        f.run(workers=0, context_factory=factory)


@pytest.mark.parametrize("place", ["thread", "process"])
def test_16_3_a_context_that_does_not_pickle_is_an_error_that_names_the_node(
    place: Any, pool: Pool
) -> None:
    @node(placement=place)
    def runs() -> None: ...

    with Flow() as f:
        f.runs = runs()
    with pytest.raises(NodeError, match=r"node 'runs' \(.*test_surroundings.py:\d+\).*context_factory"):
        f.run(pool=pool, context_factory=lambda _: threading.Lock())


def test_an_error_of_the_factory_ends_the_run_and_names_the_node(pool: Pool) -> None:
    @node
    def runs() -> None: ...

    def factory(_: NodeInfo) -> object:
        raise LookupError("no context")

    with Flow() as f:
        f.runs = runs()
    with pytest.raises(LookupError, match="no context") as caught:
        f.run(pool=pool, context_factory=factory)
    assert "for node 'runs'" in caught.value.__notes__[0]
