"""The life of a body by its verbs alone (A1, rules 43, 58, 63)."""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from greenlet import getcurrent, greenlet

from executor import life_cycle
from executor.blueprint import blueprint
from executor.body import NOT_READY, Interrupted, Stream, StreamCancelled, StreamPort
from executor.life_cycle import (
    NATURAL_END,
    Awaiting,
    Blocked,
    Body,
    Raised,
    Returned,
    Step,
    Yielded,
)

END = object()


class Port(StreamPort):
    def __init__(self) -> None:
        self.chunks: deque[Any] = deque()
        self.dead = False

    def take(self) -> object:
        if self.dead:
            raise RuntimeError("dead")
        if not self.chunks:
            return NOT_READY
        if self.chunks[0] is END:
            raise StopIteration
        return self.chunks.popleft()

    def cancel(self) -> None: ...

    def park(self, wake: Callable[[], object]) -> None: ...

    def unpark(self, wake: Callable[[], object]) -> None: ...


def open_body(function: Callable[..., Any], *args: object, **kwargs: object) -> Body:
    shape = blueprint(function)
    reads = any(isinstance(arg, Stream) for arg in args)
    return Body.open(function, args, kwargs, shape.kind, is_async=shape.is_async, reads_streams=reads)


def all_kinds(*bodies: Callable[..., Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("body", bodies, ids=["plain", "async"])


def double(x: int) -> int:
    return 2 * x


async def async_double(x: int) -> int:
    return 2 * x


@all_kinds(double, async_double)
def test_a_function_returns(body: Callable[..., Any]) -> None:
    assert open_body(body, 21).advance() == Returned(42)


def fails(x: int) -> int:
    raise ValueError(x)


async def async_fails(x: int) -> int:
    raise ValueError(x)


@all_kinds(fails, async_fails)
def test_a_function_raises(body: Callable[..., Any]) -> None:
    step = open_body(body, 1).advance()
    assert isinstance(step, Raised)
    assert isinstance(step.error, ValueError)


def test_system_exit_and_keyboard_interrupt_end_a_body_like_any_exception() -> None:
    for kind in (SystemExit, KeyboardInterrupt):

        def body(kind: type[BaseException] = kind) -> None:
            raise kind

        step = open_body(body).advance()
        assert isinstance(step, Raised)
        assert isinstance(step.error, kind)


def count(n: int) -> Any:
    yield from range(n)


async def async_count(n: int) -> Any:
    for index in range(n):
        yield index


@all_kinds(count, async_count)
def test_a_generator_yields_and_ends(body: Callable[..., Any]) -> None:
    opened = open_body(body, 2)
    steps = [opened.advance() for _ in range(3)]
    assert steps == [Yielded(0), Yielded(1), Returned(NATURAL_END)]


def total(chunks: Stream[int]) -> int:
    return sum(chunks)


async def async_total(chunks: Stream[int]) -> int:
    return sum([chunk async for chunk in chunks])


@all_kinds(total, async_total)
def test_a_body_that_reads_is_suspended_inside_any_call(body: Callable[..., Any]) -> None:
    port = Port()
    opened = open_body(body, Stream[int](port))
    assert opened.advance() == Blocked(port)
    assert opened.is_blocked
    port.chunks.extend([1, 2])
    assert opened.advance() == Blocked(port)
    port.chunks.extend([3, END])
    assert opened.advance() == Returned(6)


def double_all(chunks: Stream[int]) -> Any:
    for chunk in chunks:
        yield 2 * chunk


async def async_double_all(chunks: Stream[int]) -> Any:
    async for chunk in chunks:
        yield 2 * chunk


@all_kinds(double_all, async_double_all)
def test_a_generator_reads_and_yields_in_turn(body: Callable[..., Any]) -> None:
    port = Port()
    opened = open_body(body, Stream[int](port))
    steps: list[Step] = [opened.advance()]
    for chunk in (1, 2, END):
        port.chunks.append(chunk)
        steps += [opened.advance(), opened.advance()] if chunk is not END else [opened.advance()]
    assert steps == [
        Blocked(port),
        Yielded(2),
        Blocked(port),
        Yielded(4),
        Blocked(port),
        Returned(NATURAL_END),
    ]


def returns(value: object) -> Any:
    yield 1
    return value


def test_a1_a_plain_generator_returns_its_final_value_and_none_is_a_natural_end() -> None:
    for value, final in ((7, 7), (None, NATURAL_END), (0, 0)):
        opened = open_body(returns, value)
        assert opened.advance() == Yielded(1)
        assert opened.advance() == Returned(final)


def stops(*value: object) -> Any:
    yield 1
    raise StopAsyncIteration(*value)


async def async_stops(*value: object) -> Any:
    yield 1
    raise StopAsyncIteration(*value)


@all_kinds(stops, async_stops)
def test_rule_43_stop_async_iteration_sets_the_final_value(body: Callable[..., Any]) -> None:
    for value, final in (((7,), 7), ((), NATURAL_END), ((None,), None)):
        opened = open_body(body, *value)
        opened.advance()
        assert opened.advance() == Returned(final)


def declines(log: list[str]) -> Any:
    try:
        yield 1
    except StreamCancelled:
        yield 2
    log.append("end")


async def async_declines(log: list[str]) -> Any:
    try:
        yield 1
    except StreamCancelled:
        yield 2
    log.append("end")


@all_kinds(declines, async_declines)
def test_rule_58_a_cancel_is_thrown_at_the_yield(body: Callable[..., Any]) -> None:
    log: list[str] = []
    opened = open_body(body, log)
    opened.advance()
    assert opened.throw(StreamCancelled()) == Yielded(2)
    assert opened.advance() == Returned(NATURAL_END)
    assert log == ["end"]


def cleans_up(log: list[str], chunks: Stream[int] | None = None) -> Any:
    try:
        yield 0
        for chunk in chunks or ():
            yield chunk
    finally:
        log.append("closed")


async def async_cleans_up(log: list[str], chunks: Stream[int] | None = None) -> Any:
    try:
        yield 0
        if chunks is not None:
            async for chunk in chunks:
                yield chunk
    finally:
        log.append("closed")


@all_kinds(cleans_up, async_cleans_up)
def test_rule_63_closing_runs_the_finally_blocks(body: Callable[..., Any]) -> None:
    log: list[str] = []
    opened = open_body(body, log)
    opened.advance()
    assert opened.close() is None
    assert log == ["closed"]


@all_kinds(cleans_up, async_cleans_up)
def test_rule_63_a_body_that_waits_for_a_chunk_is_closed_at_the_read(
    body: Callable[..., Any],
) -> None:
    log: list[str] = []
    port = Port()
    opened = open_body(body, log, Stream[int](port))
    opened.advance()
    assert opened.advance() == Blocked(port)
    assert opened.close() is None
    assert log == ["closed"]
    assert not opened.is_blocked


@all_kinds(total, async_total)
def test_rule_63_a_function_that_waits_for_a_chunk_can_be_closed(body: Callable[..., Any]) -> None:
    port = Port()
    opened = open_body(body, Stream[int](port))
    opened.advance()
    assert opened.close() is None


def ignores_close() -> Any:
    try:
        yield 1
    except GeneratorExit:
        yield 2


def test_a_generator_that_yields_after_it_was_closed_is_reported() -> None:
    opened = open_body(ignores_close)
    opened.advance()
    assert isinstance(opened.close(), RuntimeError)


def reads_on(chunks: Stream[int]) -> int:
    while True:
        try:
            return sum(chunks)
        except BaseException:
            continue


def test_a_body_that_catches_all_and_reads_on_is_given_up() -> None:
    port = Port()
    opened = open_body(reads_on, Stream[int](port))
    opened.advance()
    assert isinstance(opened.close(), RuntimeError)


variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)


def sets(chunks: Stream[int]) -> Any:
    for chunk in chunks:
        variable.set(variable.get() + chunk)
        yield variable.get()


def test_each_body_has_a_context_of_its_own_that_lasts_over_its_steps() -> None:
    ports = [Port(), Port()]
    bodies = [open_body(sets, Stream[int](port)) for port in ports]
    for port in ports:
        port.chunks.extend([1, 1])
    assert [body.advance() for body in bodies] == [Yielded(1), Yielded(1)]
    assert [body.advance() for body in bodies] == [Yielded(2), Yielded(2)]
    assert variable.get() == 0


async def awaits_something() -> object:
    class Something:
        def __await__(self) -> Any:
            return (yield self)

    return await Something()


def test_a_foreign_awaitable_is_handed_out_and_answered() -> None:
    opened = open_body(awaits_something)
    assert isinstance(opened.advance(), Awaiting)
    assert opened.advance("answer") == Returned("answer")


def test_reading_where_nothing_can_be_suspended_is_an_error_that_says_what_to_do() -> None:
    assert getcurrent().parent is None
    with pytest.raises(RuntimeError, match="async for"):
        next(Stream[int](Port()))


class Overtaken(greenlet):
    """An interrupt comes when it has just been suspended, before anybody could note that."""

    def switch(self, *args: Any) -> Any:
        super().switch(*args)
        raise Interrupted


@pytest.mark.parametrize("is_generator", [False, True])
def test_a_body_that_is_interrupted_as_it_is_suspended_is_closed_whole_f6(
    monkeypatch: pytest.MonkeyPatch, is_generator: bool
) -> None:
    log: list[str] = []

    def reads(chunks: Stream[int]) -> int:
        try:
            return next(chunks)
        finally:
            log.append("cleaned up")

    def generates(chunks: Stream[int]) -> Any:
        yield reads(chunks)

    monkeypatch.setattr(life_cycle, "greenlet", Overtaken)
    body = open_body(generates if is_generator else reads, Stream[int](Port()))
    step = body.advance()  # its traceback holds on to all
    assert isinstance(step, Raised)
    assert isinstance(step.error, Interrupted)
    assert log == []
    assert body.close() is None
    assert log == ["cleaned up"]
