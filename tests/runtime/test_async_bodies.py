"""Async bodies: on asyncio in workers, on our event loop inline (SEMANTICS 16.10, 39, 48, 64, 69)."""

from __future__ import annotations

import asyncio
import contextvars
import decimal
import gc
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from executor.body import Interrupted, Stream, StreamCancelled
from executor.interrupting import Gate
from executor.life_cycle import Raised, Step
from executor.pool import Pool
from orchestrator import coordinator, event_loop
from orchestrator.graph.flow import Flow
from orchestrator.graph.node import node
from orchestrator.runtime.errors import FlowTimeoutError
from tests.runtime.virtual_time import in_virtual_time

variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(2) as shared:
        shared.wait_ready()
        yield shared


@node
async def ticks(count: int) -> Any:
    for tick in range(count):
        await asyncio.sleep(0)
        yield tick


@node
def numbers(count: int) -> Any:
    yield from range(count)


async def total_of(chunks: Stream[int]) -> int:
    return sum([chunk async for chunk in chunks])


# -- on asyncio ------------------------------------------------------------------------------------


@node
async def uses_asyncio(x: int) -> list[object]:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        slept = group.create_task(asyncio.sleep(0.001, result=x))
        threaded = group.create_task(asyncio.to_thread(pow, x, 2))
    timed_out = False
    try:
        async with asyncio.timeout(0.001):
            await asyncio.sleep(60)
    except TimeoutError:
        timed_out = True
    gathered = await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0, 2))
    same = loop is asyncio.get_running_loop() and task is asyncio.current_task()
    return [slept.result(), threaded.result(), timed_out, gathered, same]


def test_16_10_a_body_in_a_worker_may_await_all_of_asyncio(pool: Pool) -> None:
    with Flow() as f:
        f.used = uses_asyncio(3)
    f.run(pool=pool)
    assert f.used.get_data() == ([3, 9, True, [1, 2], True],)


def test_16_10_a_generator_awaits_between_its_yields_and_its_reader_in_its_reads(pool: Pool) -> None:
    @node
    async def delayed(chunks: Stream[int]) -> Any:
        async with asyncio.timeout(10):  # it lasts over the yields: one task drives the body
            async for chunk in chunks:
                await asyncio.sleep(0)
                yield chunk

    @node
    def total(chunks: Stream[int]) -> int:
        return sum(chunks)

    with Flow() as f:
        f.ticks = ticks(50)
        f.total = total(delayed(delayed(f.ticks)))
    f.run(pool=pool)
    assert f.total.get_data() == (1225,)


def test_a_timeout_of_asyncio_interrupts_a_read_and_the_stream_can_be_read_on(
    pool: Pool, tmp_path: Path
) -> None:
    @node
    async def waits(path: str) -> Any:
        yield 1
        while not Path(path).exists():
            await asyncio.sleep(0.001)
        yield 2

    @node
    async def impatient(chunks: Stream[int], path: str) -> list[int]:
        first = await anext(chunks)
        try:
            async with asyncio.timeout(0.01):
                await anext(chunks)
        except TimeoutError:
            Path(path).touch()
        return [first, await anext(chunks)]

    path = str(tmp_path / "go")
    with Flow() as f:
        f.read = impatient(waits(path), path)
    f.run(pool=pool)
    assert f.read.get_data() == ([1, 2],)


def test_16_10_our_sleep_works_on_asyncio_and_our_other_primitives_name_their_counterpart(
    pool: Pool,
) -> None:
    @node
    async def sleeps() -> float:
        await event_loop.sleep(0)
        return await event_loop.sleep(0.01)

    @node
    async def refused() -> list[str]:
        async def spawns() -> None:
            coroutine = asyncio.sleep(0)
            try:
                await event_loop.spawn(coroutine)
            finally:
                coroutine.close()

        async def locks() -> None:
            async with event_loop.Lock():
                pass

        errors = []
        for use in (spawns, locks, event_loop.AsyncQueue[int]().get, event_loop.Event().wait):
            for task in (use(), asyncio.create_task(use())):
                try:
                    await task
                except RuntimeError as error:
                    errors.append(str(error))
        return errors

    with Flow() as f:
        f.slept = sleeps()
        f.refused = refused()
    f.run(pool=pool)
    assert f.slept.get_data()[0] >= 0.01
    errors = f.refused.get_data()[0]
    assert len(errors) == 8
    assert all("use asyncio.create_task for spawn, asyncio.Queue" in error for error in errors)


