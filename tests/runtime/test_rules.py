"""What flows are and what they read, rule by rule (SEMANTICS 1-5, 13-18, 21-26, 31, 35-38, 43, A6).

Each flow runs inline, where bodies may note in a list what happened.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from orchestrator import (
    AccumulationError,
    Flow,
    FlowDefinitionError,
    FlowInstrument,
    MissingDefaultError,
    Stream,
    node,
)
from orchestrator.running import run_flow


@node
def same(value: Any) -> Any:
    return value


@node
def add(x: Any, y: Any = 10) -> Any:
    return x + y


@node(multiple_outputs=True)
def divide(x: int, y: int) -> tuple[int, int]:
    return divmod(x, y)


@node
def count(upto: int = 3) -> Iterator[int]:
    yield from range(upto)


@node
def total(chunks: Stream[int]) -> int:
    return sum(chunks)


def run(flow: Flow, **options: Any) -> dict[str, Any]:
    """Run inline; the final value of each named node, None where there is none."""
    run_flow(flow, workers=0, **options)
    return {name: value.get_data() for name, value in vars(flow).items() if name[0] != "_"}


class Generations(FlowInstrument):
    """Notes what every node emits, in order."""

    def __init__(self) -> None:
        self.emitted: list[tuple[str, int, Any]] = []

    def on_node_emitted_data(self, flow: Flow, node: Any, data: Any, run_level: int) -> None:
        name = next((name for name, held in vars(flow).items() if held is node), "-")
        self.emitted.append((name, run_level, data))


# -- 1: vocabulary -----------------------------------------------------------------------------------


def test_rule_1_a_node_has_ordered_ports_and_outputs_and_an_output_feeds_any_number_of_ports() -> None:
    with Flow() as f:
        f.d = divide(17, 5)
        f.a = add(f.d, f.d.output(1))
        f.b = add(f.d.output(1), f.d)
        f.c = add(f.d.output(1), f.d.output(1))
    assert run(f) == {"d": (3, 2), "a": (5,), "b": (5,), "c": (4,)}


def test_rule_1_a_port_has_one_edge() -> None:
    with pytest.raises(TypeError, match="two arguments for parameter 'x'"), Flow():
        add(1, x=2)  # type: ignore[misc]


def test_rule_2_the_run_level_of_a_port_is_1_for_a_stream_and_else_0() -> None:
    @node(stream_in=["named"])
    def mixed(annotated: Stream[int], named: Any, final: int) -> list[Any]:
        return [list(annotated), list(named), final]

    with Flow() as f:
        f.g = count(3)
        f.m = mixed(f.g, f.g, f.g)
    assert run(f)["m"] == ([[0, 1, 2], [0, 1, 2], 3],)


def test_rule_3_chunks_and_final_values_are_the_generations_of_a_node() -> None:
    with Flow() as f:
        f.g = count(2)
        f.a = same(f.g)
    with Generations() as noted:
        run(f)
    assert [e for e in noted.emitted if e[0] == "g"] == [("g", 1, (0,)), ("g", 1, (1,)), ("g", 0, (1,))]
    assert [e for e in noted.emitted if e[0] == "a"] == [("a", 0, (1,))]


def test_rule_3_what_a_node_has_read_does_not_move_its_generation() -> None:
    """An hour of reading is no emission: the reader's first chunk is still chunk 0."""

    @node
    def after_all(chunks: Stream[int]) -> Iterator[int]:
        yield sum(chunks)

    with Flow() as f:
        f.g = count(5)
        f.r = after_all(f.g)
    run(f, stop_at_node_generation={"r": (0, 0)})
    assert f.r.get_data(run_level=1) == (10,)


def test_rule_4_a_stitch_counts_the_defaults_of_a_connected_port_once_for_each_broken_edge() -> None:
    """Rule 21: one run on the default, then always one generation behind; nothing else is delayed."""

    @node
    def step(own: int = 0, other: int = 0) -> int:
        log.append((own, other))
        return own + 1

    log: list[tuple[int, int]] = []
    with Flow() as f:
        f.a = step(f.a, f.b)
        f.b = add(f.a, 100)
    run(f, stop_at_node_generation={"a": (3,)})
    assert log == [(0, 0), (1, 101), (2, 102), (3, 103)]
    assert [i.delay for n in f.plan().nodes for i in n.inputs] == [1, 1, 0, 0]


def test_rule_5_a_connected_port_decides_for_its_default_run_by_run() -> None:
    with Flow() as f:
        f.a = add(f.b, 1)
        f.b = same_or_seven(f.a)
    run(f, stop_at_node_generation={"b": (2,)})
    assert f.b.get_data() == (9,)  # 7, then what a has made of it, twice


