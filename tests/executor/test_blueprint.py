"""What can be known of a body before it runs (rules 35-37, A1, A2)."""

from __future__ import annotations

from typing import Any, Optional

import pytest

import executor.body
from executor.blueprint import BodyKind, blueprint
from executor.body import Stream


def plain(a: int, b: str = "x") -> int:
    return a


def generator(blocks: Stream[bytes]) -> Any:
    yield from blocks


async def awaits(a: int) -> int:
    return a


async def async_generator(a: Stream[int]) -> Any:
    async for chunk in a:
        yield chunk


@pytest.mark.parametrize(
    ("body", "kind", "is_async"),
    [
        (plain, BodyKind.FUNCTION, False),
        (generator, BodyKind.GENERATOR, False),
        (awaits, BodyKind.FUNCTION, True),
        (async_generator, BodyKind.GENERATOR, True),
        (lambda x: x, BodyKind.FUNCTION, False),
    ],
)
def test_a1_all_four_kinds_of_function_are_told_apart(body: Any, kind: BodyKind, is_async: bool) -> None:
    shape = blueprint(body)
    assert (shape.kind, shape.is_async, shape.is_class) == (kind, is_async, False)


def test_a2_a_stream_annotation_or_stream_in_makes_a_port_of_run_level_1() -> None:
    assert [port.run_level for port in blueprint(generator).ports] == [1]
    assert [port.run_level for port in blueprint(plain, stream_in=["b"]).ports] == [0, 1]


def test_a2_a_stream_annotation_is_seen_where_annotations_are_strings_and_names_are_local() -> None:
    class Local:
        pass

    def body(a: Stream[Local], b: Local) -> None: ...

    assert [port.run_level for port in blueprint(body).ports] == [1, 0]


def test_rule_37_the_ports_of_a_class_are_those_of_its_call_without_self() -> None:
    class Counter:
        def call(self, step: int = 1) -> int:
            return step

    shape = blueprint(Counter)
    assert shape.is_class
    assert [(port.name, port.default) for port in shape.ports] == [("step", 1)]


def test_defaults_and_keyword_only_parameters_are_known() -> None:
    def body(a: int, *, b: int = 2) -> None: ...

    first, second = blueprint(body).ports
    assert (first.has_default, first.keyword_only) == (False, False)
    assert (second.default, second.keyword_only) == (2, True)


def test_rule_16_variadic_bodies_take_any_number_of_inputs() -> None:
    def body(first: int, *rest: int) -> None: ...

    shape = blueprint(body)
    assert [shape.port(index).name for index in range(3)] == ["first", "rest", "rest"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (type("Idle", (), {}), r"class Idle is not a node: give it a method 'def call"),
        (type("Odd", (), {"call": lambda: None}), r"must take 'self' first"),
        (42, r"42 is not a node"),
        (lambda **kwargs: kwargs, r"'\*\*kwargs' has no ports"),
    ],
)
def test_rule_18_what_cannot_be_a_body_is_refused(body: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        blueprint(body)


def test_rule_18_an_unknown_stream_in_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(TypeError, match=r"'c', which is not a parameter.*parameters: a, b"):
        blueprint(plain, stream_in=["c"])


def test_a2_a_parameter_that_may_be_a_stream_is_one() -> None:
    def body(
        a: Stream[int] | None = None,
        b: Optional[Stream] = None,  # type: ignore[type-arg]  # noqa: UP045
        c: str | executor.body.Stream[int] = "",
        d: list[Stream[int]] | None = None,
        e: int | None = None,
    ) -> None: ...

    assert [port.run_level for port in blueprint(body).ports] == [1, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("annotation", "run_level"),
    [
        ("Unknown | Stream[Unknown]", 1),
        ("o.Stream[Unknown] | None", 1),
        ("Optional[Stream[Unknown]]", 1),
        ("typing.Union[Unknown, 'Stream[int]']", 1),
        ("Unknown[Stream[int]]", 0),
        ("Unknown", 0),
        ("Streams[Unknown]", 0),
        ("no annotation", 0),
        ("3 + Unknown", 0),
    ],
)
def test_a2_an_annotation_that_cannot_be_evaluated_is_judged_by_its_names(
    annotation: str, run_level: int
) -> None:
    def body(a: Any) -> None: ...

    body.__annotations__["a"] = annotation
    assert blueprint(body).ports[0].run_level == run_level
