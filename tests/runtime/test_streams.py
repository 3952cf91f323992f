"""Streams: order, windows, detached readers, artificial deadlock, cancels (SEMANTICS 10, 11).

Each test runs real bodies under seeded schedules; what they assert holds for every one of them.
"""

from __future__ import annotations

from typing import Any

import pytest

from executor.body import Stream, StreamCancelled
from orchestrator.graph.flow import Flow
from orchestrator.graph.node import node
from orchestrator.runtime.outcome import Done, LimitReached
from tests.runtime.simulation import simulate

SEEDS = range(40)
WINDOWS = [0, 1, 8]


def numbers(count: int) -> Any:
    yield from range(count)


@node
def listed(chunks: Stream[int]) -> list[int]:
    return list(chunks)


@node
async def async_listed(chunks: Stream[int]) -> list[int]:
    return [chunk async for chunk in chunks]


@pytest.mark.parametrize("window", WINDOWS)
def test_rule_48_every_reader_gets_every_chunk_in_order_however_late_it_starts(window: int) -> None:
    source = node(window=window)(numbers)

    @node
    def late(chunks: Stream[int], _: Any) -> list[int]:
        return list(chunks)

    for seed in SEEDS:
        with Flow() as f:
            f.source = source(9)
            f.first = listed(f.source)
            f.second = async_listed(f.source)
            f.late = late(f.source, f.first)
        simulate(f, seed=seed)
        assert f.first.get_data() == f.second.get_data() == f.late.get_data() == (list(range(9)),)
        assert f.source.get_data() == (36,)


@pytest.mark.parametrize("window", WINDOWS)
def test_bug_b9_an_empty_stream_is_an_empty_iteration(window: int) -> None:
    source = node(window=window)(numbers)
    for seed in SEEDS:
        with Flow() as f:
            f.source = source(0)
            f.reader = listed(f.source)
        simulate(f, seed=seed)
        assert f.reader.get_data() == ([],)
        assert f.source.get_data() is None


def logged_pair(window: int) -> tuple[Flow, list[str]]:
    log: list[str] = []

    @node(window=window)
    def producer() -> Any:
        for index in range(3):
            log.append(f"B{index}")
            yield index
        log.append("B3")

    @node
    def reader(chunks: Stream[int]) -> None:
        for chunk in chunks:
            log.append(f"A{chunk}")
        log.append("end")

    with Flow() as f:
        f.producer = producer()
        f.reader = reader(f.producer)
    return f, log


def test_rule_50_at_window_0_producer_and_reader_take_turns() -> None:
    for seed in SEEDS:
        flow, log = logged_pair(0)
        simulate(flow, seed=seed)
        assert log == ["B0", "A0", "B1", "A1", "B2", "A2", "B3", "end"]


@pytest.mark.parametrize("window", [1, 3])
def test_i4_a_producer_is_at_most_one_chunk_more_than_its_window_ahead(window: int) -> None:
    for seed in SEEDS:
        flow, log = logged_pair(window)
        simulate(flow, seed=seed)
        ahead = 0
        for event in log:
            ahead += {"B": 1, "A": -1, "e": 0}[event[0]] if event != "B3" else 0
            assert 0 <= ahead <= window + 1


@pytest.mark.parametrize("window", WINDOWS)
def test_rule_51_a_reader_that_leaves_neither_blocks_nor_drives(window: int) -> None:
    source = node(window=window)(numbers)

    @node
    def first_only(chunks: Stream[int]) -> int:
        return next(iter(chunks))

    for seed in SEEDS:
        with Flow() as f:
            f.source = source(6)
            f.leaves = first_only(f.source)
            f.stays = listed(f.source)
        simulate(f, seed=seed)
        assert f.leaves.get_data() == (0,)
        assert f.stays.get_data() == (list(range(6)),)


def test_rule_51_a_producer_without_demand_is_drained_before_its_next_run() -> None:
    @node(window=0)
    def source(after: Any = None) -> Any:
        yield from range(6)

    @node
    def first_only(chunks: Stream[int]) -> int:
        return next(iter(chunks))

    for seed in SEEDS:
        with Flow() as f:
            f.source = source(f.leaves)
            f.leaves = first_only(f.source)
        machine = simulate(f, seed=seed, stop={f.leaves: (3,)})
        assert machine.outcome == LimitReached("leaves", (3,))
        assert machine.nodes[0].chunks >= 3 * 6


