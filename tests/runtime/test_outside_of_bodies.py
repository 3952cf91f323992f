"""Errors that come about beside a body's own code (SEMANTICS 68): each ends the run, and says where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from executor.pool import Pool
from executor.surroundings import current_context
from orchestrator.graph.flow import Flow
from orchestrator.graph.node import node


class Unopenable:
    """A value that pickles, and does not unpickle."""

    def __reduce__(self) -> Any:
        return _refuse, ()


def _refuse() -> None:
    raise ZeroDivisionError("when it was opened")


def adds_badly(total: int, chunk: int) -> int:
    raise ZeroDivisionError("in accumulate=")


def accumulating(placement: Any) -> Any:
    @node(placement=placement, accumulate=adds_badly)
    def guilty() -> Any:
        yield 1
        yield 2

    return guilty()


def shaping(placement: Any) -> Any:
    @node(placement=placement, multiple_outputs=True)
    def guilty() -> Any:
        return 5

    return guilty()


def constructing(placement: Any) -> Any:
    @node(placement=placement)
    class guilty:
        def __init__(self) -> None:
            raise ZeroDivisionError("in __init__")

        def call(self) -> int:
            return 1

    return guilty()


def gathering(placement: Any) -> Any:
    @node(placement=placement)
    def guilty(value: Any) -> Any:
        return value

    return guilty(Unopenable())


def encoding(placement: Any) -> Any:
    @node(placement=placement)
    def guilty() -> Any:
        return (number for number in range(3))  # no generator pickles

    return guilty()


CASES = [
    *((make, place) for make in (accumulating, shaping, constructing) for place in ("inline", "thread")),
    *((make, "process") for make in (accumulating, shaping, constructing, gathering, encoding)),
]


@pytest.mark.parametrize(("make", "place"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_rule_68_an_error_beside_the_body_ends_the_run_and_names_the_node(
    make: Callable[[Any], Any], place: str, pool: Pool
) -> None:
    @node(placement="inline")
    def waits_for(value: Any) -> Any:
        raise AssertionError("what it reads does not exist")

    with Flow() as f:
        f.guilty = make(place)
        f.after = waits_for(f.guilty)
    with pytest.raises(Exception) as caught:
        f.run(pool=pool, timeout_s=20)
    said = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())])
    assert "guilty" in said
    assert not isinstance(caught.value, AssertionError | TimeoutError), said
    assert f.after.get_data() is None


@pytest.mark.parametrize("place", ["inline", "thread", "process"])
def test_rule_68_what_a_context_factory_raises_ends_the_run(place: Any, pool: Pool) -> None:
    @node(placement=place)
    def asks() -> Any:
        return current_context()

    def factory(_: Any) -> Any:
        raise ZeroDivisionError("in the factory")

    with Flow() as f:
        f.asks = asks()
    with pytest.raises(ZeroDivisionError, match="in the factory"):
        f.run(pool=pool, timeout_s=20, context_factory=factory)
