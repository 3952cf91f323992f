"""Classes as nodes: their state over runs, failures, deaths and placements (rule 37, 16.1, B25)."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from executor.body import SKIP, Stream
from executor.errors import WorkerCrashed
from executor.pool import Pool
from orchestrator import keeping
from orchestrator.errors import NotSerializableError, StateNotAvailable
from orchestrator.event_loop import AsyncQueue, sleep
from orchestrator.graph.flow import Flow
from orchestrator.graph.node import node
from orchestrator.running import run_flow
from orchestrator.runtime.errors import NodeError
from tests.runtime.simulation import simulate


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(2) as shared:
        shared.wait_ready()
        yield shared


@pytest.fixture(params=["inline", "process"])
def place(request: pytest.FixtureRequest, pool: Pool) -> dict[str, Any]:
    """The options of ``Flow.run`` that place the nodes."""
    return {"workers": 0} if request.param == "inline" else {"pool": pool}


class Counter:
    total: int = 0
    log: list[int] = []  # noqa: RUF012 - each node gets a copy

    def call(self, x: int = 0) -> int:
        self.total += 1
        self.log.append(x)
        if x == 3:
            raise ValueError("three")
        return self.total


counter: Any = node(Counter)


def looped(template: Any = counter) -> Flow:
    with Flow() as f:
        f.a = template(f.a)
    return f


def run_to(flow: Flow, generation: int, **place: Any) -> None:
    flow.run(stop_at_node_generation={flow.a: (generation,)}, **place)


def test_16_1_the_state_after_the_last_run_is_read_and_the_next_run_goes_on_from_it(
    place: dict[str, Any],
) -> None:
    f = looped()
    run_to(f, 1, **place)
    assert (f.a.total, f.a.log, f.a.get_data()) == (2, [0, 1], (2,))
    run_to(f, 0, **place)
    assert (f.a.total, f.a.log, f.a.get_data()) == (3, [0, 1, 0], (3,))


def test_16_1_what_is_set_is_there_when_the_next_run_starts(place: dict[str, Any]) -> None:
    f = looped()
    f.a.total = 10
    f.a.extra = "kept"
    run_to(f, 1, **place)
    assert (f.a.total, f.a.log, f.a.extra) == (12, [0, 11], "kept")
    f.a.log = []
    assert (f.a.total, f.a.log) == (12, [])
    run_to(f, 0, **place)
    assert (f.a.total, f.a.log) == (13, [0])


def test_rule_37_nodes_of_one_class_share_nothing_b25(place: dict[str, Any]) -> None:
    with Flow() as f:
        f.a = counter(10)
        f.b = counter(20)
    f.b.total = 5
    f.run(**place)
    assert (f.a.total, f.a.log) == (1, [10])
    assert (f.b.total, f.b.log) == (6, [20])
    assert Counter.log == []


def test_a_failed_run_leaves_the_state_as_it_was(place: dict[str, Any]) -> None:
    f = looped()
    f.a.total = 1
    with pytest.raises(ValueError, match="three"):
        run_to(f, 9, **place)
    assert (f.a.total, f.a.log) == (3, [0, 2])
    run_to(f, 0, **place)
    assert (f.a.total, f.a.log) == (4, [0, 2, 0])


def test_what_was_set_stays_set_until_a_run_has_committed_it(place: dict[str, Any]) -> None:
    with Flow() as f:
        f.a = counter(3)
    f.a.log = [1]
    for _ in range(2):
        with pytest.raises(ValueError, match="three"):
            f.run(**place)
        assert (f.a.total, f.a.log) == (0, [1])


def test_a_flow_may_change_its_placement_between_runs(pool: Pool) -> None:
    f = looped()
    places: list[dict[str, Any]] = [{"workers": 0}, {"pool": pool}, {"workers": 0}]
    for runs, place in enumerate(places, start=1):
        run_to(f, 0, **place)
        assert (f.a.total, f.a.log) == (runs, [0] * runs)


def test_parts_that_know_their_whole_know_it_in_the_next_run_of_the_flow_too(
    place: dict[str, Any],
) -> None:
    class Whole:
        def __init__(self) -> None:
            self.total = 0
            self.callbacks = [self.add]

        def add(self) -> None:
            self.total += 1

        def call(self) -> int:
            for callback in self.callbacks:
                callback()
            return self.total

    with Flow() as f:
        f.a = node(Whole)()
    for runs in (1, 2, 3):
        f.run(**place)
        assert (f.a.get_data(), f.a.total) == ((runs,), runs)


def test_skipped_runs_commit_their_state_too(place: dict[str, Any]) -> None:
    class Skips:
        runs = 0

        def call(self) -> Any:
            self.runs += 1
            return SKIP

    with Flow() as f:
        f.a = node(Skips)()
    f.run(**place)
    assert f.a.runs == 1


def test_nothing_is_set_while_the_flow_runs_and_what_is_read_is_committed() -> None:
    f = looped()
    seen: set[int] = set()

    def observe(machine: Any) -> None:
        seen.add(f.a.total - machine.nodes[0].runs)
        with pytest.raises(RuntimeError, match="cannot be set while the flow runs"):
            f.a.total = 1

    run_flow(f, workers=0, stop_at_node_generation={f.a: (2,)}, observe=observe)
    assert seen == {0}
    f.a.total = 1


def test_one_flow_with_state_does_not_run_twice_at_a_time() -> None:
    f = looped()

    def observe(machine: Any) -> None:
        if machine.nodes[0].runs == 0:
            with pytest.raises(RuntimeError, match="running already, and node 'a' has one state"):
                f.run(workers=1)

    run_flow(f, workers=0, stop_at_node_generation={f.a: (1,)}, observe=observe)


def test_in_a_thread_the_state_is_the_same(pool: Pool) -> None:
    threaded = node(placement="thread")(Counter)
    f = looped(threaded)
    f.a.total = 1
    with pytest.raises(ValueError, match="three"):
        run_to(f, 9, pool=pool)
    assert (f.a.total, f.a.log) == (3, [0, 2])
    run_to(f, 0, pool=pool)
    assert (f.a.total, f.a.log) == (4, [0, 2, 0])


class Moody:
    """Changes its state in place and by assignment, and fails at some of its runs."""

    log: list[list[int]] = []  # noqa: RUF012 - each node gets a copy
    fails_at: int = -1
    runs: int = 0

    def call(self, x: int = 0) -> int:
        self.runs += 1
        self.log.append([x])
        self.log[-1].append(self.runs)
        if self.runs == self.fails_at:
            raise ValueError(self.runs)
        return self.runs


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_done_to_a_state_it_is_the_same_in_every_placement(seed: int, pool: Pool) -> None:
    def history(f: Flow, place: dict[str, Any]) -> list[object]:
        draw = random.Random(seed)
        seen: list[object] = []
        for _ in range(8):
            f.a.fails_at = f.a.runs + draw.randint(0, 4)
            if draw.random() < 0.3:
                f.a.log = f.a.log[1:]
            try:
                run_to(f, draw.randint(0, 3), **place)
            except ValueError as error:
                seen.append(error.args)
            seen.append((f.a.runs, f.a.log, f.a.fails_at, f.a.get_data()))
        return seen

    expected = history(looped(node(Moody)), {"workers": 0})
    assert history(looped(node(Moody)), {"pool": pool}) == expected
    assert history(looped(node(placement="thread")(Moody)), {"pool": pool}) == expected


# -- kinds of classes -------------------------------------------------------------------------------


def test_b25_a_class_may_have_several_outputs(place: dict[str, Any]) -> None:
    class Divide:
        calls = 0

        def call(self, x: int, y: int) -> tuple[int, int]:
            self.calls += 1
            return divmod(x, y)

    with Flow() as f:
        f.parts = node(multiple_outputs=True)(Divide)(17, 5)
        f.a = counter(f.parts.output(1))
    f.run(**place)
    assert (f.parts.get_data(), f.parts.calls, f.a.log) == ((3, 2), 1, [2])


def test_generators_and_async_bodies_keep_state(place: dict[str, Any]) -> None:
    class Numbers:
        made = 0

        def call(self, count: int) -> Any:
            for number in range(count):
                self.made += 1
                yield number

    class AsyncNumbers:
        made = 0

        async def call(self, numbers: Stream[int]) -> Any:
            async for number in numbers:
                self.made += 1
                yield number * 10

    class Total:
        total = 0

        async def call(self, numbers: Stream[int]) -> int:
            async for number in numbers:
                self.total += number
            return self.total

    with Flow() as f:
        f.numbers = node(Numbers)(4)
        f.tens = node(AsyncNumbers)(f.numbers)
        f.total = node(Total)(f.tens)
    for runs in (1, 2):
        f.run(**place)
        assert (f.numbers.made, f.tens.made, f.total.total) == (4 * runs, 4 * runs, 60 * runs)


class Largest:
    folds = 0

    def call(self) -> Any:
        yield from (3, 9, 4)

    def accumulate_streamed_data(self, largest: int, chunk: int) -> int:
        self.folds += 1
        return max(largest, chunk)


class Both:
    def call(self) -> Any:
        yield 1, "a"
        yield 2, "b"

    @classmethod
    def accumulate_streamed_data(cls, sums: tuple[int, str], chunk: tuple[int, str]) -> Any:
        return sums[0] + chunk[0], max(sums[1], chunk[1])


def test_rule_37_a_class_adds_its_chunks_up_itself(place: dict[str, Any]) -> None:
    with Flow() as f:
        f.largest = node(Largest)()
        f.both = node(multiple_outputs=True)(Both)()
    f.run(**place)
    assert (f.largest.get_data(), f.largest.folds, f.both.get_data()) == ((9,), 2, (3, "b"))


# -- what cannot be kept ----------------------------------------------------------------------------


class Locked:
    calls = 0

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def call(self, _: Any = None) -> int:
        self.calls += 1
        return self.calls


def test_a_state_that_cannot_leave_its_worker_is_an_error_with_both_cures(pool: Pool) -> None:
    with Flow() as f:
        f.a = node(Locked)()
    with pytest.raises(NodeError) as caught:
        f.run(pool=pool)
    assert "its state cannot go from one run to the next: self.lock cannot be" in str(caught.value)
    assert 'state="resident"' in str(caught.value)


def test_inline_a_state_that_does_not_pickle_is_kept_all_the_same(pool: Pool) -> None:
    f = looped(node(Locked))
    run_to(f, 0, workers=0)
    run_to(f, 1, workers=0)
    assert f.a.calls == 3
    with pytest.raises(NotSerializableError, match=r"the state of node 'a' .*lock"):
        run_to(f, 0, pool=pool)


def test_resident_state_lives_as_long_as_the_flow_runs(place: dict[str, Any]) -> None:
    f = looped(node(state="resident")(Locked))
    f.a.calls = 10
    run_to(f, 2, **place)
    assert f.a.get_data() == (13,)
    with pytest.raises(StateNotAvailable, match="never leaves the place where the node runs"):
        _ = f.a.calls
    run_to(f, 1, **place)
    assert f.a.get_data() == (2,)


def test_inline_a_queue_that_nodes_share_is_the_same_in_each_run_of_the_flow() -> None:
    shared: AsyncQueue[int] = AsyncQueue()

    class Puts:
        def __init__(self) -> None:
            self.queue = shared

        async def call(self) -> None:
            await self.queue.put(1)

    with Flow() as f:
        f.a = node(Puts)()
    for runs in (1, 2):
        f.run(workers=0)
        assert len(shared) == runs


def test_heavy_state_is_worth_a_word(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keeping, "HEAVY_BYTES", 3 << 20)
    f = looped()
    f.a.ballast = bytes(1 << 20)
    run_to(f, 1, workers=0)
    assert caplog.messages == []
    f.a.total = 10
    run_to(f, 2, workers=0)
    assert caplog.messages[0].startswith(
        "the state of node 'a' was pickled after each of its runs, 3 MiB"
    )


def test_what_is_set_and_cannot_travel_is_refused_before_anything_runs(pool: Pool) -> None:
    f = looped()
    f.a.log = [threading.Lock()]
    with pytest.raises(NotSerializableError, match=r"the state of node 'a' .*\['log'\]\[0\]"):
        run_to(f, 0, pool=pool)
    f.a.log = []
    run_to(f, 0, pool=pool)


def test_after_the_death_of_its_worker_the_last_committed_state_is_read() -> None:
    class Dies:
        runs = 0

        def call(self, x: int = 0) -> int:
            self.runs += 1
            if self.runs == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return x

    f = looped(node(Dies))
    with pytest.raises(WorkerCrashed):
        run_to(f, 9, workers=1)
    assert f.a.runs == 2


def test_a_state_that_cannot_be_restored_elsewhere_is_an_error_that_names_the_node(pool: Pool) -> None:
    class Rooted:
        runs = 0

        def __init__(self) -> None:
            self.home = os.getpid()

        def __setstate__(self, state: dict[str, Any]) -> None:
            if state["home"] != os.getpid():
                raise LookupError("made for another process")
            vars(self).update(state)

        def call(self, x: int = 0) -> int:
            self.runs += 1
            if self.runs == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return x

    f = looped(node(Rooted))
    told = r"node 'a'.*run 2: .*state cannot go .*__setstate__\(\) raised LookupError: made for another"
    with pytest.raises(NodeError, match=told):
        run_to(f, 9, workers=1)
    assert f.a.runs == 2  # what was committed last is read here all the same


@pytest.mark.parametrize("state", ["checkpoint", "resident"])
def test_a_worker_that_dies_between_two_runs_of_a_node_takes_resident_state_only_with_it(
    state: Any,
) -> None:
    class Remembers:
        runs = 0

        def call(self, _: object) -> tuple[int, int]:
            self.runs += 1
            return self.runs, os.getpid()

    async def kills(last: tuple[int, int] = (0, 0)) -> None:
        if last[0] == 2:
            os.kill(last[1], signal.SIGKILL)
            while psutil.pid_exists(last[1]):
                await sleep(0.01)
            await sleep(0.5)  # its pool has heard of it by now, and sends no more work there

    with Flow() as f:
        f.a = node(state=state)(Remembers)(f.b)
        f.b = node(placement="inline")(kills)(f.a)
    if state == "checkpoint":
        run_to(f, 3, workers=1)
        assert (f.a.runs, f.a.get_data()[0][0]) == (4, 4)
    else:
        with pytest.raises(NodeError, match=r'run 2: .* the worker that held it .*="checkpoint"'):
            run_to(f, 3, workers=1)


# -- schedules --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_16_1_result_and_state_are_committed_together_in_any_order_of_messages(seed: int) -> None:
    with Flow() as f:
        f.a = counter(f.b)
        f.b = counter(f.a)
    f.a.total = 100
    machine = simulate(f, seed=seed, stop={f.b: (4,)})
    for number, made in enumerate((f.a, f.b)):
        assert made.get_data() == (made.total,)
        assert len(made.log) == machine.nodes[number].runs
