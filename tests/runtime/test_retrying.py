"""Runs that are tried again: after the loss of a worker, and after an error (FAULTS P1, P2, F1, F8)."""

from __future__ import annotations

import itertools
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from executor.body import Stream, StreamCancelled
from executor.errors import PoisonTask, WorkerCrashed
from executor.host import LossReason, WorkerLoss
from executor.losses import error_of
from executor.oom import OomWatch
from executor.pool import Pool
from executor.retry import OTHER_LOSSES_LIMIT, RetryPolicy
from orchestrator.graph.flow import Flow
from orchestrator.graph.node import node
from orchestrator.runtime.errors import NonDeterministicReplay
from orchestrator.runtime.outcome import Done, LimitReached, NodeFailed, NodeLost, Replayed
from orchestrator.runtime.retrying import AT_ONCE, Tries, after_loss
from orchestrator.spec import RetrySpec
from tests.runtime.crashing import simulate_crashes
from tests.runtime.graphs import stream_flow, values_of
from tests.runtime.simulation import simulate

SEEDS = range(60)


@pytest.mark.parametrize("window", [0, 1, 8])
def test_p2_random_stream_graphs_give_the_same_whatever_dies(window: int) -> None:
    retried = 0
    for seed in range(60):
        undisturbed = simulate(reference := stream_flow(seed, window), seed=seed).outcome
        assert isinstance(undisturbed, Done)
        machine = simulate_crashes(flow := stream_flow(seed, window), seed=seed)
        assert isinstance(machine.outcome, Done), (seed, machine.outcome)
        given, expected = values_of(flow), values_of(reference)
        for name in (*machine.outcome.unfinished, *undisturbed.unfinished):
            # How far a generator has come that its readers have left depends on the schedule (rule 51).
            given.pop(name, None)
            expected.pop(name, None)
        assert given == expected, seed
        retried += sum(each.retries for each in machine.nodes)
    assert retried > 60


class Counter:
    total = 0

    def call(self, n: int = 1) -> int:
        self.total += n
        return self.total


counter = node(Counter)


def test_a_checkpointed_class_goes_on_from_its_last_committed_state() -> None:
    for seed in SEEDS:
        with Flow() as f:
            f.count = counter(f.count)
        machine = simulate_crashes(f, seed=seed, stop={f.count: (6,)}, crashes=4)
        assert machine.outcome == LimitReached("count", (6,))
        assert f.count.get_data() == (64,)


@node
def numbers(count: int) -> Any:
    yield from range(count)


@node
def first_of(chunks: Stream[int], count: int) -> list[int]:
    taken = []
    for chunk in chunks:
        taken.append(chunk)
        if len(taken) == count:
            chunks.cancel()
    return taken


@node
def declines_once(count: int) -> Any:
    declined = 0
    for index in range(count):
        try:
            yield index
        except StreamCancelled:
            declined += 1
            if declined > 1:
                return -index
            yield 100 + index
    return -1000


@node
def listed(chunks: Stream[int]) -> list[int]:
    return list(chunks)


def test_p2_a_cancelled_stream_is_cancelled_again_at_the_same_chunk() -> None:
    for seed in SEEDS:
        with Flow() as f:
            f.numbers = numbers(30)
            f.first = first_of(f.numbers, 3)
            f.all = listed(f.numbers)
        machine = simulate_crashes(f, seed=seed, crashes=4)
        assert isinstance(machine.outcome, Done)
        assert f.first.get_data() == ([0, 1, 2],)
        (chunks,) = f.all.get_data()
        assert chunks == list(range(len(chunks)))
        assert len(chunks) == machine.nodes[0].chunks


def test_p2_a_declined_cancel_is_thrown_again_where_it_was() -> None:
    for seed in SEEDS:
        with Flow() as f:
            f.source = declines_once(12)
            f.one = first_of(f.source, 2)
            f.two = first_of(f.source, 4)
            f.all = listed(f.source)
        machine = simulate_crashes(f, seed=seed, crashes=4)
        assert isinstance(machine.outcome, Done), (seed, machine.outcome)
        (chunks,) = f.all.get_data()
        assert len(chunks) == machine.nodes[0].chunks
        assert f.one.get_data()[0] == chunks[:2]


@node
def squared(n: int) -> int:
    return n * n