def test_a_plain_body_may_run_asyncio_itself_while_async_ones_go_on_in_its_worker(pool: Pool) -> None:
    @node
    def runs_asyncio(chunks: Stream[int]) -> int:
        async def add() -> int:
            total = 0
            for chunk in chunks:  # suspends the body inside its own asyncio.run()
                await asyncio.sleep(0)
                total += chunk
            return total

        return asyncio.run(add())

    with Flow() as f:
        f.ticks = ticks(10)
        f.first = runs_asyncio(f.ticks)
        f.second = runs_asyncio(f.ticks)
    f.run(pool=pool)
    assert f.first.get_data() == f.second.get_data() == (45,)


@node
async def sets(precision: int) -> list[int]:
    async def get() -> int:
        await asyncio.sleep(0)
        return decimal.getcontext().prec  # it is kept in a context variable

    before = decimal.getcontext().prec
    decimal.setcontext(decimal.Context(prec=precision))
    await asyncio.sleep(0.001)
    return [before, decimal.getcontext().prec, await asyncio.create_task(get())]


def test_each_body_has_a_context_of_its_own_and_its_tasks_inherit_it(pool: Pool) -> None:
    with Flow() as f:
        f.one = sets(1)
        f.two = sets(2)
    f.run(pool=pool)
    assert f.one.get_data() == ([28, 1, 1],)
    assert f.two.get_data() == ([28, 2, 2],)


def test_rule_58_a_cancel_reaches_an_async_generator_that_awaits_in_its_handler(pool: Pool) -> None:
    @node
    async def endless() -> Any:
        tick = 0
        try:
            while True:
                await asyncio.sleep(0)
                yield tick
                tick += 1
        except StreamCancelled:
            await asyncio.sleep(0.001)
            raise StopAsyncIteration("cancelled") from None

    @node
    async def takes_three(chunks: Stream[int]) -> list[int]:
        taken = [await anext(chunks) for _ in range(3)]
        await chunks.cancel()
        return taken

    with Flow() as f:
        f.endless = endless()
        f.taken = takes_three(f.endless)
    f.run(pool=pool)
    assert f.taken.get_data() == ([0, 1, 2],)
    assert f.endless.get_data() == ("cancelled",)


class Enough(Exception):
    """Ends a run, so that its other bodies are given up."""


def enough_when(directory: Path, *names: str) -> Any:
    """A node that ends the run once these files are there."""

    @node(placement="inline")
    async def ends() -> None:
        while not all((directory / name).exists() for name in names):
            await event_loop.sleep(0.002)
        raise Enough

    return ends()


def test_rule_63_a_body_that_is_given_up_is_cancelled_and_may_await_in_its_clean_up(
    pool: Pool, tmp_path: Path
) -> None:
    @node
    async def sleeps(path: str) -> None:
        try:
            Path(path, "sleeps").touch()
            await asyncio.sleep(600)
        finally:
            await asyncio.sleep(0.001)
            Path(path, "slept").touch()

    @node
    async def reads(chunks: Stream[int], path: str) -> None:
        try:
            await anext(chunks)
        finally:
            await asyncio.sleep(0.001)
            Path(path, "read").touch()

    @node
    async def never(path: str) -> Any:
        sleeper = asyncio.create_task(asyncio.sleep(600))
        try:
            Path(path, "generates").touch()
            await sleeper
            yield 1
        finally:
            Path(path, "generated").touch()

    with Flow() as f:
        f.sleeps = sleeps(str(tmp_path))
        f.reads = reads(never(str(tmp_path)), str(tmp_path))
        f.ends = enough_when(tmp_path, "sleeps", "generates")
    with pytest.raises(Enough):
        f.run(pool=pool)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "generated", "generates", "sleeps", "slept",
    ]  # fmt: skip


def test_rule_63_a_generator_that_rests_at_a_yield_may_await_when_it_is_closed(
    pool: Pool, tmp_path: Path
) -> None:
    @node
    async def endless(path: str) -> Any:
        try:
            while True:
                yield 1
        finally:
            await asyncio.sleep(0.001)
            Path(path).touch()

    @node
    async def takes_one(chunks: Stream[int]) -> int:
        return await anext(chunks)

    path = tmp_path / "closed"
    with Flow() as f:
        f.endless = endless(str(path))
        f.one = takes_one(f.endless)
    report = f.run(pool=pool)
    assert report.unfinished == ("endless",)
    assert f.one.get_data() == (1,)
    assert path.exists()


