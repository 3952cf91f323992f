"""``flow.node.attr`` before and between runs (rule 37, SEMANTICS 16.1)."""

from __future__ import annotations

import copy
import threading
from typing import Any

import pytest

from executor.states import Kept
from orchestrator.errors import StateNotAvailable
from orchestrator.graph.draft import record_of
from orchestrator.graph.flow import Flow
from orchestrator.graph.node import node
from protocol.serialization import dumps
from protocol.values import Local


class Counter:
    total: int = 0
    log: list[int] = []  # noqa: RUF012 - each node gets a copy
    lock = threading.Lock()

    @property
    def mean(self) -> float:
        return self.total / len(self.log)

    def call(self, x: int = 0) -> int:
        return x


class Constructed(Counter):
    def __init__(self) -> None:
        self.made = 1

    def call(self, x: int = 0) -> int:
        return x


counter: Any = node(Counter)
constructed: Any = node(Constructed)
resident: Any = node(state="resident")(Counter)


@node
def double(x: int = 0) -> int:
    return 2 * x


def committed(made: Any, state: Any) -> Any:
    made.total = 0  # makes the node's state
    kept = record_of(made).state
    assert kept is not None
    kept.commit(state)
    return made


def test_rule_37_before_any_run_the_classs_own_attributes_are_read_each_time_copied() -> None:
    made = counter()
    assert made.total == 0
    made.log.append(1)
    assert (made.log, Counter.log) == ([], [])


def test_what_was_set_is_read_before_it_takes_effect() -> None:
    made = counter()
    made.total += 5
    assert (made.total, counter().total) == (5, 0)


def test_16_1_what_the_last_run_has_left_is_read_copied() -> None:
    made = committed(counter(), dumps({"total": 3, "log": [1]}))
    made.log.append(2)
    assert (made.total, made.log) == (3, [1])


def test_a_state_that_stayed_in_this_process_is_read_as_it_is() -> None:
    lock = threading.Lock()
    assert committed(counter(), Local(Kept(Counter(), {"lock": lock}))).lock is lock


@pytest.mark.parametrize("state", [None, dumps({"total": 3, "log": []})])
def test_an_unknown_attribute_is_refused_with_the_nearest_one(state: Any) -> None:
    made = committed(counter(), state)
    with pytest.raises(AttributeError, match=r"no attribute 'totl'; did you mean 'total'\?"):
        _ = made.totl
    with pytest.raises(AttributeError, match=r"no attribute 'zzz'; its state has: .*log, total"):
        _ = made.zzz
    for name in ("mean", "call"):
        with pytest.raises(AttributeError, match=r"is a method or property of the class"):
            getattr(made, name)


def test_what_only_the_constructor_sets_is_not_available_before_the_first_run() -> None:
    with pytest.raises(StateNotAvailable, match=r"'made' of node .* when the node's first run starts"):
        _ = constructed().made
    assert not hasattr(constructed(), "made")


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (b"no pickle", "cannot be unpickled"),
        (dumps([1, 2]), r"the __getstate__\(\) of its class gives list"),
    ],
)
def test_a_state_that_cannot_be_looked_into_is_not_available(state: bytes, says: str) -> None:
    with pytest.raises(StateNotAvailable, match=says):
        _ = committed(counter(), state).log


def test_a_class_attribute_that_cannot_be_copied_is_not_available() -> None:
    with pytest.raises(StateNotAvailable, match=r"Counter\.lock cannot be copied"):
        _ = counter().lock


def test_resident_state_is_not_available_but_can_be_set_before_a_run() -> None:
    made = resident()
    with pytest.raises(StateNotAvailable, match='use state="checkpoint"'):
        _ = made.total
    made.total = 3
    assert made.total == 3


def test_the_state_is_the_nodes_however_it_is_reached() -> None:
    with Flow() as f:
        f.a = counter()
        held = f.a
    held.total = 4
    assert f.a.total == 4


def test_a_function_keeps_no_state() -> None:
    made: Any = double()
    with pytest.raises(AttributeError, match=r"'x': it is a function"):
        _ = made.x
    with pytest.raises(AttributeError, match=r"'x': it is a function"):
        made.x = 1


@pytest.mark.parametrize("name", ["get_data", "output", "__class__", "__anything"])
def test_names_that_every_node_has_cannot_be_set(name: str) -> None:
    with pytest.raises(AttributeError, match="give the attribute of the class another name"):
        setattr(counter(), name, 1)


def test_nothing_is_set_while_the_flow_runs() -> None:
    made = counter()
    made.total = 1
    kept = record_of(made).state
    assert kept is not None
    kept.enter(dumps)
    with pytest.raises(RuntimeError, match=r"'total' of node .* cannot be set while the flow runs"):
        made.total = 2
    kept.leave()
    made.total = 2


def test_what_looks_for_protocols_finds_none() -> None:
    made = counter()
    assert not hasattr(made, "__array__")
    with pytest.raises(TypeError, match="is part of a value"):
        copy.copy(made)
    with pytest.raises(AttributeError):
        _ = object.__new__(type(made))._record


def test_options_of_state_are_checked() -> None:
    options: Any = {"state": "disk"}
    with pytest.raises(ValueError, match="state must be 'checkpoint' or 'resident', not 'disk'"):
        node(**options)(Counter)
    with pytest.raises(TypeError, match="state='resident' is for classes"):
        node(state="resident")(lambda: 1)


def test_two_ways_to_accumulate_are_one_too_many() -> None:
    class Both:
        def call(self) -> Any:
            yield 1

        def accumulate_streamed_data(self, total: int, chunk: int) -> int:
            return total + chunk

    with pytest.raises(TypeError, match=r"accumulate= and the method accumulate_streamed_data\(\)"):
        node(accumulate=list)(Both)


def test_a_class_whose_base_holds_more_than_attributes_is_refused() -> None:
    class Memo(dict[str, int]):
        def call(self) -> None: ...

    with pytest.raises(TypeError, match="its base class dict keeps state that is in no attribute"):
        node(Memo)


def test_rule_37_self_must_be_first() -> None:
    class Odd:
        def call(this) -> None: ...

    with pytest.raises(TypeError, match=r"Odd\.call\(\) must take 'self' first"):
        node(Odd)