def test_rule_65_a_producer_whose_readers_left_is_closed_and_reported_unfinished() -> None:
    closed: list[str] = []

    @node(window=0)
    def source() -> Any:
        try:
            yield from range(6)
        finally:
            closed.append("closed")

    @node
    def first_only(chunks: Stream[int]) -> int:
        return next(iter(chunks))

    with Flow() as f:
        f.source = source()
        f.leaves = first_only(f.source)
    machine = simulate(f)
    assert machine.outcome == Done(unfinished=("source",))
    assert closed == ["closed"]


@pytest.mark.parametrize("window", WINDOWS)
def test_rule_52_a_fork_is_read_one_branch_after_the_other(window: int) -> None:
    source = node(window=window)(numbers)

    @node(window=window)
    def stage(chunks: Stream[int], sign: int) -> Any:
        for chunk in chunks:
            yield sign * chunk

    @node
    def join(a: Stream[int], b: Stream[int]) -> tuple[list[int], list[int]]:
        return list(a), list(b)

    for seed in SEEDS:
        with Flow() as f:
            f.source = source(20)
            f.plus = stage(f.source, 1)
            f.minus = stage(f.source, -1)
            f.join = join(f.plus, f.minus)
        machine = simulate(f, seed=seed)
        assert f.join.get_data() == ((list(range(20)), [-chunk for chunk in range(20)]),)
        assert machine.widened


def test_rule_52_a_deadlock_is_repaired_while_unrelated_work_goes_on() -> None:
    finished: list[str] = []

    @node
    def endless() -> Any:
        while True:  # goes on until the join has finished: repair cannot have waited for quiet
            yield "join" in finished
            if "join" in finished:
                return

    @node
    def join(a: Stream[int], b: Stream[int]) -> int:
        count = len(list(a)) + len(list(b))
        finished.append("join")
        return count

    with Flow() as f:
        f.unrelated = endless()
        f.source = node(numbers)(50)
        f.join = join(f.source, f.source)
    simulate(f)
    assert f.join.get_data() == (100,)


@pytest.mark.parametrize("window", WINDOWS)
def test_bug_b3_one_reader_of_the_same_stream_twice_counts_twice(window: int) -> None:
    source = node(window=window)(numbers)

    @node
    def zipped(a: Stream[int], b: Stream[int]) -> list[tuple[int, int]]:
        return list(zip(a, b, strict=True))

    for seed in SEEDS:
        with Flow() as f:
            f.source = source(5)
            f.zipped = zipped(f.source, f.source)
        simulate(f, seed=seed)
        assert f.zipped.get_data() == ([(index, index) for index in range(5)],)


def test_a7_a_generator_that_nobody_reads_runs_to_its_end() -> None:
    with Flow() as f:
        f.drained = node(numbers)(4)
        f.kept = node(drain=False)(numbers)(4)
    machine = simulate(f)
    assert f.drained.get_data() == (6,)
    assert f.kept.get_data() is None
    assert machine.outcome == Done(unfinished=("kept",))


def test_rule_43_a_returned_value_replaces_the_sum() -> None:
    @node
    def counts() -> Any:
        yield 1
        yield 2
        return "final"

    @node
    def passes(value: str) -> str:
        return value

    with Flow() as f:
        f.counts = counts()
        f.value = passes(f.counts)
    simulate(f)
    assert f.value.get_data() == ("final",)


# -- cancels ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", WINDOWS)
def test_rules_55_to_60_a_cancel_ends_the_stream_for_all_readers_alike(window: int) -> None:
    @node(window=window)
    def source() -> Any:
        yield from range(100)

    @node
    def cancels(chunks: Stream[int]) -> list[int]:
        seen = []
        for chunk in chunks:
            seen.append(chunk)
            if chunk == 1:
                chunks.cancel()
                chunks.cancel()  # idempotent
        return seen

    @node
    def total(value: int) -> int:
        return value

    for seed in SEEDS:
        with Flow() as f:
            f.source = source()
            f.cancels = cancels(f.source)
            f.sibling = listed(f.source)
            f.total = total(f.source)
        machine = simulate(f, seed=seed)
        emitted = machine.nodes[0].chunks
        assert f.cancels.get_data() == ([0, 1],)  # 56: nothing after its cancel
        assert f.sibling.get_data() == (list(range(emitted)),)  # A4: exactly the emitted ones
        assert f.source.get_data() == (sum(range(emitted)),) == f.total.get_data()
        assert emitted <= 3 + window