def test_a_spawned_task_that_computes_is_interrupted_when_the_run_ends() -> None:
    @node
    async def pid_of() -> int:
        return os.getpid()

    @node
    async def computes() -> None:
        async def spins() -> None:
            while True:
                pass

        await asyncio.create_task(spins())

    with Flow() as before:
        before.pid = pid_of()
    with Flow() as f:
        f.computes = computes()
    with Flow() as after:
        after.pid = pid_of()
    with Pool(1) as pool:
        before.run(pool=pool)
        with pytest.raises(FlowTimeoutError):
            f.run(pool=pool, timeout_s=0.2)
        after.run(pool=pool)
    assert before.pid.get_data() == after.pid.get_data()


def test_a_body_may_run_subprocesses(pool: Pool) -> None:
    @node
    async def runs() -> bytes:
        process = await asyncio.create_subprocess_exec(
            "echo", "from a child", stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        return output

    with Flow() as f:
        f.output = runs()
    f.run(pool=pool)
    assert f.output.get_data() == (b"from a child\n",)


def test_rule_64_tasks_that_a_body_spawned_end_before_its_value_is_given_and_rule_69_may_fail(
    pool: Pool, tmp_path: Path
) -> None:
    @node
    async def spawns(path: str) -> str:
        async def later() -> None:
            await asyncio.sleep(0.01)
            Path(path).touch()
            raise ValueError("nobody awaits this")

        asyncio.create_task(later())  # noqa: RUF006 - the worker keeps it
        return path

    @node
    def exists(path: str) -> bool:
        return Path(path).exists()

    with Flow() as f:
        f.seen = exists(spawns(str(tmp_path / "done")))
    f.run(pool=pool)
    assert f.seen.get_data() == (True,)


def test_an_error_of_a_body_begins_at_its_own_frame(pool: Pool) -> None:
    @node
    async def fails() -> None:
        await asyncio.sleep(0)
        raise LookupError("gone")

    with Flow() as f:
        f.fails = fails()
    with pytest.raises(LookupError, match="gone") as caught:
        f.run(pool=pool)
    text = str(caught.value.__cause__)
    assert "in fails" in text
    assert "executor" not in text


# -- streams in several tasks ----------------------------------------------------------------------


@node
async def two_tasks_two_streams(one: Stream[int], other: Stream[int]) -> list[int]:
    return list(await asyncio.gather(total_of(one), total_of(other)))


@node
async def two_tasks_one_stream(chunks: Stream[int]) -> int:
    return sum(await asyncio.gather(total_of(chunks), total_of(chunks)))


def test_rule_48_streams_may_be_read_in_several_tasks_of_a_body(pool: Pool) -> None:
    with Flow() as f:
        f.ticks = ticks(20)
        f.numbers = numbers(30)
        f.both = two_tasks_two_streams(f.ticks, f.numbers)
        f.one = two_tasks_one_stream(f.numbers)
    f.run(pool=pool, timeout_s=60)
    assert f.both.get_data() == ([190, 435],)
    assert f.one.get_data() == (435,)


def test_rule_48_inline_too_with_our_tasks() -> None:
    @node
    async def both(one: Stream[int], other: Stream[int]) -> list[int]:
        return await event_loop.gather(total_of(one), total_of(other))

    @node
    async def shared(chunks: Stream[int]) -> int:
        tasks = [await event_loop.spawn(total_of(chunks)) for _ in range(2)]
        return sum([await task.join() for task in tasks])

    with Flow() as f:
        f.one = numbers(20)
        f.other = numbers(30)
        f.both = both(f.one, f.other)
        f.shared = shared(f.other)
    f.run(workers=0)
    assert f.both.get_data() == ([190, 435],)
    assert f.shared.get_data() == (435,)


@node(window=0)
def counts(count: int) -> Any:
    yield from range(count)


@node(window=0)
async def relays(chunks: Stream[int]) -> Any:
    async for chunk in chunks:
        yield chunk


@node(placement="process")
async def joins_in_tasks(one: Stream[int], other: Stream[int]) -> list[int]:
    return [await asyncio.create_task(total_of(one)), await asyncio.create_task(total_of(other))]


@node(placement="thread")
async def joins_in_the_thread(one: Stream[int], other: Stream[int]) -> list[int]:
    return [await asyncio.create_task(total_of(one)), await asyncio.create_task(total_of(other))]


@node(placement="inline")
async def joins_inline(one: Stream[int], other: Stream[int]) -> list[int]:
    return [await (await event_loop.spawn(total_of(chunks))).join() for chunks in (one, other)]


@pytest.mark.parametrize("join", [joins_in_tasks, joins_in_the_thread, joins_inline])
def test_rule_52_an_artificial_deadlock_is_repaired_though_only_spawned_tasks_read(
    join: Any, pool: Pool
) -> None:
    """The body itself awaits its task; that this rests is known when nothing else can come."""
    with Flow() as f:
        f.counts = counts(30)
        f.joined = join(relays(f.counts), relays(f.counts))
    report = f.run(pool=pool, timeout_s=60)
    assert f.joined.get_data() == ([435, 435],)
    assert report.widened


def test_rule_48_a_task_that_cancels_a_stream_ends_the_reads_of_the_others(
    pool: Pool, tmp_path: Path
) -> None:
    cancelled = tmp_path / "cancelled"

    @node(window=0)  # it rests at its second yield until the cancel has come, however late that is
    async def stalls() -> Any:
        try:
            yield 1
            while not cancelled.exists():
                await asyncio.sleep(0.001)
            while True:  # the file may be seen before the cancel has come
                yield 2
                await asyncio.sleep(0.001)
        except StreamCancelled:
            pass

    @node
    async def cancels(chunks: Stream[int]) -> list[int]:
        async def cancel() -> None:
            await asyncio.sleep(0.001)
            await chunks.cancel()
            cancelled.touch()

        task = asyncio.create_task(cancel())
        read = [chunk async for chunk in chunks]
        await task
        return read

    with Flow() as f:
        f.read = cancels(stalls())
    f.run(pool=pool, timeout_s=60)
    assert f.read.get_data() == ([1],)


def test_rule_48_after_the_run_a_handle_is_dead_for_the_tasks_it_left(
    pool: Pool, tmp_path: Path
) -> None:
    @node
    async def leaves_a_reader(chunks: Stream[int], path: str) -> int:
        async def read_on() -> None:
            try:
                await anext(chunks)
            except RuntimeError as error:
                Path(path).write_text(str(error))

        first = await anext(chunks)
        asyncio.create_task(read_on())  # noqa: RUF006 - the worker keeps it
        await asyncio.sleep(0.01)
        return first

    @node
    async def one_and_then_waits(path: str) -> Any:
        yield 7
        while not Path(path).exists():
            await asyncio.sleep(0.001)

    path = str(tmp_path / "error")
    with Flow() as f:
        f.first = leaves_a_reader(one_and_then_waits(path), path)
    f.run(pool=pool)
    assert f.first.get_data() == (7,)
    assert "has ended" in (tmp_path / "error").read_text()


# -- inline ----------------------------------------------------------------------------------------


def test_16_10_inline_an_asyncio_object_is_refused_with_advice() -> None:
    @node(placement="inline")
    async def awaits_asyncio() -> None:
        future: asyncio.Future[None] = asyncio.Future(loop=loop)
        await future

    loop = asyncio.new_event_loop()
    try:
        with Flow() as f:
            f.awaits = awaits_asyncio()
        with pytest.raises(TypeError, match='placement="thread"'):
            f.run(workers=0)
    finally:
        loop.close()


def test_inline_each_body_is_a_task_of_its_own() -> None:
    tasks = []
    lock = event_loop.Lock()
    inside = 0

    @node(placement="inline")
    async def locks(x: int) -> int:
        nonlocal inside
        tasks.append(event_loop.current_task())
        async with lock:
            inside += 1
            assert inside == 1
            await event_loop.sleep(0.001)
            inside -= 1
        assert event_loop.current_task() is tasks[x]
        return x

    with Flow() as f:
        f.first, f.second, f.third = (locks(x) for x in range(3))
    f.run(workers=0)
    assert len({id(task) for task in tasks}) == 3


def test_inline_a_timeout_of_one_body_leaves_the_others_alone() -> None:
    @node(placement="inline")
    async def gives_up() -> str:
        try:
            with event_loop.timeout(0.01):
                await event_loop.sleep(600)
        except TimeoutError:
            return "gave up"
        return "slept"

    @node(placement="inline")
    async def sleeps() -> str:
        await event_loop.sleep(0.05)
        return "slept"

    with Flow() as f:
        f.one = gives_up()
        f.other = sleeps()
    f.run(workers=0)
    assert (f.one.get_data(), f.other.get_data()) == (("gave up",), ("slept",))


def test_rule_63_inline_a_body_that_is_given_up_is_cancelled_and_may_await_in_its_clean_up() -> None:
    log = []

    @node(placement="inline")
    async def sleeps() -> None:
        try:
            await event_loop.sleep(600)
        except event_loop.TaskCancelled:
            await event_loop.sleep(0.001)
            log.append("cleaned up")
            raise

    with Flow() as f:
        f.sleeps = sleeps()
    with pytest.raises(FlowTimeoutError):
        in_virtual_time(f).run(workers=0, timeout_s=0.01)
    assert log == ["cleaned up"]


def test_inline_a_body_that_goes_on_though_it_was_cancelled_is_closed_after_a_grace(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = []

    @node(placement="inline")
    async def stays() -> None:
        try:
            while True:
                with suppress(event_loop.TaskCancelled):
                    await event_loop.sleep(600)
        finally:
            log.append("closed")

    monkeypatch.setattr(coordinator, "GRACE_S", 0.02)
    with Flow() as f:
        f.stays = stays()
    with pytest.raises(FlowTimeoutError):
        in_virtual_time(f).run(workers=0, timeout_s=0.02)
    assert log == ["closed"]
    assert "node 'stays' is closed" in caplog.text


def test_rule_64_inline_the_run_waits_for_what_bodies_spawned_and_rule_69_it_may_fail() -> None:
    log = []

    @node(placement="inline")
    async def spawns() -> int:
        async def later(x: int) -> None:
            await event_loop.sleep(0.01)
            log.append((x, variable.get()))
            if x:
                raise ValueError("nobody joins this")

        variable.set(5)
        for x in range(2):
            await event_loop.spawn(later(x))
        return 1

    with Flow() as f:
        f.spawns = spawns()
    f.run(workers=0)
    assert log == [(0, 5), (1, 5)]
    assert variable.get() == 0


def test_a_worker_goes_on_with_other_bodies_while_one_awaits(pool: Pool) -> None:
    @node
    def plain() -> float:
        return time.monotonic()

    @node
    async def when() -> float:
        await asyncio.sleep(0.2)
        return time.monotonic()

    with Flow() as f:
        f.awaited = when()
        f.plain = plain()
    f.run(pool=pool)
    assert f.plain.get_data()[0] < f.awaited.get_data()[0]


def test_a_resting_plain_body_is_given_up_at_once_by_a_worker_that_has_an_asyncio_loop() -> None:
    """A worker that does not answer the cancel in its grace is ended, and replaced by another."""

    @node
    async def pid_of() -> int:
        return os.getpid()

    @node(window=0)
    def rests() -> Any:
        yield from range(100)

    @node(placement="inline")
    def reads_one(chunks: Stream[int]) -> int:
        return next(chunks)

    pids = []
    with Pool(1) as pool:
        for _ in range(3):
            with Flow() as f:
                f.pid = pid_of()
                f.rests = rests()
                f.reads = reads_one(f.rests)
            f.run(pool=pool)
            pids.append(f.pid.get_data())
    assert len(set(pids)) == 1


def test_16_10_an_inline_body_that_awaits_asyncio_is_told_where_to_be_placed() -> None:
    @node(placement="inline")
    async def sleeps() -> None:
        await asyncio.sleep(1)

    with Flow() as f:
        f.sleeps = sleeps()
    with pytest.raises(RuntimeError, match="no running event loop") as caught:
        f.run(workers=0)
    assert 'placement="thread"' in caught.value.__notes__[0]


@pytest.mark.parametrize("placement", ["inline", "thread"])
def test_p9_a_body_that_is_interrupted_before_it_has_begun_leaves_no_coroutine(
    placement: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> Step:
        return Raised(Interrupted())

    @node(placement=placement)
    async def never_begins() -> None: ...

    with Flow() as f:
        f.a = never_begins()
    monkeypatch.setattr(Gate, "step", interrupted)
    with pytest.raises(Interrupted):
        f.run(workers=0)
    gc.collect()  # which would warn of it
