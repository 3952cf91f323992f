"""Planning a flow: delays, and the message of rule 31 for a cycle that cannot begin."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator import Flow, MissingDefaultError, Stream, node
from orchestrator.graph.flow import graph_of
from orchestrator.graph.planning import plan_graph


@node
def increment(value: int) -> int:
    return value + 1


@node
def seeded(value: int = 0) -> int:
    return value + 1


@node
async def join(left: int, right: int, *, scale: float = 1.0) -> int:
    return left + right


@node
class Counter:
    def call(self, step: int, limit: int = 9) -> int:
        return step


counter: Any = Counter
"""A type checker takes a decorated class for the class itself."""


def line_of(template: Any) -> int:
    return inspect.getsourcelines(template.__wrapped__)[1]


def delays(flow: Flow) -> dict[tuple[str, str], int]:
    graph = graph_of(flow)
    plan = plan_graph(graph)
    return {
        (node.name, port.name): plan.delay(node.number, index)
        for node in graph.nodes
        for index, port in enumerate(node.ports)
    }


def test_a_cycle_is_delayed_where_it_has_a_default_rule_21() -> None:
    with Flow() as f:
        f.a = increment(f.b)
        f.b = seeded(f.a)
    assert delays(f) == {("a", "value"): 0, ("b", "value"): 1}


def test_a_stream_in_a_cycle_is_delayed_like_a_final_value_rule_19() -> None:
    @node
    def produce(last: int = 0) -> Any:
        yield last

    @node(stream_in=["chunks"])
    def consume(chunks: Any = ()) -> int:
        return sum(chunks)

    with Flow() as f:
        f.c = consume(f.p)
        f.p = produce(f.c)
    assert delays(f) == {("c", "chunks"): 1, ("p", "last"): 0}


def test_the_element_of_a_map_is_never_left_to_a_default_A8() -> None:
    @node
    def element(x: int = 0, bias: int = 0) -> int:
        return x

    @node
    def numbers(upto: int = 3) -> Any:
        yield from range(upto)

    @node
    def total(chunks: Stream[int]) -> int:
        return sum(chunks)

    with Flow() as f:
        f.m = element.map(f.n)
        f.t = total(f.m)
        f.n = numbers(f.t)
    assert delays(f)["n", "upto"] == 1
    assert delays(f)["m", "x"] == 0


def test_the_message_names_each_node_and_underlines_what_lacks_a_default_rule_31() -> None:
    with Flow() as f:
        f.total = join(increment(f.total), f.count)
        f.count = counter(f.total, 3)
    with pytest.raises(MissingDefaultError) as caught:
        f.plan()
    assert str(caught.value) == (
        "Detected a cycle without default values. You must add defaults to the indicated arguments "
        "for at least ONE of the following nodes:\n"
        "  increment#0 must have defaults for EACH/ALL the underlined parameters:\n"
        f"  Defined at {__file__}:{line_of(increment)}\n"
        "  Full Signature:\n"
        "  def increment(value: int)\n"
        "                ----------\n"
        "OR\n"
        "  total = join#0 must have defaults for EACH/ALL the underlined parameters:\n"
        f"  Defined at {__file__}:{line_of(join)}\n"
        "  Full Signature:\n"
        "  async def join(left: int, right: int, *, scale: float = 1.0)\n"
        "                 ---------  ----------\n"
        "OR\n"
        "  count = Counter#0 must have defaults for EACH/ALL the underlined parameters:\n"
        f"  Defined at {counter.place}\n"
        "  Full Signature:\n"
        "  class Counter:\n"
        "      def call(self, step: int, limit: int = 9): ...\n"
        "                     ---------"
    )


def test_parameters_fed_from_outside_of_the_cycle_are_not_underlined_rule_31() -> None:
    with Flow() as f:
        f.a = join(seeded(), f.b)
        f.b = increment(f.a)
    with pytest.raises(MissingDefaultError) as caught:
        f.plan()
    lines = str(caught.value).splitlines()
    dashes = lines[lines.index("  async def join(left: int, right: int, *, scale: float = 1.0)") + 1]
    assert dashes == "                            ----------"


def test_a_single_parameter_of_a_single_node_needs_no_heading_rule_31() -> None:
    with Flow() as f:
        f.a = increment(f.a)
    with pytest.raises(MissingDefaultError) as caught:
        f.plan()
    assert str(caught.value) == (
        "  a = increment#0 must have defaults for EACH/ALL the underlined parameters:\n"
        f"  Defined at {__file__}:{line_of(increment)}\n"
        "  Full Signature:\n"
        "  def increment(value: int)\n"
        "                ----------"
    )


def test_signatures_are_shown_as_they_were_written_rule_31() -> None:
    @node
    def odd(first, /, second: "list[int]", *more: int, last=3):  # type: ignore[no-untyped-def]  # noqa: UP037
        ...

    with Flow() as f:
        f.a = odd(1, f.a, f.a, f.a)
    with pytest.raises(MissingDefaultError) as caught:
        f.plan()
    assert caught.value.nodes[0].signature == (
        "def odd(first, /, second: 'list[int]', *more: int, last=3)",
        "                  -------------------  ----------",
    )

    @node
    def positional(x: int, /) -> int:
        return x

    with Flow() as f:
        f.a = positional(f.a)
    with pytest.raises(MissingDefaultError, match=r"def positional\(x: int, /\)"):
        f.plan()


def test_maps_and_hidden_nodes_are_not_offered_for_a_default_rule_31() -> None:
    with Flow() as f:
        f.m = increment.map(f.n)
        f.n = join(f.m, 1)
    with pytest.raises(MissingDefaultError) as caught:
        f.plan()
    assert [member.node for member in caught.value.nodes] == ["n = join#0"]


def test_the_end_of_the_block_does_not_plan_A3() -> None:
    with Flow() as f:
        f.a = increment(f.a)
    with pytest.raises(MissingDefaultError):
        f.plan()


def chain(nodes: int) -> None:
    last = seeded()
    for _ in range(nodes):
        last = increment(last)


def stacked_diamonds(nodes: int) -> None:
    top = seeded()
    for _ in range(nodes // 3):
        top = join(increment(top), increment(top))


@pytest.mark.parametrize("write", [chain, stacked_diamonds])
def test_planning_costs_the_same_per_node_at_every_size_B20(write: Callable[[int], None]) -> None:
    def seconds_per_node(nodes: int) -> float:
        started = time.process_time()
        with Flow() as f:
            write(nodes)
        f.plan()
        return (time.process_time() - started) / nodes

    seconds_per_node(1_000)  # the first use of each template costs more
    # 1.1 to 1.5 times, as memory grows; a search per node were 16 times.
    assert seconds_per_node(16_000) < 4 * seconds_per_node(1_000)


@pytest.mark.slow
def test_a_chain_of_100000_nodes_is_planned_without_recursion_B20() -> None:
    with Flow() as f:
        chain(100_000)
    plan_graph(graph_of(f))


def test_a_plan_is_made_once() -> None:
    with Flow() as f:
        f.a = seeded(f.a)
    graph = graph_of(f)
    assert plan_graph(graph) is plan_graph(graph)