def test_a8_a_map_takes_lost_elements_again_and_keeps_their_order() -> None:
    for seed in SEEDS:
        with Flow() as f:
            f.squares = listed(squared.map(numbers(12), ahead=4))
        machine = simulate_crashes(f, seed=seed, crashes=4)
        assert isinstance(machine.outcome, Done)
        assert f.squares.get_data() == ([n * n for n in range(12)],)


def test_f8_what_kills_every_worker_is_given_up_with_all_that_it_did() -> None:
    outcomes = set()
    for seed in SEEDS:
        with Flow() as f:
            f.all = listed(numbers(40))
        machine = simulate_crashes(f, seed=seed, crashes=9, retry=RetrySpec(loss_attempts=2))
        outcomes.add(type(machine.outcome))
        if isinstance(machine.outcome, NodeLost):
            assert len(machine.outcome.losses) == 2
            assert all(loss.charged for loss in machine.outcome.losses)
    assert outcomes == {Done, NodeLost}


def test_16_8_retries_0_means_at_most_once() -> None:
    with Flow() as f:
        f.all = listed(numbers(40))
    machine = simulate_crashes(f, seed=3, crashes=1, retry=RetrySpec(loss_attempts=1))
    assert isinstance(machine.outcome, NodeLost)


_moods = iter(range(10_000))


@node
def moody(count: int) -> Any:
    for _ in range(count):
        yield next(_moods)


def test_16_8_a_generator_that_does_not_yield_the_same_again_is_an_error() -> None:
    outcomes = [simulate_crashes(_flow_of(moody), seed=seed, crashes=1).outcome for seed in range(30)]
    assert any(isinstance(outcome, Replayed) for outcome in outcomes)
    assert all(isinstance(outcome, Replayed | Done) for outcome in outcomes)


def _flow_of(source: Any) -> Flow:
    with Flow() as f:
        f.all = listed(source(9))
    return f


class EqualToAll:
    """Never pickles to the same bytes, and is equal all the same."""

    def __init__(self) -> None:
        self.mood = next(_moods)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EqualToAll)

    def __hash__(self) -> int:
        return 0


@node
def equal_ones(count: int) -> Any:
    for _ in range(count):
        yield EqualToAll()


def test_chunks_whose_bytes_differ_are_compared_as_objects() -> None:
    for seed in SEEDS:
        machine = simulate_crashes(_flow_of(equal_ones), seed=seed, crashes=3)
        assert isinstance(machine.outcome, Done), seed


# -- errors ----------------------------------------------------------------------------------------


def fails_at_first(directory: Path, error: type[Exception], times: int) -> int:
    """Counts its attempts by files, which all processes see."""
    attempt = len(list(directory.iterdir()))
    (directory / str(attempt)).touch()
    if attempt < times:
        raise error(f"attempt {attempt}")
    return attempt


def test_an_error_is_tried_again_as_often_as_the_policy_says(pool: Pool, tmp_path: Path) -> None:
    body = node(retries=2)(fails_at_first)
    for index, where in enumerate(({"workers": 0}, {"pool": pool})):
        (directory := tmp_path / str(index)).mkdir()
        with Flow() as f:
            f.node = body(directory, ValueError, 2)
        options: Any = where
        report = f.run(**options)
        assert f.node.get_data() == (2,)
        assert report.nodes["node"].retries == 2


def test_the_error_of_the_last_attempt_counts(pool: Pool, tmp_path: Path) -> None:
    with Flow() as f:
        f.node = node(retries=2)(fails_at_first)(tmp_path, ValueError, 9)
    with pytest.raises(ValueError, match="attempt 2") as caught:
        f.run(pool=pool)
    assert "attempt 2, pid" in caught.value.__notes__[0]
    assert len(list(tmp_path.iterdir())) == 3


def test_only_the_types_that_the_policy_names_are_tried_again(pool: Pool, tmp_path: Path) -> None:
    policy = RetryPolicy(attempts=3, retry_on=(OSError,), delay_s=0.001, jitter=0.5)
    with Flow() as f:
        f.node = node(retry=policy)(fails_at_first)(tmp_path, ValueError, 1)
    with pytest.raises(ValueError, match="attempt 0"):
        f.run(pool=pool)
    with Flow() as f:
        f.node = node(retry=policy)(fails_at_first)(tmp_path, OSError, 2)
    f.run(pool=pool)
    assert f.node.get_data() == (2,)


