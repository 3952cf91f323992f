"""Workers that another process brings to a coordinator, and takes away again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from executor.errors import WorkerCrashed
from orchestrator.graph.flow import Flow
from orchestrator.graph.node import node
from orchestrator.service.client import CoordinatorClient, connect
from tests.service.conftest import started


@pytest.fixture(scope="module")
def empty(session_directories: Path) -> Iterator[str]:
    """A coordinator without workers of its own."""
    endpoint = f"ipc://{session_directories}/empty/c"
    with started("coordinator", "--listen", endpoint, "--workers", "0", until="listening"):
        yield endpoint


@pytest.fixture
def client(empty: str) -> Iterator[CoordinatorClient]:
    with connect(empty) as client:
        yield client
        until(lambda: not client.status().workers)


@node
def double(x: int) -> int:
    return 2 * x


@node
def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@node
def talk() -> None:
    print("from afar")


@node
def end_the_worker() -> None:
    os._exit(3)


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.01)


def flow_of(draft: Callable[[], object]) -> Flow:
    with Flow() as f:
        f.result = draft()
    return f


def test_a_flow_waits_for_workers_that_join_and_is_run_by_them(
    empty: str, client: CoordinatorClient
) -> None:
    f = flow_of(lambda: double(21))
    handle = client.submit(f)
    assert not handle.wait(0.05)
    with started("worker", empty, "-n", "1", until="serving") as agent:
        handle.result()
        assert f.result.get_data() == (42,)
        assert [worker.agent for worker in client.status().workers] == [agent.pid]


def test_what_their_bodies_print_is_printed_by_the_client(
    empty: str, client: CoordinatorClient, capsys: pytest.CaptureFixture[str]
) -> None:
    with started("worker", empty, "-n", "1", until="serving"):
        client.run(flow_of(talk))
    assert capsys.readouterr().out == "from afar\n"


def test_ctrl_c_lets_the_workers_finish_what_they_run(empty: str, client: CoordinatorClient) -> None:
    with started("worker", empty, "-n", "1", until="serving") as agent:
        handle = client.submit(flow_of(lambda: sleep(0.4)))
        until(lambda: any(worker.running for worker in client.status().workers))
        agent.send_signal(signal.SIGINT)
        late = client.submit(flow_of(lambda: double(1)))
        handle.result()
        assert agent.wait(10) == 0
        assert not late.is_over
        late.cancel()


def test_a_body_that_ends_its_worker_is_blamed_and_the_worker_replaced(
    empty: str, client: CoordinatorClient
) -> None:
    with started("worker", empty, "-n", "1", until="serving"):
        with pytest.raises(WorkerCrashed, match="exited with status 3, while it ran this body"):
            client.run(flow_of(end_the_worker))
        f = flow_of(lambda: double(2))
        client.run(f)
        assert f.result.get_data() == (4,)


def test_an_agent_that_is_killed_takes_its_workers_along_and_is_noticed(
    empty: str, client: CoordinatorClient
) -> None:
    with started("worker", empty, "-n", "2", until="serving") as agent:
        until(lambda: [worker.state for worker in client.status().workers] == ["ready"] * 2)
        pids = [worker.pid for worker in client.status().workers]
        agent.kill()
        until(lambda: not client.status().workers)
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def test_workers_whose_coordinator_dies_end_with_a_message_and_69(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/own/c"
    with started("coordinator", "--listen", endpoint, "-w", "0", until="listening") as coordinator:
        agent = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "worker", endpoint, "-n", "1"],
            stderr=subprocess.PIPE,
            text=True,
        )
        with connect(endpoint) as client:
            until(lambda: [worker.state for worker in client.status().workers] == ["ready"])
            [worker] = client.status().workers
        coordinator.kill()
        _, said = agent.communicate(timeout=10)
        assert agent.returncode == 69
        assert f"(pid {coordinator.pid}) has ended" in said
        until(lambda: not Path(f"/proc/{worker.pid}").exists())


def test_agents_end_when_the_coordinator_is_stopped(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/own/c"
    with (
        started("coordinator", "--listen", endpoint, "-w", "0", until="listening") as coordinator,
        started("worker", endpoint, "-n", "1", until="serving") as agent,
    ):
        with connect(endpoint) as client:
            client.stop()
        assert coordinator.wait(10) == 0
        assert agent.wait(10) == 69


def test_a_worker_command_finds_nobody_at_once(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "orchestrator", "worker", f"ipc://{tmp_path}/c"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 69
    assert "nobody listens" in ended.stderr
