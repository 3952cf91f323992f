"""What instruments are told while a flow runs (SEMANTICS 84, 86, 68)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import pytest

from executor.body import Stream
from executor.pool import Pool
from orchestrator.errors import NotEnoughResources
from orchestrator.graph.flow import Flow
from orchestrator.graph.node import node
from orchestrator.instruments import FlowInstrument, current_instrument
from orchestrator.runtime.errors import TerminateLimitReached
from orchestrator.runtime.status import Error, Executing, Queued, Stalled, Waiting


@node
def one() -> int:
    return 1


@node
def increment(x: int = 0) -> int:
    return x + 1


@node
def numbers(count: int) -> Any:
    yield from range(count)


@node
def total(chunks: Stream[int]) -> int:
    return sum(chunks)


@node
def fails_after(count: int) -> Any:
    yield from range(count)
    raise ValueError("enough")


class Recorder(FlowInstrument):
    """Logs (hook without its prefix, node, what else); nodes by the flow's attribute that holds them."""

    def __init__(self) -> None:
        self.log: list[tuple[Any, ...]] = []

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("on_"):
            return super().__getattribute__(name)
        if name == "on_barrier_node_write":
            return lambda flow, node, level: self._within(flow, "barrier_write", node, level)
        return lambda flow, *rest: self.log.append(
            (name.removeprefix("on_"), *(self._shown(flow, each) for each in rest))
        )

    # Overridden, so that data is unpickled for it.
    def on_node_emitted_data(self, flow: Flow, node: Any, data: Any, run_level: int) -> None: ...

    def node_lifecycle(self, flow: Flow, node: Any, run_level: int) -> Any:
        return self._within(flow, "life", node, run_level)

    @contextmanager
    def _within(self, flow: Flow, what: str, node: Any, level: int) -> Iterator[None]:
        self.log.append((f"{what} begins", self._shown(flow, node), level))
        yield
        self.log.append((f"{what} ends", self._shown(flow, node), level))

    def _shown(self, flow: Flow, value: Any) -> Any:
        if isinstance(value, list):
            return [self._shown(flow, each) for each in value]
        return next((name for name, held in vars(flow).items() if held is value), value)

    def of(self, *hooks: str) -> list[tuple[Any, ...]]:
        return [entry for entry in self.log if entry[0] in hooks]


def test_rule_84_a_chain_tells_each_step_in_order() -> None:
    with Flow() as f:
        f.one = one()
        f.two = increment(f.one)
    with Recorder() as recorder:
        f.run(workers=0)
    assert [entry for entry in recorder.log if entry[0] != "node_status_change"] == [
        ("flow_start",),
        ("node_registered", "one"),
        ("node_registered", "two"),
        ("resolution_queue_put", "one"),
        ("solving_nodes", "one", ["one"]),
        ("solving_nodes", "two", []),
        ("resolution_queue_get", "one"),
        ("node_visited", "one"),
        ("life begins", "one", 0),
        ("life ends", "one", 0),
        ("node_emitted_data", "one", (1,), 0),
        ("resolution_queue_put", "two"),
        ("resolution_queue_get", "two"),
        ("node_visited", "two"),
        ("barrier_node_read", "two", 0),
        ("life begins", "two", 0),
        ("life ends", "two", 0),
        ("node_emitted_data", "two", (2,), 0),
        ("flow_end",),
    ]


def test_rule_86_a_node_s_status_goes_from_waiting_over_queued_to_executing_and_back() -> None:
    with Flow() as f:
        f.two = increment(one())
    with Recorder() as recorder:
        f.run(workers=0)
    changes = [entry[2:] for entry in recorder.of("node_status_change") if entry[1] == "two"]
    assert changes == [
        (Waiting(0), Queued()),
        (Queued(), Executing()),
        (Executing(), Waiting(0)),
    ]


def test_rule_84_streams_tell_of_their_start_each_chunk_their_end_and_their_stalls() -> None:
    with Flow() as f:
        f.numbers = numbers(2)
        f.total = total(f.numbers)
    with Recorder() as recorder:
        f.run(workers=0)
    hooks = ("stream_start", "stream_next", "stream_end", "node_emitted_data", "node_stalled")
    assert recorder.of(*hooks) == [
        ("node_emitted_data", "numbers", (0,), 1),
        ("stream_start", "total", "chunks"),
        ("stream_next", "total", "chunks"),
        ("node_stalled", "total", "chunks"),
        ("node_emitted_data", "numbers", (1,), 1),
        ("stream_next", "total", "chunks"),
        ("node_stalled", "total", "chunks"),
        ("stream_end", "total", "chunks"),
        ("node_emitted_data", "numbers", (1,), 0),
        ("node_emitted_data", "total", (1,), 0),
    ]
    assert (
        recorder.of("node_pause", "barrier_write begins", "barrier_write ends")
        == [
            ("node_pause", "numbers", 1),
            ("barrier_write begins", "numbers", 1),
            ("barrier_write ends", "numbers", 1),
        ]
        * 2
    )
    assert ("node_status_change", "total", Executing(), Stalled("chunks")) in recorder.log
    assert ("node_status_change", "numbers", Executing(), Waiting(1)) in recorder.log
    assert ("node_resumed", "total", 0) in recorder.log
    assert ("node_resumed", "numbers", 1) in recorder.log
    lives = recorder.of("life begins", "life ends")
    assert [entry for entry in lives if entry[1] == "numbers"] == [
        ("life begins", "numbers", 0),
        *[("life begins", "numbers", 1), ("life ends", "numbers", 1)] * 3,
        ("life ends", "numbers", 0),
    ]