def test_a_generator_that_fails_is_tried_again_and_its_chunks_come_once() -> None:
    outcomes = set()
    for seed in SEEDS:
        attempts = iter(range(100))

        @node(placement="inline")
        def flaky(count: int, attempts: Any = attempts) -> Any:
            attempt = next(attempts)
            for index in range(count):
                if index == 5 and attempt < 2:
                    raise ValueError(attempt)
                yield index

        with Flow() as f:
            f.all = listed(flaky(9))
        machine = simulate_crashes(f, seed=seed, crashes=0, retry=RetrySpec(attempts=3))
        outcomes.add(type(machine.outcome))
        assert f.all.get_data() == (list(range(9)),)
    assert outcomes == {Done}


def test_a_map_element_that_fails_is_tried_again(pool: Pool, tmp_path: Path) -> None:
    def picky(n: int, directory: Path) -> int:
        if n == 3 and not (directory / "tried").exists():
            (directory / "tried").touch()
            raise ValueError(n)
        return n

    with Flow() as f:
        f.all = listed(node(retries=1)(picky).map(numbers(6), tmp_path))
    report = f.run(pool=pool)
    assert f.all.get_data() == (list(range(6)),)
    assert sum(each.retries for each in report.nodes.values()) == 1


def test_a_policy_s_arguments_are_checked() -> None:
    policy: Any = RetryPolicy
    for name, wrong in (("attempts", 0), ("delay_s", -1), ("backoff", 0.5), ("jitter", float("nan"))):
        with pytest.raises(ValueError, match="must be at least"):
            policy(**{name: wrong})
    wrong_types = ("attempts", True), ("attempts", 1.5), ("delay_s", "1"), ("retry_on", ValueError)
    for name, given in wrong_types:
        with pytest.raises(TypeError, match="must be a"):
            policy(**{name: given})
    with pytest.raises(TypeError, match="either retry= or retries="):
        node(retry=RetryPolicy(), retries=1)(lambda: 1)
    with pytest.raises(TypeError, match="retries must be a number"):
        node(retries="2")(lambda: 1)  # type: ignore[call-overload]


# -- real workers ----------------------------------------------------------------------------------


@node
def dies_once(directory: Path, how: int) -> int:
    attempt = len(list(directory.iterdir()))
    (directory / str(attempt)).touch()
    if attempt == 0:
        os.kill(os.getpid(), how)
    return os.getpid()


def test_f1_a_run_whose_worker_dies_runs_again_on_another(mortal_pool: Pool, tmp_path: Path) -> None:
    with Flow() as f:
        f.node = dies_once(tmp_path, signal.SIGKILL)
    report = f.run(pool=mortal_pool)
    assert f.node.get_data() is not None
    assert report.nodes["node"].retries == 1


@node
def always_dies() -> None:
    os._exit(3)


def test_f8_poison_is_given_up_after_three_workers_and_harms_nobody(mortal_pool: Pool) -> None:
    with Flow() as f:
        f.bad = always_dies()
        f.good = listed(squared.map(numbers(50)))
    with pytest.raises(PoisonTask) as caught:
        f.run(pool=mortal_pool, terminate_on_node_error=False)
    assert [loss.status for loss in caught.value.losses] == [3, 3, 3]
    assert "tried 3 times, and each time its worker died" in str(caught.value)
    assert isinstance(caught.value, WorkerCrashed)
    assert f.good.get_data() == ([n * n for n in range(50)],)


def test_what_ends_workers_without_being_seen_is_given_up_in_the_end_p7_f33() -> None:
    """A body that killed the process which workers are forked from did so for ever."""
    spec: Any = SimpleNamespace(retry=RetrySpec(), pinned=False, checkpointed=False)
    tries = Tries()
    for attempt in range(OTHER_LOSSES_LIMIT):
        loss = WorkerLoss(1, 100, None, charged=False, reason=LossReason.ZYGOTE)
        follows = after_loss(spec, tries, loss)
        says = str(error_of(loss, "n", 0, attempt))
        if attempt < OTHER_LOSSES_LIMIT - 1:
            assert follows is AT_ONCE
            assert says.endswith("this body was waiting there and is not to blame.")
        else:
            assert follows is None
            assert says.endswith("that has happened so often that this body may well be the cause.")


