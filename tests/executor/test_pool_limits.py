"""Real workers that hang, swell, stop or wear out (FAULTS F5, F6, F31)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from executor.body import Stream
from executor.errors import MemoryLimitExceeded, NodeTimeoutError
from executor.host import LossReason
from executor.losses import error_of
from executor.pool import Pool
from orchestrator import Flow, node
from protocol.messages import StreamInput
from protocol.serialization import dumps
from tests.executor.test_pool import RUN, Owner, about_the_process, double, loop_in_c, sleep

MIB = 1 << 20
SWOLLEN_BYTES = 300 * MIB
TIMEOUT_S = 1.0  # on a busy machine, time passes while a worker gets none


def spin_for_ever() -> None:
    while True:
        pass


def total_slowly(chunks: Stream[int]) -> int:
    total = 0
    for chunk in chunks:
        total += chunk
    return total


def swell_until(path: Path) -> int:
    swollen = bytearray(SWOLLEN_BYTES)
    swollen[::4096] = b"x" * len(swollen[::4096])
    while not path.exists():
        time.sleep(0.001)
    return os.getpid()


def stop_oneself() -> str:
    os.kill(os.getpid(), signal.SIGSTOP)
    return "continued"


@pytest.fixture(scope="module")
def hasty_pool() -> Iterator[Pool]:
    with Pool(1, timeout_s=TIMEOUT_S, grace_s=1.0) as pool:
        pool.wait_ready()
        yield pool


@pytest.fixture
def owner(hasty_pool: Pool) -> Iterator[Owner]:
    owner = Owner(hasty_pool)
    while 0 not in owner.results:  # importing this module may take longer than a body may
        owner.invoke(0, double, dumps(1))
        owner.until(lambda: owner.ended(0))
        owner.losses.pop(0, None)
    yield owner
    hasty_pool.detach(RUN)
    hasty_pool.wait_ready()


@pytest.mark.parametrize(("body", "survives"), [(spin_for_ever, True), (loop_in_c, False)])
def test_a_body_that_hangs_is_ended_and_the_error_shows_where_it_hung_f6(
    owner: Owner, body: Callable[..., object], survives: bool
) -> None:
    before = set(owner.pool._peers)
    owner.invoke(1, body)
    owner.until(lambda: owner.ended(1))
    loss = owner.losses[1]
    assert (loss.reason, loss.charged, loss.limit) == (LossReason.TIMEOUT, True, TIMEOUT_S)
    assert loss.found >= TIMEOUT_S
    assert f"in {body.__name__}" in loss.evidence.trace
    error = error_of(loss, "n", 0, 0)
    assert isinstance(error, NodeTimeoutError)
    assert f"in {body.__name__}" in str(error)
    assert owner.result(2, double, dumps(2)) == 4
    assert (set(owner.pool._peers) == before) is survives


def test_waiting_for_a_stream_is_not_computing(owner: Owner) -> None:
    key = owner.invoke(1, total_slowly, StreamInput())
    owner.until(lambda: owner.waiting)
    enough = time.monotonic() + 1.2 * TIMEOUT_S
    while time.monotonic() < enough:
        owner.pool._pump()
    owner.pool.deliver(key, 0, 0, [dumps(5)])
    owner.pool.end_stream(key, 0, 1)
    owner.until(lambda: owner.ended(1))
    assert owner.results[1] == 5


def test_a_node_s_own_timeout_goes_before_the_pool_s() -> None:
    @node(timeout_s=0.2)
    def hang() -> None:
        time.sleep(1000)

    with Flow() as flow:
        flow.hung = hang()
    told = r"(?s)timeout_s=0.2 .*in hang"
    with Pool(1, timeout_s=1000) as pool, pytest.raises(NodeTimeoutError, match=told) as caught:
        flow.run(pool=pool)
    assert caught.value.node == "hung"


def test_a_worker_that_swells_is_killed_above_the_hard_limit_and_replaced_above_the_soft_one_f31(
    tmp_path: Path,
) -> None:
    with Pool(1, memory_soft_bytes=150 * MIB, memory_hard_bytes=1500 * MIB) as pool:
        owner = Owner(pool)
        owner.invoke(1, swell_until, dumps(tmp_path / "seen"))
        owner.until(lambda: any(worker.is_worn for worker in pool._machine._workers.values()))
        (tmp_path / "seen").touch()
        owner.until(lambda: owner.ended(1))
        assert owner.result(2, about_the_process)["pid"] != owner.results[1]
    with Pool(1, memory_hard_bytes=150 * MIB) as pool:
        owner = Owner(pool)
        owner.invoke(1, swell_until, dumps(tmp_path / "never"))
        owner.until(lambda: owner.ended(1))
        loss = owner.losses[1]
        assert (loss.reason, loss.limit) == (LossReason.MEMORY, 150 * MIB)
        assert loss.found > loss.limit
        assert loss.evidence.peak_bytes > loss.limit
        error = error_of(loss, "n", 0, 0)
        assert isinstance(error, MemoryLimitExceeded)
        assert "(150 MiB) allows no more" in str(error)


def test_a_node_s_own_memory_limit_goes_before_the_pool_s_f31(tmp_path: Path) -> None:
    @node(memory_hard_bytes=150 * MIB)
    def large() -> int:
        return swell_until(tmp_path / "never")

    @node
    def other() -> int:
        swollen = bytearray(b"x") * SWOLLEN_BYTES
        time.sleep(0.6)  # long enough to be looked at
        return len(swollen)

    with Flow() as flow:
        flow.large = large()
        flow.other = other()
    told = r"node 'large'.*memory_hard_bytes=157286400 \(150 MiB\) allows no more"
    with Pool(2, memory_hard_bytes=1500 * MIB) as pool:
        with pytest.raises(MemoryLimitExceeded, match=told):
            flow.run(pool=pool, terminate_on_node_error=False)
        assert flow.other.get_data() is not None


@pytest.mark.parametrize("limit", [0, -1, "1G", 1.5, True])
def test_a_memory_limit_that_makes_no_sense_is_refused_where_it_is_written(limit: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"@node f at .*memory_hard_bytes must be"):

        @node(memory_hard_bytes=limit)
        def f() -> None: ...


def test_workers_are_replaced_after_so_many_runs_f31() -> None:
    with Pool(1, max_runs_per_worker=3) as pool:
        owner = Owner(pool)
        pids = [owner.result(number, about_the_process)["pid"] for number in range(9)]
    assert [pids.index(pid) for pid in pids] == [0, 0, 0, 3, 3, 3, 6, 6, 6]


def test_a_stopped_worker_is_given_up_after_a_while_and_one_that_goes_on_is_not_f5() -> None:
    with Pool(2, unresponsive_after_s=0.3) as pool:
        owner = Owner(pool)
        owner.invoke(1, stop_oneself)
        owner.until(lambda: owner.ended(1))
        assert (owner.losses[1].reason, owner.losses[1].charged) == (LossReason.UNRESPONSIVE, False)
        assert owner.result(2, double, dumps(2)) == 4
        pool.wait_ready()
        owner.invoke(3, sleep, dumps(0.01))
        worker = next(each for each in pool._machine._workers.values() if each.leases)
        os.kill(worker.pid, signal.SIGSTOP)
        pool.flush()
        os.kill(worker.pid, signal.SIGCONT)
        owner.until(lambda: owner.ended(3))
        assert 3 in owner.results
