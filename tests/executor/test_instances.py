"""Instances of classes: what is the node's own, what is committed, what is dropped (rule 37, 16.1)."""

from __future__ import annotations

import abc
import functools
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import pytest

from executor.host import Code, Invocation, Start
from executor.instances import Instances, data_attributes, new_instance
from executor.states import StateError, read_attributes, save, snapshot
from protocol.messages import AttemptKey, Digest, NodeId, RunId
from protocol.serialization import dumps, loads, renew
from protocol.values import Local, Value

T = TypeVar("T")


class Base:
    inherited: list[int] = []  # noqa: RUF012 - each node gets a copy
    replaced = 1


class Counter(Base):
    total = 0
    log: list[int] = []  # noqa: RUF012 - each node gets a copy
    __private = 3
    helper = functools.partial(print)
    replaced = property(lambda self: self.total)

    def __init__(self) -> None:
        self.log.append(0)

    def call(self) -> int:
        return self.total


def invocation(node: int = 1, *, checkpoint: bool = True, run: int = 1, **options: Any) -> Invocation:
    key = AttemptKey(RunId(run), NodeId(node), 0)
    return Invocation(key, Code(Digest(b"c"), b""), [], pinned=True, checkpoint=checkpoint, **options)


def pickled() -> Instances:
    return Instances(loads, save)


def by_reference() -> Instances:
    return Instances(lambda value: value.object if isinstance(value, Local) else loads(value), snapshot)


BOTH = pytest.mark.parametrize("make", [pickled, by_reference])


def read(state: Value | None) -> Any:
    assert state is not None
    return read_attributes(Counter, state)


def test_rule_37_data_attributes_of_the_class_and_its_bases_are_the_nodes_own_copies() -> None:
    one, other = new_instance(Counter), new_instance(Counter)
    assert vars(one) == {"inherited": [], "total": 0, "log": [0], "_Counter__private": 3}
    one.log.append(1)
    one.inherited.append(1)
    assert (other.log, other.inherited, Counter.log, Base.inherited) == ([0], [], [], [])


def test_rule_37_what_is_callable_or_a_descriptor_stays_the_classs() -> None:
    assert set(data_attributes(Counter)) == {"inherited", "total", "log", "_Counter__private"}


def test_what_modules_and_abstract_classes_need_is_no_state() -> None:
    class Abstract(abc.ABC, Generic[T]):
        tools = functools

        def call(self) -> None: ...

    class Concrete(Abstract[int]):
        total = 0

    assert vars(new_instance(Concrete)) == {"total": 0}


def test_a_class_attribute_that_cannot_be_copied_is_named_with_what_to_do() -> None:
    class Locked:
        lock = threading.Lock()

    with pytest.raises(StateError, match=r"Locked\.lock cannot be copied .* make it in __init__\(\)"):
        new_instance(Locked)


@BOTH
def test_a_node_has_one_instance_until_its_run_is_released(make: Callable[[], Instances]) -> None:
    instances = make()
    first = instances.take(invocation(), Counter)
    assert instances.take(invocation(), Counter) is first
    assert instances.take(invocation(2), Counter) is not first
    other_run = instances.take(invocation(run=2), Counter)
    instances.release(RunId(1))
    assert instances.take(invocation(), Counter) is not first
    assert instances.take(invocation(run=2), Counter) is other_run


@BOTH
def test_16_1_an_instance_is_made_from_a_committed_state_and_what_was_set_since(
    make: Callable[[], Instances],
) -> None:
    here, there = make(), make()
    instance = here.take(invocation(), Counter)
    instance.total = 7
    state = here.checkpoint(invocation())
    start = Start(state, Local({"extra": 1}) if make is by_reference else dumps({"extra": 1}))
    again = there.take(invocation(start=start), Counter)
    assert (again.total, again.log, again.extra) == (7, [0], 1)  # __init__ was not called again


@BOTH
def test_16_1_a_run_that_goes_on_uses_the_held_instance_and_any_other_the_committed_state(
    make: Callable[[], Instances],
) -> None:
    instances = make()
    instance = instances.take(invocation(), Counter)
    start = Start(instances.checkpoint(invocation()))
    instance.total = 9
    assert instances.take(invocation(start=start, resumes=True), Counter) is instance
    assert instances.take(invocation(start=start), Counter).total == 0


@BOTH
def test_what_is_committed_does_not_change_with_the_instance(make: Callable[[], Instances]) -> None:
    instances = make()
    instance = instances.take(invocation(), Counter)
    state = instances.checkpoint(invocation())
    instance.log.append(1)
    instance.total = 1
    assert read(state)["log"] == [0]
    assert read(state)["total"] == 0


class Part:
    def __init__(self, whole: Any) -> None:
        self.whole = whole


