"""The machine that checks the invariants sees each of them broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from executor.body import Stream
from orchestrator.graph.flow import Flow
from orchestrator.graph.node import node
from orchestrator.runtime.outcome import Deadlocked, Done, TimedOut
from orchestrator.runtime.state import FinalEdge
from protocol.messages import AttemptKey, NodeId, RunId
from protocol.values import Local
from tests.runtime.checked import CheckedMachine
from tests.runtime.simulation import job_of


@node
def numbers() -> Any:
    yield from range(9)


@node
def total(chunks: Stream[int]) -> int:
    return sum(chunks)


class SilentHost:
    """Takes every verb, does nothing and reports nothing."""

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        return lambda *_: None


@pytest.fixture
def machine() -> Iterator[CheckedMachine]:
    """A generator and its reader, the generator started; with window 8."""
    with Flow() as f:
        f.numbers = node(window=8)(numbers.__wrapped__)()
        f.total = total(f.numbers)
    made = CheckedMachine(job_of(f), RunId(1), SilentHost())
    made.begin()
    made.settle()
    yield made
    CheckedMachine.made.remove(made)


SOURCE = AttemptKey(RunId(1), NodeId(0), 0)
READER = AttemptKey(RunId(1), NodeId(1), 0)


def chunks(machine: CheckedMachine, first: int, count: int) -> None:
    machine.chunks(SOURCE, first, count, 1, [Local(index) for index in range(count)])
    machine.settle()


def test_i2_a_chunk_that_is_left_out_is_seen(machine: CheckedMachine) -> None:
    chunks(machine, 0, 2)
    with pytest.raises(AssertionError, match="I2: chunk 3"):
        chunks(machine, 3, 1)


def test_i2_a_chunk_that_comes_twice_is_seen(machine: CheckedMachine) -> None:
    chunks(machine, 0, 2)
    with pytest.raises(AssertionError, match="I2: chunk 1"):
        chunks(machine, 1, 1)


def test_i2_an_end_that_counts_other_chunks_is_seen(machine: CheckedMachine) -> None:
    chunks(machine, 0, 2)
    with pytest.raises(AssertionError, match=r"I2: .* says it emitted 3"):
        machine.completed(SOURCE, 3, 0.0, [Local(0)], None)


def test_i2_a_second_end_is_seen(machine: CheckedMachine) -> None:
    machine.completed(SOURCE, 0, 0.0, [Local(0)], None)
    with pytest.raises(AssertionError, match=r"I2: .* ended twice"):
        machine.completed(SOURCE, 0, 0.0, [Local(0)], None)


def test_i3_a_value_written_before_the_last_was_read_is_seen() -> None:
    @node
    def increment(x: int = 0) -> int:
        return x + 1

    with Flow() as f:
        f.count = increment(f.count)
    machine = CheckedMachine(job_of(f), RunId(1), SilentHost())
    CheckedMachine.made.remove(machine)
    [edge] = machine.edges
    assert isinstance(edge, FinalEdge)
    edge.producer.runs = 2  # and its reader has not started
    with pytest.raises(AssertionError):
        machine.check()


def test_i4_a_producer_that_is_too_far_ahead_is_seen(machine: CheckedMachine) -> None:
    chunks(machine, 0, 1)
    [edge] = machine.nodes[0].streams_out
    edge.capacity = 0
    with pytest.raises(AssertionError):
        machine.check()


def test_i5_a_node_that_overlaps_itself_is_seen(machine: CheckedMachine) -> None:
    source = machine.nodes[0]
    with pytest.raises(AssertionError, match="I5"):
        machine.invoke(source, AttemptKey(RunId(1), NodeId(0), 1), [], 1)


def test_i6_a_node_of_an_acyclic_flow_that_ran_twice_is_seen(machine: CheckedMachine) -> None:
    machine.live.clear()
    machine.outcome = Done(())
    for each in machine.nodes:
        each.run = None
        each.runs = 2
    with pytest.raises(AssertionError, match="I6: numbers ran 2 times"):
        machine.check_end()


def test_i7_a_rest_without_an_outcome_is_seen(machine: CheckedMachine) -> None:
    with pytest.raises(AssertionError, match="I7"):
        machine.check_end()


def test_i8_a_chunk_for_a_reader_that_has_cancelled_is_seen(machine: CheckedMachine) -> None:
    chunks(machine, 0, 1)
    machine.cancel_stream(READER, 0)
    with pytest.raises(AssertionError, match="I8: a chunk after the cancel"):
        machine._host.deliver(READER, 0, 1, [Local(1)])


def test_i8_a_throw_that_no_reader_asked_for_is_seen(machine: CheckedMachine) -> None:
    with pytest.raises(AssertionError, match="I8: more throws"):
        machine._host.throw_cancel(SOURCE)


def test_i9_an_attempt_that_is_left_with_its_host_is_seen(machine: CheckedMachine) -> None:
    machine.stop(TimedOut(1.0, ()))
    with pytest.raises(AssertionError, match="I9"):
        machine.check_end()


def test_rule_65_unmet_demand_is_an_error_also_where_no_cycle_of_waits_is_found(
    machine: CheckedMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the reason: a flow that cannot go on says so instead of waiting for ever."""
    monkeypatch.setattr(machine._repair, "look_at_suspects", lambda *_, **__: False)
    machine._come_to_rest()
    assert isinstance(machine.outcome, Deadlocked)
    assert machine.outcome.cycle == ()
