"""``@node``: what it takes, what it makes of it, and what it says of mistakes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from executor.blueprint import BodyKind
from orchestrator import NodeTemplate, Stream, node
from orchestrator.graph.draft import UNCONNECTED, DraftNode, record_of


@node
def add(x: int, y: int = 1) -> int:
    """The sum."""
    return x + y


@node
class Total:
    total = 0

    def call(self, x: int) -> int:
        self.total += x
        return self.total


def inputs_of(drafted: DraftNode) -> list[object]:
    return record_of(drafted).inputs


def test_a_function_becomes_a_template_that_still_tells_what_it_is() -> None:
    assert isinstance(add, NodeTemplate)
    assert (add.__name__, add.__doc__, add.__module__) == ("add", "The sum.", __name__)
    assert add.__wrapped__(1, 2) == 3
    assert list(inspect.signature(add).parameters) == ["x", "y"]
    assert add.name == "add"
    line = inspect.getsourcelines(add.__wrapped__)[1]
    assert add.place == f"{__file__}:{line}"
    assert repr(add) == f"<node template add ({add.place})>"


def test_all_kinds_of_bodies_are_nodes_A1() -> None:
    @node
    async def one(x: int) -> int:
        return x

    @node
    def several(x: int) -> Iterator[int]:
        yield x

    @node
    async def several_async(x: int) -> AsyncIterator[int]:
        yield x

    kinds = [template.blueprint.kind for template in (add, one, several, several_async)]
    assert kinds == [BodyKind.FUNCTION, BodyKind.FUNCTION, BodyKind.GENERATOR, BodyKind.GENERATOR]
    assert [t.blueprint.is_async for t in (add, one, several, several_async)] == [
        False,
        True,
        False,
        True,
    ]


def test_a_class_with_call_is_a_node_rule_37() -> None:
    total: Any = Total
    assert total.blueprint.is_class
    assert [port.name for port in total.blueprint.ports] == ["x"]
    assert total.__wrapped__().call(3) == 3


def test_what_is_no_function_in_python_is_a_node_at_the_place_of_the_decorator() -> None:
    doubled = node(name="double")(functools.partial(lambda factor, x: factor * x, 2))
    assert doubled.name == "double"
    assert doubled.place.startswith(f"{__file__}:")
    assert [port.name for port in doubled.blueprint.ports] == ["x"]


def test_stream_parameters_are_found_by_annotation_or_by_name_A2() -> None:
    @node(stream_in=["second"])
    def body(first: Stream[int], second: Any, third: int) -> None: ...

    assert [port.run_level for port in body.blueprint.ports] == [1, 1, 0]


def test_the_options_are_kept() -> None:
    @node(multiple_outputs=True, window=8, placement="inline", drain=False, accumulate=list, keep=True)
    def body() -> tuple[int, int]:
        return 1, 2

    options = body.options
    assert (options.multiple_outputs, options.window, options.placement) == (True, 8, "inline")
    assert (options.drain, options.accumulate, options.keep) == (False, list, True)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"stream_in": ["b"]}, TypeError, "stream_in names 'b', which is not a parameter"),
        ({"stream_in": "a"}, TypeError, r"write \['a'\]"),
        ({"stream_in": [3]}, TypeError, "names of parameters"),
        ({"window": -1}, ValueError, "window must be at least 0"),
        ({"window": True}, TypeError, "window must be an integer"),
        ({"window": "1"}, TypeError, "window must be an integer"),
        ({"placement": "fiber"}, ValueError, "'thread', 'inline', not 'fiber'"),
        ({"drain": 1}, TypeError, "drain must be True or False"),
        ({"keep": None}, TypeError, "keep must be True or False"),
        ({"multiple_outputs": 2}, TypeError, "multiple_outputs must be True or False"),
        ({"accumulate": "sum"}, TypeError, "accumulate must be None, list, or a function"),
        ({"accumulate": dict}, TypeError, "accumulate must be None, list, or a function"),
        ({"name": 3}, TypeError, "name must be a string"),
    ],
)
def test_a_bad_option_is_an_error_at_the_definition_that_says_where_rule_18(
    options: dict[str, Any], error: type[Exception], says: str
) -> None:
    def body(a: int) -> None: ...

    with pytest.raises(error, match=says) as caught:
        node(**options)(body)
    line = inspect.getsourcelines(body)[1]
    assert f"{__file__}:{line}: " in str(caught.value)


class WithoutCall:
    pass


class NeedsArgument:
    def __init__(self, size: int) -> None: ...
    def call(self) -> None: ...


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (WithoutCall, "give it a method 'def call"),
        (NeedsArgument, "its constructor needs 'size'"),
        (3, "takes a function or a class"),
        (lambda **options: None, "name each parameter"),
    ],
)
def test_what_cannot_be_a_body_is_refused_with_what_to_change(body: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        node(body)


def test_calling_a_template_outside_of_a_flow_makes_a_node_of_its_own() -> None:
    made = add(1)
    assert isinstance(made, DraftNode)
    assert inputs_of(made) == [1, UNCONNECTED]
    assert made.get_data() is None


def test_keyword_arguments_connect_ports_by_name_A2() -> None:
    assert inputs_of(add(y=2, x=1)) == [1, 2]

    @node
    def body(a: int, *, b: int, c: int = 3) -> None: ...

    assert inputs_of(body(1, b=2)) == [1, 2, UNCONNECTED]


def test_star_args_take_any_number_of_inputs_rule_16() -> None:
    @node
    def join(first: int, *more: int, last: int = 0) -> None: ...

    # The ports of the signature come first, then one for each further argument.
    assert inputs_of(join(1, 2, 3, last=9)) == [1, 9, 2, 3]
    assert inputs_of(join(1)) == [1, UNCONNECTED]


@pytest.mark.parametrize(
    ("args", "kwargs", "says"),
    [
        ((1, 2, 3), {}, "3 arguments, but it takes 2 positional arguments"),
        ((1, 2), {"x": 3}, "two arguments for parameter 'x'"),
        ((1,), {"z": 3}, "no parameter is named 'z'; it has x, y"),
        ((), {"X": 3}, "no parameter is named 'X'"),
    ],
)
def test_a_wrong_argument_is_an_error_at_the_call_that_names_node_and_place_rule_18(
    args: tuple[int, ...], kwargs: dict[str, int], says: str
) -> None:
    with pytest.raises(TypeError, match=says) as caught:
        add(*args, **kwargs)
    assert str(caught.value).startswith(f"add at {__file__}:")


def test_a_template_is_not_made_into_one_again() -> None:
    with pytest.raises(TypeError, match=r"@node add at .*: it is a template already.*__wrapped__"):
        node(keep=True)(add)


@pytest.mark.parametrize("placement", ["inline", "thread"])
@pytest.mark.parametrize("limit", [{"timeout_s": 1.0}, {"memory_hard_bytes": 1 << 30}])
def test_the_limits_of_a_worker_are_refused_where_there_is_none(placement: Any, limit: Any) -> None:
    with pytest.raises(
        ValueError, match=f"limits of a worker process; placement='{placement}' has none"
    ):
        node(placement=placement, **limit)(add.__wrapped__)


def test_a_misspelt_keyword_gets_a_suggestion() -> None:
    @node
    def body(window_size: int = 1) -> None: ...

    with pytest.raises(TypeError, match="did you mean 'window_size'"):
        body(windw_size=3)  # type: ignore[call-arg]


def test_the_place_of_a_node_is_where_its_template_was_called() -> None:
    made = record_of(add(1))
    line = inspect.currentframe().f_lineno - 1  # type: ignore[union-attr]
    assert made.place == f"{__file__}:{line}"


def test_an_output_is_an_index() -> None:
    with pytest.raises(TypeError, match="not -1"):
        add(1).output(-1)
    with pytest.raises(TypeError, match="not 'x'"):
        add(1).output("x")


# -- map ----------------------------------------------------------------------------------------------


@node
def numbers() -> Iterator[int]:
    yield 1


@node
def read(chunks: Stream[int]) -> None: ...


@node
def nothing() -> None: ...


@pytest.mark.parametrize(
    ("template", "says"),
    [
        (Total, "keeps state"),
        (numbers, "is a generator"),
        (read, "'chunks' is a stream"),
        (nothing, "no parameter"),
    ],
)
def test_only_a_stateless_function_of_single_elements_can_be_mapped_A8(template: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says) as caught:
        template.map(numbers())
    assert f".map at {__file__}:" in str(caught.value)


@pytest.mark.parametrize(("ahead", "error"), [(0, ValueError), (1.5, TypeError), (True, TypeError)])
def test_ahead_is_a_positive_number_of_elements_A8(ahead: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="ahead must be"):
        add.map(numbers(), ahead=ahead)


def test_map_binds_the_further_parameters_in_order_A8() -> None:
    source = numbers()
    made = add.map(source, 5, ahead=3)
    assert inputs_of(made) == [source, 5]
    assert (record_of(made).is_map, record_of(made).ahead) == (True, 3)
    with pytest.raises(TypeError, match="3 arguments"):
        add.map(source, 5, 6)


def test_a_decorated_name_keeps_its_signature_for_type_checkers() -> None:
    add(1, 2)
    add(1, y=2)
    with pytest.raises(TypeError):
        add(1, z=2)  # type: ignore[call-arg]