@node
def same_or_seven(value: int = 7) -> int:
    return value


# -- 13 to 18: writing flows -----------------------------------------------------------------------


def test_rule_13_order_is_free_and_names_with_an_underscore_are_ordinary() -> None:
    with Flow() as f:
        f.c = add(f.b, f.a)
        f._hidden = f.b = same(f.a)
        f.a = same(1)
    assert run(f) == {"c": (2,), "b": (1,), "a": (1,)}


def test_rule_13_a_placeholder_is_output_0() -> None:
    with Flow() as f:
        f.a = same(f.d)
        f.d = divide(7, 2)
    assert run(f)["a"] == (3,)


@pytest.mark.parametrize("write", ["block", "add_node", "add_nodes"])
def test_rule_14_an_unconnected_port_without_default_is_an_attribute_error_A6(write: str) -> None:
    untyped: Any = add
    says = r"'a' \(add, .*test_rules.py:\d+\): parameter 'x' is not connected and has no default value"
    flow = Flow()
    if write == "block":
        with pytest.raises(AttributeError, match=says), flow:
            flow.a = untyped()
        return
    flow.add_node(untyped(), "a") if write == "add_node" else flow.add_nodes(a=untyped())
    with pytest.raises(AttributeError, match=says):
        run(flow)


def test_rule_14_a_name_that_is_never_defined_is_an_attribute_error_naming_it() -> None:
    with pytest.raises(AttributeError, match=r"'a' .*reads 'missing'.*not defined"), Flow() as f:
        f.a = same(f.missing)
    with pytest.raises(AttributeError, match=r"'limit' .*is not a node but 3"), Flow() as f:
        f.a, f.limit = same(f.limit), 3
    with Flow() as f:
        f.a = same(1)
    with pytest.raises(AttributeError, match="no node 'missing'"):
        f.missing


@pytest.mark.parametrize("given", [None, 0, "", (), [1], float("nan"), same.__wrapped__, ...])
def test_rule_15_every_other_argument_is_a_constant_also_none(given: Any) -> None:
    """``D(None)`` passes None; it does not select the default."""
    seen = []

    @node
    def defaulted(value: Any = "default") -> None:
        seen.append(value)

    with Flow() as f:
        f.a = defaulted(given)
        f.b = defaulted()
    run(f)
    assert seen[0] is given
    assert seen[1] == "default"


def test_rule_15_there_is_one_constant_for_each_argument_and_it_counts_for_limits() -> None:
    with Flow() as f:
        f.a = add(1, 2)
    report = run_flow(f, workers=0, stop_at_node_generation=(0,))
    assert (report.status, f.a.get_data()) == ("limit", None)  # a constant was the first to emit (0,)


def test_rule_15_a_port_left_out_takes_its_default_in_every_run_and_is_never_defaulted() -> None:
    """It is no edge: it breaks no cycle, and no run of it counts."""
    with Flow() as f:
        f.a = add(f.b)
        f.b = same_or_seven(f.a)
    run(f, stop_at_node_generation={"a": (2,)})
    assert f.a.get_data() == (37,)
    assert [(i.port, i.kind, i.delay) for n in f.plan().nodes for i in n.inputs] == [
        ("x", "edge", 0),
        ("y", "default", 0),
        ("value", "edge", 1),
    ]
    with Flow() as f:
        f.a = add(f.a)
    with pytest.raises(MissingDefaultError):
        f.plan()


def test_rule_16_anonymous_and_orphan_nodes_run_in_any_number_of_flows() -> None:
    ran = []

    @node
    def note(value: int = 0) -> int:
        ran.append(value)
        return value

    for _ in range(2):
        with Flow() as f:
            note(note(1))
            note(2)
            note()
        run(f)
    assert sorted(ran) == [0, 0, 1, 1, 1, 1, 2, 2]


def test_rule_16_star_args_take_what_they_are_given_and_keywords_connect_ports_B25() -> None:
    @node
    def join(first: str, *more: str, end: str = ".") -> str:
        return "-".join([first, *more]) + end

    with Flow() as f:
        f.a = join("a")
        f.b = join(f.a, "b", f.a, end="!")
        f.c = add(y="y", x=f.a)
    assert run(f) == {"a": ("a.",), "b": ("a.-b-a.!",), "c": ("a.y",)}


def test_rule_17_and_38_a_group_leaves_no_node_of_its_own() -> None:
    @node.template
    def twice(view: Any, value: int) -> Any:
        view.once = add(value, value)
        return add(view.once, view.once)

    with Flow() as f:
        f.a = twice(twice(1))
    report = run_flow(f, workers=0)
    assert f.a.get_data() == (16,)
    assert sum(node.runs for node in report.nodes.values()) == 4


