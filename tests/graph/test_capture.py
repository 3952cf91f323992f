"""What bodies for workers must not share (SEMANTICS 16.2, 16.9): warned of, or refused by name."""

from __future__ import annotations

import asyncio
import inspect
import multiprocessing
import os
import queue
import sys
import threading
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from executor.code import encode_code
from orchestrator import (
    Flow,
    InvalidFlowError,
    NodeSharingWarning,
    SharedPrimitiveError,
    TerminalInputError,
    node,
    parameter,
)
from orchestrator.event_loop import AsyncQueue, Barrier, CountdownLatch, Event, Lock
from orchestrator.graph.compile import compile_flow
from protocol.serialization import dumps

TABLE = {"a": 1}
WORDS: list[str] = []
SETTINGS = SimpleNamespace(debug=False)
total = 0
lock_of_module = threading.Lock()


@pytest.fixture
def warned() -> Iterator[list[warnings.WarningMessage]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught


def compiled(flow: Flow, workers: int = 2) -> None:
    compile_flow(flow, workers=workers, encode_code=encode_code, encode_value=dumps)


# -- changes of captured variables: a warning at the definition ----------------------------------------


def assigns_a_global(x: int) -> None:
    global total
    total += x


def appends_to_a_global(x: str) -> None:
    if x:
        WORDS.append(x)


def sets_an_item_of_a_global(x: str) -> None:
    TABLE[x.upper() + x] = len(x)


def counts_in_a_global(x: str) -> None:
    TABLE[x] += 1


def deletes_from_a_global(x: str) -> None:
    del TABLE[x]


def replaces_a_slice_of_a_global(x: str) -> None:
    WORDS[1 : len(x)] = [x]


def sets_an_attribute_of_a_global(x: bool) -> None:
    SETTINGS.debug = x


def adds_to_an_attribute_of_a_global(x: int) -> None:
    SETTINGS.debug += x


def deletes_a_global(x: int) -> None:
    global total
    del total


def changes_within(x: list[str]) -> Any:
    return [WORDS.pop() for word in x]


async def changes_in_a_generator(x: str) -> Any:
    yield x
    WORDS.extend([x])


@pytest.mark.parametrize(
    ("body", "says", "line"),
    [
        (assigns_a_global, "assigns to 'total'", 2),
        (deletes_a_global, "assigns to 'total'", 2),
        (appends_to_a_global, r"calls .append\(\) of 'WORDS'", 2),
        (sets_an_item_of_a_global, "sets an item of 'TABLE'", 1),
        (counts_in_a_global, "sets an item of 'TABLE'", 1),
        (deletes_from_a_global, "sets an item of 'TABLE'", 1),
        (replaces_a_slice_of_a_global, "sets an item of 'WORDS'", 1),
        (sets_an_attribute_of_a_global, "sets an attribute of 'SETTINGS'", 1),
        (adds_to_an_attribute_of_a_global, "sets an attribute of 'SETTINGS'", 1),
        (changes_within, r"calls .pop\(\) of 'WORDS'", 1),
        (changes_in_a_generator, r"calls .extend\(\) of 'WORDS'", 2),
    ],
)
def test_a_change_of_a_global_variable_is_warned_of_at_the_definition_rule_16_2(
    body: Callable[..., object], says: str, line: int
) -> None:
    first = inspect.getsourcelines(body)[1]
    with pytest.warns(NodeSharingWarning, match=says) as caught:
        node(body)
    [warning] = caught
    assert (warning.filename, warning.lineno) == (__file__, first + line)
    message = str(warning.message)
    assert message.startswith(f"node {body.__name__} ({__file__}:{first}) ")
    for cure in ("Make it an input and return it", "a node that is a class", 'placement="inline"'):
        assert cure in message


def test_a_change_of_a_captured_variable_is_warned_of_rule_16_2() -> None:
    count, seen, tally = 0, deque[int](), Counter[int]()
    with pytest.warns(NodeSharingWarning) as caught:

        @node
        def body(x: int) -> None:
            nonlocal count
            count += x
            count -= 1
            seen.append(x)

            def within() -> None:
                tally.subtract([x])

            within()

    told = [str(warning.message) for warning in caught]
    assert ["assigns to 'count'" in told[0], "'seen'" in told[1], "'tally'" in told[2]] == [True] * 3
    assert len(told) == 3


def test_methods_of_a_class_are_looked_at_too_rule_16_2() -> None:
    class Base:
        def note(self, x: str) -> None:
            WORDS.append(x)

    with pytest.warns(NodeSharingWarning, match=r"node Noting .*of 'WORDS'"):

        @node
        class Noting(Base):
            seen: list[str] = []  # noqa: RUF012 - the state of a node

            def call(self, x: str) -> None:
                self.seen.append(x)
                self.note(x)


def reads_only(x: str) -> Any:
    words = sorted(WORDS)
    words.append(x)
    table = {**TABLE, "x": 1}
    table[x] = TABLE["a"] + TABLE.get(x, 0)
    found = [len(word) for word in WORDS if word in TABLE]
    position = WORDS.index(x)
    local = SimpleNamespace()
    local.a = SETTINGS.debug
    words[position] = WORDS[0]

    def within() -> int:
        nonlocal position
        position += 1
        found.append(position)
        return position

    return within(), WORDS.copy(), TABLE.keys(), len(TABLE), os.environ.get("X")


def sets_up_its_process(x: int) -> None:
    sys.ps1 = "> "
    sys.setrecursionlimit(x)


def uses_what_comes_later(x: int) -> None:
    DEFINED_LATER[x] = 1  # type: ignore[name-defined]  # noqa: F821
    DEFINED_LATER.append(1)  # type: ignore[name-defined]  # noqa: F821


class Keeps:
    total = 0

    def call(self, x: int) -> int:
        self.total += x
        super().__init__()
        return self.total


@pytest.mark.parametrize("body", [reads_only, sets_up_its_process, uses_what_comes_later, Keeps])
def test_what_is_only_read_or_the_body_s_own_is_not_warned_of(
    body: Any, warned: list[warnings.WarningMessage]
) -> None:
    node(body)
    assert not warned


def test_inline_bodies_may_change_what_they_like_rule_16_2(
    warned: list[warnings.WarningMessage],
) -> None:
    node(placement="inline")(appends_to_a_global)
    assert not warned


def test_a_variable_without_a_value_yet_does_no_harm(warned: list[warnings.WarningMessage]) -> None:
    @node
    def body(x: int) -> None:
        later[x] = 1

    later: dict[int, int] = {}
    assert not warned


# -- locks and queues: refused by name -----------------------------------------------------------------


PRIMITIVES: list[tuple[Callable[[], object], str]] = [
    (lambda: AsyncQueue[int](), "orchestrator.event_loop.AsyncQueue"),
    (Event, "orchestrator.event_loop.Event"),
    (Lock, "orchestrator.event_loop.Lock"),
    (lambda: CountdownLatch(1), "orchestrator.event_loop.CountdownLatch"),
    (lambda: Barrier(2), "orchestrator.event_loop.Barrier"),
    (threading.Lock, "threading.Lock"),
    (threading.RLock, "threading.RLock"),
    (threading.Event, "threading.Event"),
    (threading.Condition, "threading.Condition"),
    (threading.Semaphore, "threading.Semaphore"),
    (queue.Queue, "queue.Queue"),
    (queue.PriorityQueue, "queue.Queue"),
    (queue.SimpleQueue, "queue.SimpleQueue"),
    (asyncio.Queue, "asyncio.Queue"),
    (asyncio.Lock, "asyncio.Lock"),
    (asyncio.Event, "asyncio.Event"),
    (multiprocessing.Lock, "multiprocessing.Lock"),
    (multiprocessing.Event, "multiprocessing.Event"),
    (multiprocessing.SimpleQueue, "multiprocessing.SimpleQueue"),
]


@pytest.mark.parametrize(("make", "kind"), PRIMITIVES, ids=[kind for _, kind in PRIMITIVES])
def test_a_lock_or_queue_of_a_body_for_workers_is_refused_by_name_rule_16_2(
    make: Callable[[], object], kind: str
) -> None:
    shared = make()

    @node
    def body(x: int) -> Any:
        return [shared for _ in range(x)]

    with Flow() as f:
        f.a = body(1)
    with pytest.raises(SharedPrimitiveError) as caught:
        compiled(f)
    compiled(f, workers=0)  # everything is inline then
    line = inspect.getsourcelines(body.__wrapped__)[1]
    assert str(caught.value).startswith(
        f"'shared', which node 'a' (body, {__file__}:{line + 5}) uses at {__file__}:{line + 2}, "
        f"is a {kind}. It cannot be shared by nodes in several processes"
    )
    assert isinstance(caught.value, InvalidFlowError)


def test_a_global_lock_is_refused_too_and_allowed_inline_rule_16_2() -> None:
    def body(x: int) -> int:
        with lock_of_module:
            return x

    with Flow() as f:
        f.a = node(body)(1)
    with pytest.raises(
        SharedPrimitiveError, match=r"'lock_of_module', which node 'a' .*threading\.Lock"
    ):
        compiled(f)
    with Flow() as f:
        f.a = node(placement="inline")(body)(1)
    compiled(f)


def test_a_lock_as_a_default_is_refused_too_rule_16_2() -> None:
    guard = Lock()

    @node
    def body(x: int, guard: Any = guard, *, gate: Any = None) -> None: ...

    @node
    def keyword_only(x: int, *, guard: Any = guard) -> None: ...

    for template in (body, keyword_only):
        with Flow() as f:
            f.a = template(1)
        with pytest.raises(SharedPrimitiveError, match="'guard', which node 'a'"):
            compiled(f)


def test_a_primitive_of_the_event_loop_as_a_value_is_refused_rule_16_2() -> None:
    @node
    def body(x: Any) -> None: ...

    with Flow() as f:
        f.a = body(AsyncQueue[int]())
    with pytest.raises(InvalidFlowError, match="constant for parameter 'x' of node 'a'"):
        compiled(f)
    with Flow() as f:
        f.a = body(parameter("p", Event()))
    with pytest.raises(InvalidFlowError, match="default of parameter 'p'"):
        compiled(f)


def test_a_primitive_given_for_a_parameter_is_refused_rule_16_2() -> None:
    @node
    def body(x: Any) -> None: ...

    with Flow() as f:
        f.a = body(parameter("p"))
    with pytest.raises(SharedPrimitiveError, match=r"the value given for parameter 'p' is a .*\.Event"):
        f.run(workers=1, parameters={"p": Event()})


def test_a_lock_of_a_class_is_refused_rule_16_2() -> None:
    class Guarded:
        lock = threading.Lock()

        def call(self, x: int) -> int:
            return x

    guarded: Any = node(Guarded)
    with Flow() as f:
        f.a = guarded(1)
    with pytest.raises(
        SharedPrimitiveError, match=r"'Guarded\.lock', which node 'a' .* threading\.Lock"
    ):
        compiled(f)


# -- the terminal --------------------------------------------------------------------------------------


def asks(x: str) -> str:
    return input(x)


def reads_a_line(x: str) -> str:
    return sys.stdin.readline()


def reads_all(x: str) -> list[str]:
    return [line.strip() for line in sys.stdin]


def only_asks_whether_there_is_one(x: str) -> bool:
    return sys.stdin.isatty() and bool(sys.stdout)


@pytest.mark.parametrize(
    ("body", "reads"), [(asks, "input()"), (reads_a_line, "sys.stdin"), (reads_all, "sys.stdin")]
)
def test_reading_from_the_terminal_outside_of_inline_is_refused_rule_16_9(
    body: Callable[..., object], reads: str
) -> None:
    with Flow() as f:
        f.a = node(body)("?")
    with pytest.raises(TerminalInputError) as caught:
        f.run(workers=1)
    line = inspect.getsourcelines(body)[1]
    assert f"node 'a' ({body.__name__}, {__file__}:" in str(caught.value)
    assert f"reads {reads} at {__file__}:{line + 1}, " in str(caught.value)
    assert 'placement="inline"' in str(caught.value)
    compiled(f, workers=0)
    with Flow() as f:
        f.a = node(placement="inline")(body)("?")
    compiled(f)


def test_asking_whether_there_is_a_terminal_is_allowed_rule_16_9() -> None:
    with Flow() as f:
        f.a = node(only_asks_whether_there_is_one)("?")
    compiled(f)


def test_a_function_of_ours_called_input_is_allowed_rule_16_9() -> None:
    def input(x: str) -> str:  # noqa: A001
        return x

    @node
    def body(x: str) -> str:
        return input(x)

    with Flow() as f:
        f.a = body("?")
    compiled(f)


def test_without_a_terminal_a_variable_that_is_none_is_no_terminal_rule_16_9(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", None)  # as in a program without a console
    nothing = None

    @node
    def body(x: int) -> Any:
        return nothing, x

    with Flow() as f:
        f.a = body(1)
    compiled(f)


class Proxy:
    """Stands for an object that is not there yet."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        raise RuntimeError("outside of a request")


def test_objects_are_not_asked_what_they_are(warned: list[warnings.WarningMessage]) -> None:
    proxy: Any = Proxy()

    @node
    def body(x: int) -> None:
        proxy.append(x)

    assert not warned
