"""Workers that another process brings to a coordinator, and takes away again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from executor.errors import WorkerCrashed
from orchestrator.errors import NotEnoughResources
from orchestrator.graph.flow import Flow
from orchestrator.graph.node import node
from orchestrator.service.client import CoordinatorClient, connect
from orchestrator.service.link import PATIENCE_S
from tests.service import abrupt_coordinator
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


@node(resources={"gpu": 1})
def on_gpu(x: int) -> int:
    return 2 * x


@node(resources={"gpu": 1})
def on_gpu_for_long(x: int) -> int:
    time.sleep(1000)
    return x


@node(resources={"gpu": 2})
def on_two_gpus(x: int) -> int:
    return x


@node
def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@node
def wait_for_file(path: str) -> int:
    while not Path(path).exists():
        time.sleep(0.01)
    return 1


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


def test_a_flow_waits_for_a_resource_that_an_agent_brings(empty: str, client: CoordinatorClient) -> None:
    f = flow_of(lambda: on_gpu(21))
    handle = client.submit(f)  # who knows what will join
    flow = str(handle.run)
    until(lambda: "no workers are there" in " ".join(client.waits(flow, "result").sentences))
    with started("worker", empty, "-n", "1", until="serving"):
        assert not handle.wait(0.05)
        lacks = ["'result' asks for gpu=1, and the pool has no 'gpu'"]
        assert client.waits(flow, "result").sentences == lacks
        with pytest.raises(NotEnoughResources, match=r"'result' .* asks for gpu=1, .* has no 'gpu'"):
            client.run(f)
        with started("worker", empty, "-n", "1", "--resource", "gpu=1", until="serving"):
            handle.result()
            assert f.result.get_data() == (42,)
            with pytest.raises(NotEnoughResources, match="asks for gpu=2, and the pool has gpu=1"):
                client.run(flow_of(lambda: on_two_gpus(1)))


def test_what_others_have_claimed_is_told_to_whoever_asks_why(
    empty: str, client: CoordinatorClient
) -> None:
    with Flow() as f:
        f.one = on_gpu_for_long(1)
        f.other = on_gpu_for_long(2)
    with started("worker", empty, "-n", "2", "--resource", "gpu=1.5", until="serving"):
        until(lambda: len([each for each in client.status().workers if each.state == "ready"]) == 2)
        handle = client.submit(f)
        try:
            until(lambda: any(worker.running for worker in client.status().workers))
            told = [client.waits(handle.run, name).sentences for name in ("one", "other")]
            assert told == [[], ["'other' waits for gpu=1: 0.5 of 1.5 is free"]]
            assert client.status().runs[-1].detail == ""  # others will have done with it
        finally:
            handle.cancel()
            handle.wait()


def test_who_follows_a_flow_is_told_when_what_it_needs_is_not_there_or_has_left(
    empty: str, client: CoordinatorClient, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    told: list[str] = []
    go_on = tmp_path / "go on"
    handle = client.submit(flow_of(lambda: on_gpu(wait_for_file(str(go_on)))))
    no_workers = "no workers are there; 'orchestrator worker ENDPOINT' brings some"
    assert client.status().runs[-1].detail == no_workers
    assert capsys.readouterr().err == f"run {handle.run} waits: {no_workers}\n"
    handle.on_output = lambda printed: told.append(printed.data.decode())
    with started("worker", empty, "-n", "1", until="serving"):
        try:
            until(lambda: any(worker.running for worker in client.status().workers))
            with started(
                "worker", empty, "-n", "1", "--resource", "gpu=1", until="serving"
            ) as brings_it:
                until(lambda: client.status().runs[-1].detail == "")
                brings_it.send_signal(signal.SIGINT)
                brings_it.wait(10)
            go_on.touch()
            lacks = "'result' asks for gpu=1, and the pool has no 'gpu'"
            until(lambda: handle.wait(0.01) or bool(told))
            assert told[0] == f"run {handle.run} waits: {lacks}\n"
            assert client.status().runs[-1].detail == lacks
        finally:
            handle.cancel()
            handle.wait()


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


@contextmanager
def coordinator_that_stops(endpoint: str, step: str) -> Iterator[subprocess.Popen[str]]:
    """It goes no further than the step; it ends when its standard input is closed."""
    script = Path(abrupt_coordinator.__file__)
    with subprocess.Popen(
        [sys.executable, script, endpoint, step],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            read_until("listening", process)
            yield process
        finally:
            process.kill()


@contextmanager
def agent_of(endpoint: str) -> Iterator[subprocess.Popen[str]]:
    """An agent with one worker that may not have joined yet; all that it has started must end too."""
    with subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "worker", endpoint, "-n", "1"],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(sought: str, process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    while sought not in (line := process.stderr.readline()):
        assert line, f"it ended with status {process.wait()}"


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("step", abrupt_coordinator.STEPS)
def test_an_agent_ends_with_its_coordinator_whatever_step_it_has_reached(
    tmp_path: Path, step: str
) -> None:
    endpoint = f"ipc://{tmp_path}/c"
    with coordinator_that_stops(endpoint, step) as coordinator, agent_of(endpoint) as agent:
        read_until("reached", coordinator)
        started_by_it = children_of(agent.pid)
        coordinator.communicate()
        # Less than what an answer is waited for: the process's end is what it must see.
        _, said = agent.communicate(timeout=PATIENCE_S / 2)
        assert agent.returncode == 69
        assert f"(pid {coordinator.pid}) has ended" in said
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started_by_it))


@pytest.mark.parametrize(
    ("step", "ending"),
    list(zip(abrupt_coordinator.STEPS, [signal.SIGTERM, signal.SIGINT] * 2, strict=True)),
)
def test_a_signal_ends_an_agent_in_order_whatever_step_it_has_reached(
    tmp_path: Path, step: str, ending: signal.Signals
) -> None:
    endpoint = f"ipc://{tmp_path}/c"
    with coordinator_that_stops(endpoint, step) as coordinator, agent_of(endpoint) as agent:
        read_until("reached", coordinator)
        if step in ("joined", "has a worker"):
            read_until("serving", agent)
            agent.send_signal(ending)
            read_until("leaving", agent)  # which this coordinator does not answer
        started_by_it = children_of(agent.pid)
        agent.send_signal(ending)
        _, said = agent.communicate(timeout=PATIENCE_S / 2)
        assert (agent.returncode, said) == (130, "interrupted\n")
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started_by_it))
        coordinator.communicate()


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