def test_rule_18_everything_that_cannot_work_is_refused_before_anything_runs() -> None:
    ran = []

    @node
    def noisy() -> int:
        ran.append(1)
        return 1

    flow = Flow()
    source = noisy()
    flow.add_nodes(
        no_generator=total(source),
        no_output=same(source.output(1)),
        no_such_output=same(divide(source, 1).output(2)),
    )
    with pytest.raises(FlowDefinitionError) as caught:
        run(flow)
    problems = "\n".join(caught.value.problems)
    assert "'no_generator' (total, " in problems
    assert "'no_output' (same, " in problems
    assert "reads output 2 of 'divide#0'" in problems
    assert problems.count("test_rules.py:") == 6  # where the reader is written, and the read
    assert not ran


def test_rule_18_options_and_arguments_are_refused_where_they_are_written() -> None:
    def body(a: int) -> None: ...

    with pytest.raises(TypeError, match=r"@node body at .*test_rules.py:\d+: .*stream_in names 'b'"):
        node(stream_in=["b"])(body)
    with pytest.raises(TypeError, match=r"same at .*test_rules.py:\d+: 2 arguments"):
        same(1, 2)  # type: ignore[call-arg]


def test_rule_18_a_stop_limit_for_a_node_that_is_not_in_the_flow_is_refused() -> None:
    ran = []

    @node
    def noisy() -> None:
        ran.append(1)

    with Flow() as f:
        f.a = noisy()
    for stranger in ("b", noisy(), 3):
        with pytest.raises(ValueError, match="is not a node of this flow"):
            f.run(workers=0, stop_at_node_generation={stranger: (0,)})
    assert not ran


def test_rule_31_a_cycle_that_none_can_begin_is_refused_before_anything_runs_A3() -> None:
    ran = []

    @node
    def noisy() -> int:
        ran.append(1)
        return 1

    with Flow() as f:
        f.source = noisy()
        f.a = add(f.b, f.source)
        f.b = same(f.a)
    for refused in (f.plan, lambda: f.run(workers=0), lambda: f.run(stop_at_node_generation=(0,))):
        with pytest.raises(MissingDefaultError, match="\nOR\n"):
            refused()
    assert not ran


# -- A6: without a block -----------------------------------------------------------------------------


def test_A6_nodes_of_add_node_follow_the_same_rules() -> None:
    flow = Flow()
    chunks = count(4)
    flow.add_nodes(total(chunks), sum=same(chunks))
    flow.add_node(add(flow.sum), "result")
    assert run(flow) == {"sum": (6,), "result": (16,)}
    with pytest.raises(RuntimeError, match="the flow is complete"):
        flow.add_node(same(1))
    flow = Flow()
    flow.add_node(total(same(1)))
    with pytest.raises(AttributeError, match="is fed by 'same#0'"):
        flow.plan()


# -- 23 to 26: what a run reads ----------------------------------------------------------------------


def test_rule_24_a_connected_port_takes_its_default_only_in_its_first_run_on_a_broken_edge() -> None:
    """Also for a stream: first the plain default, then a stream over the generation before."""
    seen: list[Any] = []

    @node
    def read(chunks: Stream[int] | str = "default") -> int:
        seen.append(chunks if isinstance(chunks, str) else list(chunks))
        return len(seen)

    with Flow() as f:
        f.r = read(f.g)
        f.g = count(f.r)
    run(f, stop_at_node_generation={"r": (2,)})
    assert seen == ["default", [0], [0, 1]]


def test_rule_24_ports_are_gathered_in_order_with_the_output_that_each_reads() -> None:
    with Flow() as f:
        f.d = divide(7, 2)
        f.a = same_pair(y=f.d, x=f.d.output(1))
    assert run(f)["a"] == ((1, 3),)


@node
def same_pair(x: int, y: int) -> tuple[int, int]:
    return x, y


def test_rule_25_what_a_run_has_defaulted_it_does_not_wait_for() -> None:
    order = []

    @node
    def begin(value: int = 0) -> int:
        order.append("begin")
        return value

    @node
    def follow(value: int) -> int:
        order.append("follow")
        return value

    with Flow() as f:
        f.b = follow(f.a)
        f.a = begin(f.b)
    run(f, stop_at_node_generation={"a": (1,)})
    assert order == ["begin", "follow", "begin"]


def test_rule_26_a_default_is_never_taken_because_a_producer_is_slow_or_has_emitted_none() -> None:
    @node
    def slow() -> None:
        return None

    with Flow() as f:
        f.a = same_or_seven(f.b)
        f.b = same(slow())
    assert run(f)["a"] == (None,)


