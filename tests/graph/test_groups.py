"""Groups: ``@node.template`` (SEMANTICS 17, B24)."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from orchestrator import Flow, FlowDefinitionError, GroupTemplate, GroupView, Stream, node, parameter
from orchestrator.graph.draft import DraftNode
from orchestrator.graph.finalized import ConstantSource, EdgeSource, GraphNode, ParameterSource
from orchestrator.graph.flow import graph_of


@node
def add(x: int, y: int = 1) -> int:
    return x + y


@node
def same(value: Any) -> Any:
    return value


@node(multiple_outputs=True)
def divide(x: int, y: int) -> tuple[int, int]:
    return divmod(x, y)


@node
def count(upto: int) -> Any:
    yield from range(upto)


@node
def total(chunks: Stream[int]) -> int:
    return sum(chunks)


@node.template
def double_and_add(view: GroupView, value: int, more: int = 10) -> Any:
    view.result = add(view.doubled, more)
    view.doubled = add(value, value)
    return view.result


untyped: Any = double_and_add


def names(flow: Flow) -> list[str]:
    return [node.name for node in graph_of(flow).nodes]


def nodes(flow: Flow) -> dict[str, GraphNode]:
    return {node.name: node for node in graph_of(flow).nodes}


def data(flow: Flow, *wanted: str) -> list[Any]:
    flow.run(workers=0)
    return [getattr(flow, name).get_data() for name in wanted]


def refused(says: str) -> pytest.RaisesExc[FlowDefinitionError]:
    return pytest.raises(FlowDefinitionError, match=says)


# -- what a group is ------------------------------------------------------------------------------------


def test_a_group_is_written_where_it_is_called_and_leaves_only_nodes_rule_17() -> None:
    with Flow() as f:
        f.a = same(1)
        f.b = double_and_add(f.a)
    assert names(f) == ["a", "b", "double_and_add#0.doubled"]
    assert nodes(f)["b"].inputs == [EdgeSource(2, 0), ConstantSource(10)]
    assert nodes(f)["double_and_add#0.doubled"].inputs == [EdgeSource(0, 0), EdgeSource(0, 0)]
    assert data(f, "b") == [(12,)]


def test_a_group_takes_several_inputs_defaults_and_keywords_rule_17() -> None:
    with Flow() as f:
        f.a = double_and_add(more=f.n, value=3)
        f.n = same(5)
        f.b = double_and_add(4)
        f.c = double_and_add(parameter("p", 2), f.b)
    assert data(f, "a", "b", "c") == [(11,), (18,), (22,)]


def test_each_call_writes_nodes_of_its_own_rule_17() -> None:
    with Flow() as f:
        f.a = double_and_add(1)
        f.b = double_and_add(f.a)
    assert f.a is not f.b
    assert names(f) == ["a", "double_and_add#0.doubled", "b", "double_and_add#1.doubled"]
    assert data(f, "a", "b") == [(12,), (34,)]


def test_groups_may_be_nested_rule_17() -> None:
    @node.template
    def outer(view: Any, value: int) -> Any:
        view.twice = double_and_add(view.once)
        view.once = double_and_add(value)
        add(view.twice)
        return view.twice

    with Flow() as f:
        f.a = outer(1)
        f.b = outer(f.a)
    assert names(f)[:5] == [
        "a",
        "outer#0.double_and_add#0.doubled",
        "outer#0.once",
        "outer#0.double_and_add#1.doubled",
        "outer#0.add#2",
    ]
    assert data(f, "a", "b") == [(34,), (166,)]


def test_a_name_of_a_view_may_be_handed_to_a_group_inside_before_it_is_defined_rule_17() -> None:
    @node.template
    def through(view: Any, value: int) -> Any:
        return value

    @node.template
    def outer(view: Any) -> Any:
        view.result = add(view.passed, through(view.later))
        view.passed = through(view.later)
        view.later = same(4)
        return through(view.result)

    with Flow() as f:
        f.a = outer()
    assert data(f, "a") == [(8,)]


def test_names_of_a_view_are_no_names_of_the_flow_B24() -> None:
    @node.template
    def group(view: Any, value: int) -> Any:
        view.first = add(value)
        view.second = add(view.first)
        return view.second

    with Flow() as f:
        f.first = same(100)
        f.result = group(f.first)
        f.last = add(f.first, f.result)
        f.second = same(0)
    assert data(f, "first", "result", "last", "second") == [(100,), (102,), (202,), (0,)]
    assert names(f) == ["first", "group#0.first", "result", "last", "second"]


def test_a_view_does_not_rename_the_nodes_it_was_given_B24() -> None:
    @node.template
    def group(view: Any, value: int) -> Any:
        view.mine = value
        return add(view.mine)

    with Flow() as f:
        f.a = group(same(1))
    assert names(f) == ["same#0", "a"]


def test_an_argument_may_be_a_name_that_the_flow_defines_later_B24() -> None:
    with Flow() as f:
        f.b = double_and_add(f.later, f.pair.output(1))
        f.later = same(1)
        f.pair = divide(7, 2)
    assert data(f, "b") == [(3,)]


def test_the_result_may_be_used_before_the_group_is_called_rule_17() -> None:
    with Flow() as f:
        f.a = add(f.b, f.c.output(1))
        f.b = double_and_add(1)
        f.c = split_in_two(7)
    assert data(f, "a") == [(13,)]


@node.template
def split_in_two(view: Any, value: int) -> Any:
    view.parts = divide(value, 2)
    return view.parts


def test_the_result_has_all_outputs_of_its_node_rule_17() -> None:
    with Flow() as f:
        f.parts = split_in_two(7)
        f.half = same(f.parts)
        f.rest = same(f.parts.output(1))
    assert data(f, "parts", "half", "rest") == [(3, 1), (3,), (1,)]


def test_a_group_may_return_one_output_rule_17() -> None:
    @node.template
    def remainder(view: Any, value: int) -> Any:
        view.parts = divide(value, 2)
        return view.parts.output(1)

    with Flow() as f:
        f.before = same(f.rest)
        f.first = same(f.rest.output(0))
        f.rest = remainder(7)
        f.after = same(f.rest)
    assert data(f, "before", "first", "rest", "after") == [(1,), (1,), (1,), (1,)]
    flow = Flow()
    with refused(r"output 1 of 'rest' .* stands for output 1 of <node"), flow as f:
        f.before, f.rest = same(f.rest.output(1)), remainder(7)


def test_a_group_may_return_what_it_was_given_rule_17() -> None:
    @node.template
    def through(view: Any, value: int) -> Any:
        return value

    with Flow() as f:
        f.x = same(f.y)
        f.y = through(f.z)
        f.z = through(f.a)
        f.a = same(3)
        f.b = through(f.a)
    assert f.b is f.a
    assert f.y is f.a
    assert names(f) == ["x", "a"]
    assert data(f, "x", "y", "z", "b") == [(3,)] * 4


@pytest.mark.parametrize("constant", [0, "text", [1, 2], parameter("given", 7)])
def test_a_constant_result_is_wrapped_in_a_node_B24(constant: Any) -> None:
    @node.template
    def group(view: Any) -> Any:
        return constant

    with Flow() as f:
        f.before = same(f.c)
        f.c = group()
        group()
    expected = 7 if constant.__class__.__name__ == "Parameter" else constant
    assert data(f, "before", "c") == [(expected,), (expected,)]
    assert names(f) == ["before", "c", "group#1.constant#0"]


def test_a_group_may_hold_cycles_and_streams_rule_17() -> None:
    @node.template
    def sums(view: Any, upto: int) -> Any:
        view.chunks = count(upto)
        view.total = total(view.chunks)
        view.step = add(view.total, view.step)
        return view.step

    with Flow() as f:
        f.a = sums(4)
    f.run(workers=0, stop_at_node_generation={"a": (2,)})
    assert f.a.get_data() == (19,)
    assert [node.name for node in f.plan().nodes] == ["sums#0.chunks", "sums#0.total", "a"]


def test_nodes_without_a_name_run_in_groups_too_rule_16() -> None:
    @node.template
    def group(view: Any, value: int) -> Any:
        add(value)
        return add(same(value))

    with Flow() as f:
        group(1)
    report = f.run(workers=0)
    assert {name: node.runs for name, node in report.nodes.items()} == {
        "group#0.add#0": 1,
        "group#0.same#0": 1,
        "group#0.add#1": 1,
    }


def test_a_group_without_a_block_is_added_whole_A6() -> None:
    @node.template
    def group(view: Any, value: int) -> Any:
        view.log = same(view.result)
        view.result = double_and_add(value)
        return view.result

    flow = Flow()
    flow.add_node(group(same(1)), "result")
    flow.add_nodes(rest=split_in_two(7).output(1))
    assert names(flow) == [
        "same#0",
        "group#0.log",
        "result",
        "group#0.double_and_add#0.doubled",
        "split_in_two#0.parts",
    ]
    assert data(flow, "result", "rest") == [(12,), (1,)]


def test_names_of_nodes_stay_unique_whatever_attributes_are_called() -> None:
    with Flow() as f:
        setattr(f, "double_and_add#0.doubled", same(0))
        f.a = double_and_add(1)
    assert names(f) == ["double_and_add#0.doubled", "a", "double_and_add#0.add#1"]


def test_ordinary_attributes_and_values_may_be_kept_on_a_view() -> None:
    @node.template
    def group(view: Any) -> Any:
        view._kept = view.limit = 3
        with pytest.raises(AttributeError, match="no attribute '_other'"):
            view._other
        return same(view._kept + view.limit)

    with Flow() as f:
        f.a = group()
    assert data(f, "a") == [(6,)]


def test_a_group_tells_what_it_is() -> None:
    assert isinstance(double_and_add, GroupTemplate)
    assert (double_and_add.name, double_and_add.__name__) == ("double_and_add", "double_and_add")
    line = inspect.getsourcelines(double_and_add.__wrapped__)[1]
    assert repr(double_and_add) == f"<group double_and_add ({__file__}:{line})>"


def test_a_group_keeps_its_signature_for_type_checkers() -> None:
    with Flow():
        double_and_add(1, 2)
        double_and_add(1, more=2)
        with pytest.raises(TypeError):
            double_and_add(1, none=2)  # type: ignore[call-arg]


# -- what is refused ------------------------------------------------------------------------------------


def test_an_undefined_name_is_an_error_at_the_call_of_the_group_B24() -> None:
    @node.template
    def group(view: Any, value: int) -> Any:
        view.doubled = add(view.dubled)
        return view.doubled

    with Flow() as f:
        f.dubled = same(1)
        with pytest.raises(FlowDefinitionError) as caught:
            f.a = group(1)
        f.b = same(2)
    line = inspect.getsourcelines(group.__wrapped__)[1] + 2
    assert f"'doubled' (add, {__file__}:{line}) reads 'dubled' (at {__file__}:{line})" in str(
        caught.value
    )
    assert f"not defined in group 'group' at {__file__}:" in str(caught.value)
    assert "did you mean 'doubled'" in str(caught.value)
    assert names(f) == ["dubled", "b"]  # nothing is left of the call


def test_a_name_that_is_only_read_must_be_defined_too_rule_14() -> None:
    @node.template
    def group(view: Any) -> Any:
        view.other
        return same(1)

    with refused("group 'group' at .* reads 'other'"):
        group()


def test_a_name_that_stands_for_itself_is_refused() -> None:
    @node.template
    def through(view: Any, value: int) -> Any:
        return value

    with refused("'b' .*stands for nothing but itself"), Flow() as f:
        f.a = through(f.b)
        f.b = through(f.a)


def test_a_name_that_holds_no_node_is_refused_rule_14() -> None:
    @node.template
    def group(view: Any) -> Any:
        view.node = same(view.limit)
        view.limit = 3
        return view.node

    with refused("it is not a node but 3; define it before"):
        group()


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (lambda: None, "returned nothing; it must return the node"),
        (lambda: (same(1), same(2)), "returned several nodes in a tuple"),
        (lambda: {"a": same(1)}, "returned several nodes in a dict"),
        (lambda: same, "returned <node template same .*> itself; call it"),
        (lambda: double_and_add, "returned <group double_and_add .*> itself; call it"),
    ],
)
def test_a_group_that_returns_no_node_is_refused_with_its_place(result: Any, says: str) -> None:
    @node.template
    def group(view: Any) -> Any:
        return result()

    with pytest.raises(TypeError, match=f"group 'group' at {__file__}:\\d+ {says}"):
        group()


def test_an_exception_in_a_group_is_raised_as_it_is_with_the_group_as_a_note() -> None:
    @node.template
    def inner(view: Any, value: int) -> Any:
        view.a = same(value)
        raise ZeroDivisionError

    @node.template
    def outer(view: Any) -> Any:
        return inner(1)

    with Flow() as f:
        with pytest.raises(ZeroDivisionError) as caught:
            outer()
        f.a = same(1)
    [note] = caught.value.__notes__
    assert note.startswith(f"(raised while group 'inner' at {__file__}:")
    assert names(f) == ["a"]


@pytest.mark.parametrize(
    ("args", "kwargs", "says"),
    [
        ((), {}, "missing a required argument: 'value'"),
        ((1, 2, 3), {}, "too many positional arguments"),
        ((1,), {"none": 1}, "unexpected keyword argument 'none'"),
    ],
)
def test_wrong_arguments_of_a_group_are_refused_at_the_call_rule_18(
    args: Any, kwargs: Any, says: str
) -> None:
    with pytest.raises(TypeError, match=f"group 'double_and_add' at {__file__}:\\d+: .*{says}"):
        untyped(*args, **kwargs)


def generating(view: Any) -> Any:
    yield same(1)


async def waiting(view: Any) -> Any:
    return same(1)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (generating, "a plain 'def'"),
        (waiting, "a plain 'def'"),
        (int, "made of a function, not of <class 'int'>"),
        (lambda: same(1), "its first parameter must be the view"),
    ],
)
def test_a_group_is_made_of_a_plain_function_with_a_view(function: Any, says: str) -> None:
    with pytest.raises(TypeError, match=f"@node.template .*{says}"):
        node.template(function)


def test_after_its_call_a_view_has_no_more_names() -> None:
    kept = []

    @node.template
    def group(view: Any) -> Any:
        kept.append(view)
        view.a = same(1)
        return view.a

    made = group()
    assert isinstance(made, DraftNode)
    assert kept[0].a is made
    with pytest.raises(AttributeError, match=r"group 'group' at .* has no node 'b'"):
        kept[0].b
    with pytest.raises(AttributeError, match=r"group 'group' at .* is complete"):
        kept[0].b = made


def test_parameters_go_through_groups() -> None:
    with Flow() as f:
        f.a = double_and_add(parameter("p", 1))
    assert nodes(f)["double_and_add#0.doubled"].inputs[0] == ParameterSource("p")