def test_rule_84_a_cycle_tells_of_the_defaults_it_begins_on_and_of_its_limit() -> None:
    with Flow() as f:
        f.count = increment(f.count)
    with Recorder() as recorder, pytest.raises(TerminateLimitReached):
        f.run_until_complete({f.count: (2,)}, workers=0)
    assert recorder.of("defaulted_inputs") == [("defaulted_inputs", "count", ["x"])]
    assert recorder.of("barrier_node_read") == [("barrier_node_read", "count", 0)] * 2
    assert recorder.of("node_generation_limit") == [("node_generation_limit", "count", (2,))]
    assert recorder.log[-1] == ("flow_end",)


def test_rule_84_waiting_at_barrier_0_is_told_of() -> None:
    @node
    def both(fast: int, slow: int) -> int:
        return fast + slow

    with Flow() as f:
        f.fast = increment(f.fast)
        f.slow = total(numbers(3))
        f.both = both(f.fast, f.slow)
    with Recorder() as recorder:
        f.run(workers=0, stop_at_node_generation={f.both: (0,)})
    assert ("barrier_write begins", "fast", 0) in recorder.log


def test_rule_84_errors_and_streams_that_break_off_are_told_of() -> None:
    with Flow() as f:
        f.source = fails_after(1)
        f.total = total(f.source)
    with Recorder() as recorder, pytest.raises(ValueError, match="enough"):
        f.run(workers=0, terminate_on_node_error=False)
    errors = recorder.of("node_error")
    assert [(entry[1], type(entry[2]).__name__) for entry in errors] == [
        ("source", "ValueError"),
        ("total", "UpstreamFailed"),
    ]
    assert recorder.of("stream_error") == [("stream_error", "total", "chunks", "ValueError: enough")]
    assert ("node_status_change", "source", Executing(), Error()) in recorder.log


def test_rule_84_only_the_innermost_instrument_is_told() -> None:
    with Flow() as f:
        f.one = one()
    with Recorder() as outer:
        with Recorder() as inner:
            assert current_instrument() is inner
            f.run(workers=0)
        assert current_instrument() is outer
    assert current_instrument() is None
    assert inner.log
    assert not outer.log


def test_one_instrument_may_be_installed_in_several_threads_at_a_time() -> None:
    recorder = Recorder()
    is_entered, may_leave = Event(), Event()
    found = []

    def stay() -> None:
        with recorder:
            is_entered.set()
            may_leave.wait()
        found.append(current_instrument())

    staying = Thread(target=stay)
    staying.start()
    is_entered.wait()
    with recorder:
        may_leave.set()
        staying.join()
        assert current_instrument() is recorder
    assert (found, current_instrument()) == ([None], None)


def test_rule_84_nothing_is_told_of_a_run_that_does_not_begin(pool: Pool) -> None:
    @node(cpus=1_000)
    def greedy() -> None: ...

    with Flow() as f:
        f.greedy = greedy()
    with Recorder() as recorder, pytest.raises(NotEnoughResources):
        f.run(pool=pool)
    assert not recorder.log


def test_rule_68_what_a_hook_raises_ends_the_run() -> None:
    class Broken(FlowInstrument):
        ended = False

        def on_node_visited(self, flow: Flow, node: Any) -> None:
            raise ZeroDivisionError("in the hook")

        def on_flow_end(self, flow: Flow) -> None:
            self.ended = True

    with Flow() as f:
        f.two = increment(one())
    with Broken() as broken, pytest.raises(ZeroDivisionError, match="in the hook"):
        f.run(workers=0)
    assert broken.ended


def test_hidden_nodes_are_not_told_of_and_maps_are() -> None:
    with Flow() as f:
        f.mapped = increment.map(numbers(3))
        f.last = increment(f.mapped)
    with Recorder() as recorder, pytest.raises(TypeError):
        f.run(workers=0)  # a list cannot be incremented
    told = {entry[1] for entry in recorder.of("node_visited")}
    assert "mapped" in told
    assert all(shown == "mapped" or "fold" not in str(shown) for shown in told)
    emitted = [entry for entry in recorder.of("node_emitted_data") if entry[1] == "mapped"]
    assert [entry[2] for entry in emitted if entry[3] == 1] == [(1,), (2,), (3,)]


def test_rule_84_with_workers_the_same_values_are_told_of(pool: Pool) -> None:
    with Flow() as f:
        f.numbers = numbers(3)
        f.total = total(f.numbers)
    with Recorder() as recorder:
        f.run(pool=pool)
    told = recorder.of("node_emitted_data")
    assert [entry[2:] for entry in told if entry[1] == "numbers"] == [
        ((0,), 1),
        ((1,), 1),
        ((2,), 1),
        ((3,), 0),
    ]
    assert ("node_emitted_data", "total", (3,), 0) in told
    assert len(recorder.of("stream_next")) == 3
