"""The ``with`` block: names, placeholders, constants, and everything that is refused at its end."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator import Flow, FlowDefinitionError, Stream, node, parameter
from orchestrator.graph.draft import DraftNode, Placeholder
from orchestrator.graph.finalized import (
    ConstantSource,
    DefaultSource,
    EdgeSource,
    GraphNode,
    ParameterSource,
)
from orchestrator.graph.flow import graph_of, publish


@node
def add(x: int, y: int = 1) -> int:
    return x + y


@node
def same(value: Any) -> Any:
    return value


@node
def count(upto: int) -> Iterator[int]:
    yield from range(upto)


@node
def total(chunks: Stream[int]) -> int:
    return sum(chunks)


@node(multiple_outputs=True)
def divide(x: int, y: int) -> tuple[int, int]:
    return divmod(x, y)


untyped_add: Any = add
"""For calls that a type checker refuses."""


def nodes(flow: Flow) -> dict[str, GraphNode]:
    return {node.name: node for node in graph_of(flow).nodes}


# -- names --------------------------------------------------------------------------------------------


def test_statements_may_come_in_any_order_rule_13() -> None:
    with Flow() as f:
        f.c = add(f.b, f.a)
        assert isinstance(f.a, Placeholder)
        f.b = same(f.a)
        f.a = same(1)
    assert nodes(f)["c"].inputs == [EdgeSource(1, 0), EdgeSource(2, 0)]
    assert [node.name for node in graph_of(f).nodes] == ["c", "b", "a"]


def test_after_the_block_names_hold_their_nodes() -> None:
    with Flow() as f:
        f.a = made = same(1)
    assert f.a is made
    assert repr(f.a) == f"<node 'a' (same, {nodes(f)['a'].place})>"


def test_unnamed_nodes_are_called_by_template_and_number_of_use_rule_16() -> None:
    with Flow() as f:
        f.a = add(same(1), same(2))
        add(3)
    assert [node.name for node in graph_of(f).nodes] == ["same#0", "same#1", "a", "add#1"]
    assert [node.instance for node in graph_of(f).nodes] == ["same#0", "same#1", "add#0", "add#1"]


def test_names_are_unique_even_against_odd_attributes() -> None:
    with Flow() as f:
        setattr(f, "same#1", same(1))
        same(2)
        same(3)
    assert [node.name for node in graph_of(f).nodes] == ["same#1", "same#2", "same#3"]


def test_a_node_with_two_names_is_called_by_the_first_and_found_by_both() -> None:
    with Flow() as f:
        f.a = f.b = same(1)
        f.c = add(f.a, f.b)
    assert [node.name for node in graph_of(f).nodes] == ["a", "c"]
    assert f.a is f.b


def test_the_last_node_assigned_to_a_name_has_it() -> None:
    with Flow() as f:
        f.a = same(1)
        for _ in range(2):
            f.a = add(f.a)
    assert [node.name for node in graph_of(f).nodes] == ["same#0", "add#0", "a"]
    assert nodes(f)["a"].inputs[0] == EdgeSource(1, 0)


def test_a_placeholder_stands_for_the_node_that_has_the_name_at_the_end() -> None:
    with Flow() as f:
        f.a = add(f.b)
        f.b = same(1)
        f.b = same(2)
    assert nodes(f)["a"].inputs[0] == EdgeSource(2, 0)


def test_names_with_an_underscore_are_ordinary_rule_13() -> None:
    with Flow() as f:
        f._kept = same(1)
        with pytest.raises(AttributeError, match="no attribute '_other'"):
            f._other
    assert isinstance(f._kept, DraftNode)
    assert [node.name for node in graph_of(f).nodes] == ["same#0"]


def test_what_is_no_node_may_be_kept_on_the_flow() -> None:
    with Flow() as f:
        f.limit = 3
        f.a = same(f.limit)
        f.all = [same(n) for n in range(2)]
    assert nodes(f)["a"].inputs == [ConstantSource(3)]
    assert len(graph_of(f).nodes) == 3


@pytest.mark.parametrize("name", ["run", "run_until_complete", "plan", "add_node", "add_nodes"])
def test_a_node_cannot_take_the_name_of_a_method(name: str) -> None:
    flow = Flow()
    with pytest.raises(AttributeError, match=f"{name!r}, which is a method of Flow") as caught, flow:
        setattr(flow, name, same(1))
    assert __file__ in str(caught.value)


def test_after_the_block_an_unknown_name_is_an_error_with_a_suggestion_rule_14() -> None:
    with Flow() as f:
        f.result = same(1)
    with pytest.raises(AttributeError, match="no node 'resutl'; did you mean 'result'"):
        f.resutl
    assert not hasattr(f, "something_else")


def test_outside_of_a_block_there_are_no_placeholders() -> None:
    with pytest.raises(AttributeError, match="no node 'a'"):
        Flow().a


# -- arguments ----------------------------------------------------------------------------------------


def test_any_other_argument_is_a_constant_none_included_rule_15() -> None:
    thing = object()
    with Flow() as f:
        f.a = untyped_add(None, thing)
        f.b = add(1)
    assert nodes(f)["a"].inputs == [ConstantSource(None), ConstantSource(thing)]
    assert nodes(f)["b"].inputs == [ConstantSource(1), DefaultSource()]


def test_outputs_are_named_by_index_before_and_after_their_node_is_defined() -> None:
    with Flow() as f:
        f.a = add(f.d.output(1), f.d)
        f.d = divide(7, 2)
        f.b = same(f.d.output(1))
    assert nodes(f)["a"].inputs == [EdgeSource(1, 1), EdgeSource(1, 0)]
    assert nodes(f)["b"].inputs == [EdgeSource(1, 1)]
    assert nodes(f)["d"].needed_outputs == 2
    assert nodes(f)["a"].needed_outputs == 1


def test_an_output_may_have_a_name_of_its_own_once_it_is_defined() -> None:
    with Flow() as f:
        f.d = divide(7, 2)
        f.rest = f.d.output(1)
        f.a = same(f.rest)
    assert nodes(f)["a"].inputs == [EdgeSource(0, 1)]


def test_parameters_are_shared_by_name() -> None:
    with Flow() as f:
        f.a = add(parameter("n", 3), parameter("m"))
        f.b = same(parameter("n", 3))
    assert nodes(f)["b"].inputs == [ParameterSource("n")]
    given = graph_of(f).parameters
    assert [(p.name, p.is_required) for p in given.values()] == [("n", False), ("m", True)]


def test_a_parameter_with_two_defaults_is_refused_with_both_places() -> None:
    with refused("parameter 'n' has default 3 at .* and 4 at "), Flow() as f:
        f.a = add(parameter("n", 3), parameter("n", 4))
    with refused("REQUIRED"), Flow() as f:
        f.a = add(parameter("n", 3), parameter("n"))


class Incomparable:
    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    __hash__ = None  # type: ignore[assignment]


def test_defaults_that_cannot_be_compared_agree_only_if_they_are_the_same_object() -> None:
    default = Incomparable()
    with Flow() as f:
        f.a = add(parameter("n", default), parameter("n", default))
    with pytest.raises(FlowDefinitionError, match="parameter 'n'"), Flow() as f:
        f.a = add(parameter("n", default), parameter("n", Incomparable()))


@pytest.mark.parametrize(("name", "error"), [("2nd", ValueError), (7, TypeError), ("", ValueError)])
def test_the_name_of_a_parameter_is_an_identifier(name: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"parameter at .*its name must be"):
        parameter(name)


def test_a_template_may_be_used_many_times_and_in_several_flows_rule_16() -> None:
    flows = []
    for _ in range(2):
        with Flow() as f:
            f.a = add(add(1), add(2))
        flows.append(f)
    assert [len(graph_of(f).nodes) for f in flows] == [3, 3]


def test_what_users_hold_tells_what_it_is() -> None:
    with Flow() as f:
        assert repr(f.later).startswith(f"<undefined node 'later' ({__file__}:")
        f.later = same(1)
    assert repr(f.later).startswith(f"<node 'later' (same, {__file__}:")
    assert repr(same(1)).startswith(f"<node same ({__file__}:")
    assert repr(f.later.output(0)).startswith("OutputRef(of=<node 'later' ")
    assert repr(parameter("p")).startswith("Parameter(name='p', default=REQUIRED")


def test_flows_may_be_nested() -> None:
    with Flow() as outer:
        outer.a = same(1)
        with Flow() as inner:
            inner.b = same(2)
        outer.c = same(3)
    assert list(nodes(outer)) == ["a", "c"]
    assert list(nodes(inner)) == ["b"]


def test_variadic_ports_are_numbered_rule_16() -> None:
    @node
    def join(first: int, *more: int) -> None: ...

    with Flow() as f:
        f.a = join(1, 2, f.b)
        f.b = same(3)
    assert [port.name for port in nodes(f)["a"].ports] == ["first", "more[0]", "more[1]"]
    assert nodes(f)["a"].inputs[2] == EdgeSource(1, 0)


# -- what is refused at the end of the block ------------------------------------------------------------


def refused(*expected: str) -> pytest.RaisesExc[FlowDefinitionError]:
    """Each regular expression is found in the message, in this order."""
    return pytest.raises(FlowDefinitionError, match="(?s)" + ".*".join(expected))


def test_a_placeholder_that_is_never_defined_is_named_with_its_reader_rule_14() -> None:
    expected = ["'a' \\(add, .*test_flow.py:\\d+\\) reads 'missing' ", "not defined"]
    with refused(*expected) as caught, Flow() as f:
        f.a = add(f.missing)
    assert issubclass(caught.type, AttributeError)
    assert len(caught.value.problems) == 1


def test_a_placeholder_that_nobody_uses_must_be_defined_too_rule_14() -> None:
    with refused("the flow reads 'result' .*did you mean 'results'"), Flow() as f:
        f.results = same(1)
        f.result


def test_a_placeholder_whose_name_holds_no_node_is_refused_rule_14() -> None:
    with refused("reads 'a' .*before it was defined, and it is not a node but 3"), Flow() as f:
        f.b = same(f.a)
        f.a = 3


def test_a_name_is_complained_of_once() -> None:
    with refused("missing") as caught, Flow() as f:
        f.a = add(f.missing, f.missing)
        f.b = same(f.missing.output(1))
    assert len(caught.value.problems) == 1


def test_an_unconnected_port_without_default_is_refused_rule_14() -> None:
    expected = ["'a' \\(add, .*\\): ", "parameter 'x' is not connected and has no default value"]
    with refused(*expected), Flow() as f:
        f.a = untyped_add(y=3)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (lambda: same([1]), "fed by 'same#0' .*make that node a generator"),
        (lambda: [1, 2], "fed by a constant"),
        (lambda: parameter("p"), "fed by parameter 'p'"),
    ],
)
def test_a_stream_port_fed_by_what_yields_nothing_is_refused_rule_18(source: Any, says: str) -> None:
    with refused("'t' \\(total, ", "parameter 'chunks' takes a stream", says), Flow() as f:
        f.t = total(source())


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        (lambda: same, "is given <node template same .*call it to make a node"),
        (lambda: [same(1), 2], "is given a list with nodes or parameters in it"),
        (lambda: (1, parameter("p")), "is given a tuple with nodes or parameters in it"),
        (lambda: {"x": divide(1, 1).output(1)}, "is given a dict with nodes or parameters in it"),
    ],
)
def test_what_was_surely_meant_to_be_nodes_is_no_constant(argument: Any, says: str) -> None:
    with refused("'s' \\(same, ", "parameter 'value' ", says), Flow() as f:
        f.s = same(argument())


def test_a_node_is_neither_true_nor_false_while_the_flow_is_written() -> None:
    with pytest.raises(TypeError, match=r"neither true nor false.*SKIP"), Flow() as f:
        bool(f.later)
    for written in (same(1), divide(1, 1).output(1)):
        with pytest.raises(TypeError, match=r"neither true nor false.*SKIP"):
            bool(written)


def test_a_stream_port_may_be_left_to_its_default() -> None:
    @node
    def read(chunks: Stream[int] | None = None) -> None: ...

    @node(stream_in=["chunks"])
    def read_by_name(chunks: Any = None) -> None: ...

    with Flow() as f:
        f.a = read()
        f.b = read_by_name()
    assert nodes(f)["b"].inputs == [DefaultSource()]


def test_an_output_that_cannot_exist_is_refused_rule_18() -> None:
    with refused("reads output 1 of 'a' .*has output 0 only; .*multiple_outputs=True"), Flow() as f:
        f.a = same(1)
        f.b = same(f.a.output(1))
    with refused("reads output 2 of 'd' .*annotated to have 2 outputs"), Flow() as f:
        f.d = divide(7, 2)
        f.b = same(f.d.output(2))


def test_the_outputs_of_a_generator_are_known_by_what_it_yields() -> None:
    @node(multiple_outputs=True)
    def pairs() -> Iterator[tuple[int, str]]:
        yield 1, "a"

    @node(multiple_outputs=True)
    def any_number() -> tuple[int, ...]:
        return (1, 2)

    with refused("annotated to have 2 outputs"), Flow() as f:
        f.a = same(pairs().output(2))

    @node(multiple_outputs=True)
    def misspelt() -> "tuple[int, itn]":  # type: ignore[name-defined]  # noqa: F821, UP037
        return (1, 2)

    with Flow() as f:
        f.a = add(any_number().output(5), misspelt().output(7))
    assert nodes(f)["any_number#0"].needed_outputs == 6
    assert nodes(f)["misspelt#0"].needed_outputs == 8


def test_a_node_of_another_flow_is_refused() -> None:
    with Flow() as one:
        one.a = same(1)
    with refused("'b' .*reads 'a' \\(same, .*another flow"), Flow() as other:
        other.b = same(one.a)
    with refused("added at .*belongs to another flow"), Flow() as other:
        other.stolen = one.a
    with refused("reads 'later', which belongs to another flow"), Flow() as outer:
        outer.x = same(1)
        with Flow() as inner:
            inner.y = same(outer.later)
        outer.later = same(2)


def test_all_mistakes_are_told_at_once() -> None:
    with refused("the flow has 3 mistakes:\n  - ", "\n  - ", "\n  - ") as caught, Flow() as f:
        f.a = add(f.missing)
        f.b = untyped_add()
        f.c = total(f.b)
    assert len(caught.value.problems) == 3


def test_very_many_mistakes_are_not_all_shown() -> None:
    with refused("25 mistakes", "and 5 more"), Flow():
        for _ in range(25):
            untyped_add()


def test_among_thousands_of_names_none_is_suggested() -> None:
    flow = Flow()
    with refused(r"reads 'b' \(at .*\), which is not defined in the flow$"), flow:
        flow.a = same(flow.b)
        vars(flow).update({f"b{n}": flow.a for n in range(2_000)})


def test_a_flow_that_was_refused_stays_refused() -> None:
    flow = Flow()
    with refused("not connected"), flow:
        untyped_add()
    with refused("not connected"):
        flow.plan()


def test_an_exception_inside_the_block_is_not_replaced_B28() -> None:
    flow = Flow()
    with pytest.raises(ZeroDivisionError), flow:
        flow.a = add(flow.missing, 1 // 0)
    with pytest.raises(RuntimeError, match="block of this flow raised"):
        flow.plan()
    with pytest.raises(AttributeError, match="no node 'other'"):
        flow.other


def test_a_failed_block_does_not_catch_later_nodes_B27() -> None:
    flow = Flow()
    with pytest.raises(ZeroDivisionError), flow:
        1 / 0
    with Flow():
        pass
    made = same(1)
    f2 = Flow()
    f2.add_node(made)
    assert list(nodes(f2)) == ["same#0"]


def test_a_flow_has_one_block() -> None:
    with Flow() as f:
        f.a = same(1)
    with pytest.raises(RuntimeError, match=f"entered at {__file__}"), f:
        pass


def test_a_flow_is_complete_only_at_the_end_of_its_block() -> None:
    with Flow() as f:
        f.a = same(1)
        with pytest.raises(RuntimeError, match="complete only at the end"):
            f.plan()


def test_nothing_can_be_added_to_a_complete_flow() -> None:
    with Flow() as f:
        f.a = same(1)
    with pytest.raises(RuntimeError, match="the flow is complete"):
        f.b = same(2)
    with pytest.raises(RuntimeError, match="the flow is complete"):
        f.add_node(same(2))


# -- without a block ----------------------------------------------------------------------------------


def test_nodes_made_elsewhere_bring_what_they_are_connected_to_A6() -> None:
    source = same(1)
    middle = divide(source, 2)
    result = same(middle.output(1))
    flow = Flow()
    flow.add_node(result, "result")
    assert list(nodes(flow)) == ["same#0", "divide#0", "result"]
    assert flow.result is result


def test_numbers_follow_the_order_of_creation_not_of_adding_A6() -> None:
    first, second = same(1), same(2)
    flow = Flow()
    flow.add_nodes(second, first=first)
    assert list(nodes(flow)) == ["first", "same#1"]


def test_nodes_without_a_block_follow_the_same_rules_A6() -> None:
    flow = Flow()
    flow.a = untyped_add()
    with refused("parameter 'x' is not connected"):
        flow.plan()


def test_adding_a_node_twice_changes_nothing() -> None:
    made = same(1)
    flow = Flow()
    flow.add_nodes(made, made)
    assert len(graph_of(flow).nodes) == 1


def test_only_nodes_can_be_added() -> None:
    with pytest.raises(TypeError, match=f"added at {__file__}:.* is not a node"):
        Flow().add_node(add)
    with pytest.raises(TypeError, match=f"added at {__file__}:.* is not a node"):
        Flow().add_nodes(same(1), 3)


def test_an_added_node_cannot_take_the_name_of_a_method_either() -> None:
    with pytest.raises(AttributeError, match=f"at {__file__}:.* 'run', which is a method of Flow"):
        Flow().add_nodes(run=same(1))


# -- get_data -----------------------------------------------------------------------------------------


class Recorded:
    def __init__(self, data: dict[tuple[int, int], tuple[Any, ...]]) -> None:
        self.data = data

    def get(self, node: int, run_level: int) -> tuple[Any, ...] | None:
        return self.data.get((node, run_level))


def test_before_any_run_there_is_no_data_rule_12() -> None:
    with Flow() as f:
        f.a = same(1)
        assert f.a.get_data() is None
    assert f.a.get_data() is None
    assert f.a.get_data(run_level=1) is None


def test_get_data_reads_what_a_run_published_rule_12() -> None:
    with Flow() as f:
        f.a = same(1)
        f.g = count(3)
    publish(f, Recorded({(0, 0): ("value",), (1, 1): (2,)}))
    assert f.a.get_data() == ("value",)
    assert f.a.get_data(1) is None
    assert f.g.get_data(run_level=1) == (2,)


def test_a_node_inside_a_value_is_refused_when_the_value_is_pickled() -> None:
    with pytest.raises(TypeError, match="is part of a value"):
        pickle.dumps([same(1)])
    with pytest.raises(TypeError, match="'later', a name of a flow"), Flow() as f:
        pickle.dumps([f.later])