# -- 35 to 38: kinds of nodes ------------------------------------------------------------------------


def test_rule_35_a_mono_node_returns_its_output_or_the_tuple_of_its_outputs() -> None:
    @node
    async def pair(x: int) -> tuple[int, int]:
        return x, x

    with Flow() as f:
        f.one = pair(1)
        f.two = divide(7, 2)
    assert run(f) == {"one": ((1, 1),), "two": (3, 1)}


def test_rule_36_each_yield_is_a_chunk_and_a_reader_may_return_or_yield() -> None:
    @node(multiple_outputs=True)
    async def pairs() -> AsyncIterator[tuple[int, str]]:
        yield 1, "a"
        yield 2, "b"

    @node
    def running(chunks: Stream[int]) -> Iterator[int]:
        so_far = 0
        for chunk in chunks:
            so_far += chunk
            yield so_far

    @node
    async def both(chunks: Stream[int], words: Stream[str]) -> list[Any]:
        return [[chunk async for chunk in chunks], [word async for word in words]]

    with Flow() as f:
        f.p = pairs()
        f.r = running(f.p)
        f.b = both(f.r, f.p.output(1))
    assert run(f) == {"p": (3, "ab"), "r": (4,), "b": ([[1, 3], ["a", "b"]],)}


def test_rule_37_each_node_of_a_class_has_an_instance_with_copies_of_its_values_B25() -> None:
    @node(multiple_outputs=True)
    class Collect:
        seen: list[int] = []  # noqa: RUF012 - copied for each node
        base = 100

        async def call(self, value: int, last: int = 0) -> tuple[int, list[int]]:
            self.seen.append(value)
            self.base += 1
            return self.base, list(self.seen)

    collect: Any = Collect
    with Flow() as f:
        f.a = collect(1, f.a)
        f.b = collect(2)
    run(f, stop_at_node_generation={"a": (2,)})
    assert f.a.get_data() == (103, [1, 1, 1])
    assert f.b.get_data() == (101, [2])
    assert (f.a.base, f.a.seen) == (103, [1, 1, 1])
    assert collect.__wrapped__.seen == []


def test_rule_38_a_constant_feeds_every_generation_and_is_no_node_of_the_report() -> None:
    with Flow() as f:
        f.a = add(f.b, 5)
        f.b = same_or_seven(f.a)
    report = run_flow(f, workers=0, stop_at_node_generation={"a": (3,)})
    assert f.a.get_data() == (27,)
    assert sorted(report.nodes) == ["a", "b"]


# -- 43: final values that a generator sets ------------------------------------------------------------


def test_rule_43_a_generator_sets_its_final_value_and_a_bare_end_keeps_the_sum() -> None:
    @node
    async def raises(value: Any) -> AsyncIterator[int]:
        yield 1
        raise StopAsyncIteration(value)

    @node
    async def ends() -> AsyncIterator[int]:
        yield 1
        yield 2
        raise StopAsyncIteration

    @node
    def returns(value: Any) -> Any:
        yield 1
        return value

    @node(multiple_outputs=True)
    def pair() -> Any:
        yield 1, 2
        return "a", "b"

    with Flow() as f:
        f.raises = raises("set")
        f.ends = ends()
        f.returns = returns("set")
        f.natural = returns(None)
        f.pair = pair()
    assert run(f) == {
        "raises": ("set",),
        "ends": (3,),
        "returns": ("set",),
        "natural": (1,),
        "pair": ("a", "b"),
    }


def test_rule_43_with_several_outputs_the_final_value_is_a_tuple_or_the_flow_fails() -> None:
    @node(multiple_outputs=True)
    def pair() -> Any:
        yield 1, 2
        return 3

    with Flow() as f:
        f.p = pair()
    with pytest.raises(ValueError, match=r"the body returned int.*must be a tuple"):
        f.run(workers=0)


def test_rule_44_a_final_value_that_is_read_and_does_not_exist_names_the_node() -> None:
    with Flow() as f:
        f.g = count(0)
        f.a = same(f.g)
    with pytest.raises(AccumulationError, match="'g'"):
        f.run(workers=0)


def test_rule_44_chunks_that_cannot_be_summed_are_named_and_the_remedies_once() -> None:
    @node
    def mixed() -> Any:
        yield 1
        yield "a"

    with Flow() as f:
        f.a = same(mixed())
    with pytest.raises(AccumulationError, match="chunks of type int and str cannot") as caught:
        f.run(workers=0)
    assert str(caught.value).count("StopAsyncIteration(value)") == 1