class Whole:
    def __init__(self) -> None:
        self.total = 0
        self.part = Part(self)
        self.add: Callable[[], int] = self.add_one

    def add_one(self) -> int:
        self.total += 1
        total: int = self.part.whole.total
        return total

    def call(self) -> int:
        return self.add()


@BOTH
@pytest.mark.parametrize("lock", [None, threading.Lock()], ids=["pickles", "does not"])
def test_what_holds_the_instance_holds_the_new_one_after_it(
    make: Callable[[], Instances], lock: object
) -> None:
    if make is pickled and lock is not None:
        return  # refused: see below
    renew()  # as the first time, when its classes are pickled whole
    instances = make()
    instance = instances.take(invocation(), Whole)
    instance.lock = lock
    assert instance.call() == 1
    start = Start(instances.checkpoint(invocation()))
    instance.total = 50
    again = make().take(invocation(start=start), Whole)
    assert again.part.whole is again
    assert (again.call(), again.call()) == (2, 3)
    assert start.state is not None
    read = read_attributes(Whole, start.state)
    assert read["total"] == 1
    assert read["part"].whole.total == (1 if lock is None else 3)  # a copy, or the instance itself


def test_inline_a_state_that_does_not_pickle_is_kept_by_reference_and_its_attributes_are_copied() -> (
    None
):
    instances = by_reference()
    instance = instances.take(invocation(), Counter)
    instance.lock = threading.Lock()
    state = instances.checkpoint(invocation())
    instance.total = 1
    again = by_reference().take(invocation(start=Start(state)), Counter)
    assert (again.total, again.lock) == (0, instance.lock)


@BOTH
def test_a_run_that_does_not_end_well_leaves_no_instance_unless_it_is_resident(
    make: Callable[[], Instances],
) -> None:
    instances = make()
    for checkpoint in (True, False):
        given = invocation(checkpoint=checkpoint)
        instance = instances.take(given, Counter)
        instances.abandon(given)
        assert (instances.take(given, Counter) is instance) is not checkpoint


def test_resident_state_is_not_saved() -> None:
    instances = pickled()
    given = invocation(checkpoint=False)
    instances.take(given, Counter).lock = threading.Lock()
    assert instances.checkpoint(given) is None


def test_resident_state_that_another_host_held_is_lost() -> None:
    for resumes in (False, True):
        pickled().take(invocation(resumes=resumes), Counter)
    with pytest.raises(StateError, match="the worker that held it has ended"):
        pickled().take(invocation(checkpoint=False, resumes=True), Counter)


def test_a_state_that_does_not_pickle_is_an_error_that_names_the_attribute_and_the_cures() -> None:
    instances = pickled()
    instances.take(invocation(), Counter).tools = {"value": [threading.Lock()]}
    with pytest.raises(StateError) as caught:
        instances.checkpoint(invocation())
    assert str(caught.value) == (
        "self.tools['value'][0] cannot be pickled: TypeError: cannot pickle '_thread.lock' object; "
        'keep the state in its worker by @node(state="resident"), or leave this out in __getstate__()'
    )


def test_a_class_may_leave_things_out_of_its_state_as_pickle_lets_it() -> None:
    class Cached:
        def __init__(self) -> None:
            self.lock = threading.Lock()
            self.total = 5

        def __getstate__(self) -> dict[str, Any]:
            return {"total": self.total}

        def __setstate__(self, state: dict[str, Any]) -> None:
            self.lock = threading.Lock()
            self.total = state["total"]

        def call(self) -> None: ...

    instances = pickled()
    instances.take(invocation(), Cached)
    state = instances.checkpoint(invocation())
    assert read(state) == {"total": 5}
    assert pickled().take(invocation(start=Start(state)), Cached).total == 5


def test_a_class_with_slots_keeps_them() -> None:
    class Slotted:
        __slots__ = ("count",)

        def __init__(self) -> None:
            self.count = 0

        def call(self) -> None: ...

    instances = pickled()
    instances.take(invocation(), Slotted).count = 4
    state = instances.checkpoint(invocation())
    assert pickled().take(invocation(start=Start(state)), Slotted).count == 4


@pytest.mark.parametrize(
    ("start", "says"),
    [
        (Start(b"no pickle"), "cannot be unpickled"),
        (Start(changes=b"no pickle"), "cannot be unpickled"),
        (Start(dumps([1, 2])), r"no __setstate__\(\)"),
        (Start(changes=dumps({"replaced": 1})), "attribute 'replaced' cannot be set"),
    ],
)
def test_what_no_instance_can_be_made_of_is_a_state_error(start: Start, says: str) -> None:
    with pytest.raises(StateError, match=says):
        pickled().take(invocation(start=start), Counter)