class Beside:
    """Marks when it runs: a directory for each body that is running at the moment."""

    def __init__(self, running: Path) -> None:
        self.running = running

    def __enter__(self) -> None:
        self.path = self.running / str(os.getpid())
        self.path.mkdir(parents=True)

    def __exit__(self, *_: object) -> None:
        self.path.rmdir()


@node(priority=-1)
def hungry(directory: Path, deaths: int) -> int:
    (directory / "attempts").mkdir(exist_ok=True)
    attempt = len(list((directory / "attempts").iterdir()))
    (directory / "attempts" / str(attempt)).touch()
    if attempt < deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    most = 0
    with Beside(directory / "running"):
        for _ in range(30):  # until another worker has taken the place of the dead one
            most = max(most, len(list((directory / "running").iterdir())))
            time.sleep(0.01)
    return most


@node
def waits_a_moment(n: int, directory: Path) -> int:
    with Beside(directory / "running"):
        time.sleep(0.01)
    return n


@pytest.fixture
def dying_of_memory(mortal_pool: Pool, monkeypatch: pytest.MonkeyPatch) -> Pool:
    """A pool to whom the kernel says that each SIGKILL is its own, for want of memory."""
    kills = itertools.count(1)
    monkeypatch.setattr(mortal_pool._resources, "oom", OomWatch(lambda: next(kills)))
    return mortal_pool


def test_f4_what_runs_out_of_memory_is_tried_once_more_alone(
    dying_of_memory: Pool, tmp_path: Path
) -> None:
    with Flow() as f:
        f.hungry = hungry(tmp_path, 1)
        f.others = listed(waits_a_moment.map(numbers(60), tmp_path))
    f.run(pool=dying_of_memory)
    assert f.hungry.get_data() == (1,)  # itself
    assert f.others.get_data() == (list(range(60)),)


def test_f4_what_runs_out_of_memory_alone_is_given_up_and_the_error_says_why(
    dying_of_memory: Pool, tmp_path: Path
) -> None:
    with Flow() as f:
        f.hungry = hungry(tmp_path, 3)
    told = r"(?s)tried 2 times.*by the kernel \(SIGKILL\) because memory ran out.*@node\(memory="
    with pytest.raises(PoisonTask, match=told):
        f.run(pool=dying_of_memory)


def test_f4_a_stream_s_reader_that_runs_out_of_memory_goes_on_beside_its_producer(
    dying_of_memory: Pool, tmp_path: Path
) -> None:
    with Flow() as f:
        f.total = reads_then_dies(numbers(300), tmp_path)
    f.run(pool=dying_of_memory)
    assert f.total.get_data() == (sum(range(300)),)


@node
def numbers_then_dies(count: int, directory: Path) -> Any:
    for index in range(count):
        if index == count // 2 and not (directory / "died").exists():
            (directory / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        yield index


@node
def reads_then_dies(chunks: Stream[int], directory: Path) -> int:
    total = 0
    for index, chunk in enumerate(chunks):
        if index == 250 and not (directory / "reader").exists():
            (directory / "reader").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        total += chunk
    return total


def test_p1_streams_whose_producer_and_reader_die_give_each_chunk_once(
    mortal_pool: Pool, tmp_path: Path
) -> None:
    with Flow() as f:
        f.source = numbers_then_dies(400, tmp_path)
        f.total = reads_then_dies(f.source, tmp_path)
    report = f.run(pool=mortal_pool)
    assert f.total.get_data() == (sum(range(400)),)
    assert report.nodes["source"].chunks == 400
    assert {each.name for each in tmp_path.iterdir()} == {"died", "reader"}


@node
def tells_pids(directory: Path) -> Any:
    for _ in range(6):
        yield os.getpid()
    if not (directory / "died").exists():
        (directory / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_body_that_cannot_be_replayed_is_named_with_the_chunk(
    mortal_pool: Pool, tmp_path: Path
) -> None:
    with Flow() as f:
        f.pids = tells_pids(tmp_path)
        f.all = listed(f.pids)
    with pytest.raises(NonDeterministicReplay, match=r"'pids', run 0, attempt 1.*its chunk 0 is not"):
        f.run(pool=mortal_pool)


def test_an_error_after_which_nothing_is_tried_again_is_raised_at_once() -> None:
    with Flow() as f:
        f.all = listed(numbers(3))
        f.bad = squared("x")  # type: ignore[arg-type]
    outcome = simulate_crashes(f, seed=1, crashes=0).outcome
    assert isinstance(outcome, NodeFailed)