@pytest.mark.parametrize("window", WINDOWS)
def test_rule_57_cancelling_before_the_first_read_is_legal(window: int) -> None:
    @node
    def cancels(chunks: Stream[int]) -> list[int]:
        chunks.cancel()
        return list(chunks)

    for seed in SEEDS:
        with Flow() as f:
            f.source = node(window=window)(numbers)(50)
            f.cancels = cancels(f.source)
        machine = simulate(f, seed=seed)
        assert f.cancels.get_data() == ([],)
        assert isinstance(machine.outcome, Done)


def test_rule_58_cancels_of_several_readers_at_once_are_one_throw() -> None:
    throws: list[int] = []

    @node(window=0)
    def source() -> Any:
        try:
            for index in range(100):
                yield index
        except StreamCancelled:
            throws.append(1)
            raise

    @node
    def cancels(chunks: Stream[int]) -> None:
        next(iter(chunks))
        chunks.cancel()

    for seed in SEEDS:
        throws.clear()
        with Flow() as f:
            f.source = source()
            f.first = cancels(f.source)
            f.second = cancels(f.source)
        simulate(f, seed=seed)
        assert len(throws) == 1


@pytest.mark.parametrize("window", WINDOWS)
def test_rule_59a_an_uncaught_cancel_goes_on_upstream(window: int) -> None:
    ended: list[str] = []

    @node(window=window)
    def source() -> Any:
        try:
            yield from range(1000)
        except StreamCancelled:
            ended.append("source")
            raise

    @node(window=window)
    def stage(chunks: Stream[int]) -> Any:
        yield from chunks

    @node
    def cancels(chunks: Stream[int]) -> int:
        for chunk in chunks:
            chunks.cancel()
        return chunk

    for seed in SEEDS:
        ended.clear()
        with Flow() as f:
            f.source = source()
            f.stage = stage(f.source)
            f.last = cancels(f.stage)
        machine = simulate(f, seed=seed)
        assert ended == ["source"]
        assert machine.nodes[0].chunks < 1000
        assert f.last.get_data() == (0,)


def test_rule_59b_a_caught_cancel_with_return_does_not_go_on_upstream() -> None:
    @node(window=0)
    def stage(chunks: Stream[int]) -> Any:
        try:
            yield from chunks
        except StreamCancelled:
            return

    @node
    def cancels(chunks: Stream[int]) -> None:
        next(iter(chunks))
        chunks.cancel()

    for seed in SEEDS:
        with Flow() as f:
            f.source = node(window=0)(numbers)(20)
            f.stage = stage(f.source)
            f.last = cancels(f.stage)
            f.other = listed(f.source)
        simulate(f, seed=seed)
        assert f.other.get_data() == (list(range(20)),)


def test_rule_59c_a_cancelled_generator_may_set_its_final_value() -> None:
    @node(window=0)
    def source() -> Any:
        try:
            yield from range(20)
        except StreamCancelled:
            raise StopAsyncIteration("stopped early") from None

    @node
    def cancels(chunks: Stream[int]) -> None:
        next(iter(chunks))
        chunks.cancel()

    for seed in SEEDS:
        with Flow() as f:
            f.source = source()
            f.last = cancels(f.source)
        simulate(f, seed=seed)
        assert f.source.get_data() == ("stopped early",)


def test_rule_59d_a_producer_may_decline_and_go_on_for_the_others() -> None:
    @node(window=0)
    def source() -> Any:
        for index in range(6):
            try:
                yield index
            except StreamCancelled:
                yield -1

    @node
    def cancels(chunks: Stream[int]) -> None:
        next(iter(chunks))
        chunks.cancel()

    for seed in SEEDS:
        with Flow() as f:
            f.source = source()
            f.cancels = cancels(f.source)
            f.stays = listed(f.source)
        simulate(f, seed=seed)
        (seen,) = f.stays.get_data()
        assert [chunk for chunk in seen if chunk >= 0] == list(range(6))
        assert seen.count(-1) == 1


