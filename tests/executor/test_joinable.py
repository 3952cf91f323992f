"""A pool that agents join, with an agent that only takes note of its orders."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from executor.joinable import JoinablePool
from executor.orders import Exited
from executor.output import pass_on
from protocol.delivery import Epoch
from protocol.framing import worker_session
from protocol.messages import PROTOCOL_VERSION, AttemptKey, Chunk, Completed, FromWorker, Hello, NodeId
from protocol.serialization import dumps
from protocol.zmtp import Dealer
from tests.executor.test_pool import Owner, double


class Agent:
    pid = 1

    def __init__(self) -> None:
        self.ordered: list[int] = []
        self.tokens: list[bytes] = []
        self.dismissals: list[str] = []

    def spawn(self, worker: int, token: bytes, descriptors: list[int]) -> None:
        self.ordered.append(worker)
        self.tokens.append(token)

    def dismiss(self, reason: str) -> None:
        self.dismissals.append(reason)


@pytest.fixture
def pool() -> Iterator[JoinablePool]:
    with JoinablePool(0, pass_on) as pool:
        yield pool


def ended_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_pid_of_a_worker_is_known_also_if_it_ended_before_its_start_was_heard_of(
    pool: JoinablePool,
) -> None:
    agent = Agent()
    site = pool.join(agent, 1)
    [worker] = agent.ordered
    pid = ended_pid()
    pool.worker_started(site, worker, pid)
    assert [(status.worker, status.pid) for status in pool.statuses()] == [(worker, pid)]
    pool.worker_ended(site, Exited(worker, 0, 3, 0))
    assert len(agent.ordered) == 2  # it is replaced


def test_an_agent_whose_workers_do_not_come_up_is_dismissed(pool: JoinablePool) -> None:
    agent = Agent()
    site = pool.join(agent, 1)
    for _ in range(3):
        pool.worker_not_started(site, agent.ordered[-1], "no room")
    assert agent.dismissals == ["none of its workers came up"]
    assert (pool.workers, pool.statuses()) == (0, [])


def test_what_an_agent_brings_is_the_pool_s_until_it_leaves(pool: JoinablePool) -> None:
    one = pool.join(Agent(), 1, {"gpu": 1, "tape": 0.5})
    two = pool.join(Agent(), 2, {"gpu": 2})
    assert {name: pool.totals[name] for name in ("cpus", "gpu", "tape")} == {
        "cpus": 3,
        "gpu": 3,
        "tape": 0.5,
    }
    pool.agent_gone(one)
    assert (pool.totals["gpu"], "tape" in pool.totals) == (2, False)
    pool.leave(two)
    assert "gpu" not in pool.totals


@pytest.mark.parametrize("resources", [{"cpus": 1}, {"memory": 1}, {"gpu": -1}])
def test_an_agent_brings_no_processors_or_memory_of_the_host_and_no_nonsense(
    pool: JoinablePool, resources: dict[str, float]
) -> None:
    with pytest.raises(ValueError, match=r"the coordinator counts them|from 0 on"):
        pool.join(Agent(), 1, resources)
    assert pool.workers == 0


def test_what_an_agent_says_of_others_workers_is_ignored(pool: JoinablePool) -> None:
    agent, other = Agent(), Agent()
    site, others = pool.join(agent, 1), pool.join(other, 1)
    pool.worker_ended(others, Exited(agent.ordered[0], 0, 3, 0))
    pool.worker_not_started(others, agent.ordered[0], "not so")
    assert len(pool.statuses()) == 2
    pool.agent_gone(site)
    assert [status.worker for status in pool.statuses()] == other.ordered


def test_all_that_workers_said_before_their_agent_was_gone_counts(pool: JoinablePool) -> None:
    agent = Agent()
    site = pool.join(agent, 1)
    [worker], [token] = agent.ordered, agent.tokens
    owner = Owner(pool)
    key = owner.invoke(1, double, dumps(4))
    made: list[Dealer] = []
    thread = threading.Thread(target=lambda: made.append(Dealer(pool.endpoint)))
    thread.start()
    owner.until(lambda: made)
    session = worker_session(Epoch(worker))

    def say(message: FromWorker) -> None:
        session.add(message)
        for parts in session.take():
            made[0].send(parts)

    say(Hello(PROTOCOL_VERSION, platform.python_version(), worker, os.getpid(), token))
    owner.until(lambda: not pool.is_in_line(key))
    for _ in range(10):  # more than is heard at once
        say(Chunk(AttemptKey(key.run, NodeId(2), 0), 0, 1, 1, [session.attach(bytes(10_000))]))
    say(Completed(key, 0, 0.0, [session.attach(dumps(8))]))
    pool.agent_gone(site)
    made[0].close()
    assert owner.results == {1: 8}
    assert owner.losses == {}
