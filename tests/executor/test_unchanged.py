"""When a function that travels by value may go as it was pickled before."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import FunctionType
from typing import Any

import pytest

from executor.callables import BY_VALUE_LIMIT, BY_VALUE_LIMIT_BYTES, Callables
from executor.unchanged import Ingredients


def made(source: str, **namespace: Any) -> tuple[Any, dict[str, Any]]:
    """The function f of a module that workers cannot import, and the module's globals."""
    namespace["__name__"] = "no_such_module"
    exec(source, namespace)
    return namespace["f"], namespace


FIXED = {
    "nothing": "def f(): return 1",
    "numbers, text and tuples of them": "a, b = 1, ('x', (2.5, None))\ndef f(): return a, b",
    "modules": "import math\ndef f(x): return math.sqrt(x)",
    "importable functions and classes": (
        "from math import sqrt\nfrom fractions import Fraction\ndef f(x): return sqrt(Fraction(x))"
    ),
    "other functions of that kind": "a = 1\ndef g(): return a\ndef f(): return g()",
    "itself": "def f(n): return n and f(n - 1)",
    "names that are bound later, or never": "def f(): return later",
    "a default": "def f(x=3): return x",
}
CHANGING = {
    "a list": "a = []\ndef f(): return a",
    "a list in a tuple": "a = ([],)\ndef f(): return a",
    "a class of its own": "class A: pass\ndef f(): return A()",
    "a function that reads a dict": "a = {}\ndef g(): return a\ndef f(): return g()",
    "a default that is a list": "def f(x=[]): return x",
    "attributes": "def f(): pass\nf.x = 1",
    "a nested function's list": "a = []\ndef f():\n    def g(): return a\n    return g()",
}


@pytest.mark.parametrize("source", FIXED.values(), ids=FIXED)
def test_what_is_made_of_these_stays_as_it_is(source: str) -> None:
    function, _ = made(source)
    ingredients = Ingredients(function)
    assert ingredients.are_fixed
    assert ingredients.are_unchanged()


@pytest.mark.parametrize("source", CHANGING.values(), ids=CHANGING)
def test_what_is_made_of_these_may_change_unseen(source: str) -> None:
    function, _ = made(source)
    assert not Ingredients(function).are_fixed


def rebind(namespace: dict[str, Any]) -> None:
    namespace["a"] = 2


def define(namespace: dict[str, Any]) -> None:
    namespace["later"] = 2


def recode(namespace: dict[str, Any]) -> None:
    namespace["f"].__code__ = (lambda: 5).__code__


def change_default(namespace: dict[str, Any]) -> None:
    namespace["f"].__defaults__ = (4,)


@pytest.mark.parametrize(
    ("source", "change"),
    [
        (FIXED["numbers, text and tuples of them"], rebind),
        (FIXED["other functions of that kind"], rebind),
        (FIXED["names that are bound later, or never"], define),
        (FIXED["nothing"], recode),
        (FIXED["a default"], change_default),
    ],
)
def test_a_name_that_is_bound_anew_is_noticed(
    source: str, change: Callable[[dict[str, Any]], None]
) -> None:
    function, namespace = made(source)
    ingredients = Ingredients(function)
    change(namespace)
    assert not ingredients.are_unchanged()


def test_a_variable_of_a_closure_that_changes_is_noticed() -> None:
    count = 1

    def function() -> int:
        return count

    assert isinstance(function, FunctionType)
    ingredients = Ingredients(function)
    assert ingredients.are_fixed
    count = 2
    assert not ingredients.are_unchanged()


def test_an_importable_function_is_encoded_once() -> None:
    callables = Callables(None)
    assert callables.encode(math.sqrt) is callables.encode(math.sqrt)
    assert callables.encode(math.sqrt, each=True).code != callables.encode(math.sqrt).code


def test_a_function_by_value_is_encoded_again_when_it_has_changed() -> None:
    function, namespace = made("a = 1\ndef f(): return a")
    callables = Callables(None)
    first = callables.encode(function)
    assert callables.encode(function) is first
    namespace["a"] = 2
    assert callables.encode(function).code != first.code


def test_the_same_bytes_are_the_same_code_though_they_are_made_anew() -> None:
    function, namespace = made("a = []\ndef f(): return a")
    callables = Callables(None)
    assert callables.encode(function).code == callables.encode(function).code
    namespace["a"].append(1)
    assert len(callables._by_value) == 1
    callables.encode(function)
    assert len(callables._by_value) == 2


def test_after_many_functions_by_value_further_ones_ride_with_their_tasks() -> None:
    callables = Callables(None)
    functions = [made(f"def f(): return {number}")[0] for number in range(BY_VALUE_LIMIT + 2)]
    encoded = [callables.encode(function) for function in functions]
    assert not any(each.rider for each in encoded[:BY_VALUE_LIMIT])
    last, last_but_one = encoded[-1], encoded[-2]
    assert last.rider != last_but_one.rider
    assert last.code == last_but_one.code


def test_what_takes_much_rides_too() -> None:
    large = b"x" * (BY_VALUE_LIMIT_BYTES // 2 + 1)
    callables = Callables(None)
    [first, second] = [callables.encode(lambda: (large, 1)), callables.encode(lambda: (large, 2))]
    assert not first.rider
    assert second.rider