def test_rule_62_the_input_of_a_cancelled_node_is_readable_until_it_cancels_it() -> None:
    @node(window=0)
    def stage(chunks: Stream[int]) -> Any:
        try:
            for chunk in chunks:
                yield chunk
        except StreamCancelled:
            raise StopAsyncIteration(next(iter(chunks))) from None

    @node
    def cancels(chunks: Stream[int]) -> None:
        next(iter(chunks))
        chunks.cancel()

    for seed in SEEDS:
        with Flow() as f:
            f.source = node(window=0)(numbers)(9)
            f.stage = stage(f.source)
            f.last = cancels(f.stage)
        simulate(f, seed=seed)
        assert f.stage.get_data() == (1,)


def test_rule_61_the_next_generation_of_a_cancelled_stream_starts_clean() -> None:
    seen: list[list[int]] = []

    @node(window=0)
    def source(after: Any = None) -> Any:
        yield from range(9)

    @node
    def reader(chunks: Stream[int]) -> int:
        taken = []
        for chunk in chunks:
            taken.append(chunk)
            if chunk == 2:
                chunks.cancel()
        seen.append(taken)
        return len(taken)

    for seed in SEEDS:
        seen.clear()
        with Flow() as f:
            f.source = source(f.reader)
            f.reader = reader(f.source)
        simulate(f, seed=seed, stop={f.reader: (3,)})
        assert seen == [[0, 1, 2]] * 4


def test_rule_52_a_producer_whose_reader_comes_to_rest_for_good_after_it_is_let_go_on_at_once() -> None:
    """``CheckedMachine`` fails the test if a deadlock is there after a turn."""

    @node(window=0, drain=False)
    def parks(chunks: Stream[int]) -> Any:
        yield 0  # nobody reads it, so this is where it stays
        yield from chunks

    for seed in SEEDS:
        with Flow() as f:
            f.source = node(window=0)(numbers)(4)
            f.parks = parks(f.source)
            f.listed = listed(f.source)
        machine = simulate(f, seed=seed)
        assert f.listed.get_data() == ([0, 1, 2, 3],)
        assert machine.outcome == Done(("parks",))


@pytest.mark.parametrize("window", WINDOWS)
def test_rule_53_a_generator_that_is_not_to_drain_stays_after_chunk_0(window: int) -> None:
    with Flow() as f:
        f.source = node(window=window, drain=False)(numbers)(9)
    machine = simulate(f)
    assert machine.outcome == Done(("source",))
    assert f.source.get_data() is None
    assert f.source.get_data(1) == (0,)
    assert machine.nodes[0].chunks == 1


@pytest.mark.parametrize("window", WINDOWS)
def test_rule_54_the_state_of_a_stream_is_dropped_when_it_was_read_and_is_final(window: int) -> None:
    @node(window=window)
    def source(after: Any = None) -> Any:
        yield from range(3)

    @node
    def first_only(chunks: Stream[int]) -> int:
        return next(chunks)

    for seed in SEEDS:
        with Flow() as f:
            f.source = source(f.total)
            f.total = listed(f.source)
            f.leaves = first_only(f.source)
        machine = simulate(f, seed=seed, stop={f.total: (20,)})
        assert machine.outcome == LimitReached("total", (20,))
        for edge in machine.nodes[0].streams_out:
            assert len(edge.readings) <= 3  # of the 20 generations


def test_rule_63_a_generator_that_yields_after_it_was_closed_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @node
    def clings() -> Any:
        try:
            yield 1
            yield 2
        except GeneratorExit:
            yield 3

    @node
    def reads_one(chunks: Stream[int]) -> int:
        return next(chunks)

    with Flow() as f:
        f.clings = clings()
        f.one = reads_one(f.clings)
    report = f.run(workers=0)
    assert report.unfinished == ("clings",)
    assert f.one.get_data() == (1,)
    (message,) = (record.getMessage() for record in caplog.records)
    assert message.startswith(f"node 'clings' ({__file__}:")
    assert message.endswith("it raised RuntimeError('generator ignored GeneratorExit')")


def test_rule_59_a_generator_that_declines_every_cancel_is_left_behind_when_all_have_left() -> None:
    @node
    def stubborn() -> Any:
        count = 0
        while True:
            count += 1
            try:
                yield count
            except StreamCancelled:
                pass

    @node
    def cancels(chunks: Stream[int]) -> int:
        first = next(chunks)
        chunks.cancel()
        return first

    for seed in SEEDS:
        with Flow() as f:
            f.stubborn = stubborn()
            f.one = cancels(f.stubborn)
        machine = simulate(f, seed=seed)
        assert machine.outcome == Done(("stubborn",))
        assert f.one.get_data() == (1,)
