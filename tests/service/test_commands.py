"""The commands about a service, as a user meets them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from platform import python_version

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli import main
from protocol.client_messages import SERVICE_VERSION
from tests.service.conftest import started

JOB = """
import time
from orchestrator import Flow, node, parameter

@node
def sleep(seconds):
    time.sleep(seconds)
    return seconds

with Flow() as flow:
    flow.first = sleep(parameter("seconds", 0))
    flow.second = sleep(flow.first)
"""


LARGE = """
from orchestrator import Flow, node

@node(cpus=9, resources={"gpu": 1})
def fit(): ...

with Flow() as flow:
    flow.fit = fit()
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "job.py").write_text(JOB)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))  # loading a target adds to it
    return tmp_path


def command(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_a_target_runs_on_a_coordinator(endpoint: str, here: Path) -> None:
    ended = command("run", "job.py", "--connect", endpoint, "--json")
    assert ended.exit_code == 0, ended
    assert json.loads(ended.stdout)["nodes"]["second"]["runs"] == 1


def test_a_detached_flow_is_seen_asked_about_and_cancelled(endpoint: str, here: Path) -> None:
    begun = command("run", "job.py", "--connect", endpoint, "--detach", "--set", "seconds=99")
    run = begun.stdout.split()[1]
    asked = command("why", run, "second", "--connect", endpoint)
    assert "'second' waits for a final value of 'first'" in asked.stdout
    asked = command("why", "job.py", "second", "--connect", endpoint)
    assert asked.stdout.splitlines()[:2] == ["second (mono, job.py:12)", "  seconds <- first"]
    assert "'second' waits for a final value of 'first'" in asked.stdout
    status = json.loads(command("status", endpoint, "--json").stdout)
    [seen] = [each for each in status["runs"] if each["run"] == int(run)]
    assert (seen["label"], seen["state"], seen["detached"]) == ("job.py", "running", True)
    assert command("cancel", endpoint, run).exit_code == 0
    followed = command("follow", endpoint, run)
    assert (followed.exit_code, followed.stderr) == (1, f"error: run {run} (job.py) was cancelled\n")
    assert "cancel" in command("status", endpoint).stdout


def test_following_a_flow_ends_with_its_report(endpoint: str, here: Path) -> None:
    begun = command("run", "job.py", "--connect", endpoint, "--detach", "--set", "seconds=0.1")
    run = begun.stdout.split()[1]
    assert f"orchestrator follow {endpoint} {run}" in begun.stdout
    followed = command("follow", endpoint, run, "--json")
    assert followed.exit_code == 0, followed
    assert json.loads(followed.stdout)["nodes"]["second"]["runs"] == 1


def test_ctrl_c_cancels_that_flow_and_is_exit_code_130(endpoint: str, here: Path) -> None:
    arguments = ("run", "job.py", "--connect", endpoint, "--set", "seconds=98")
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        cwd=here,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    runs: list[dict[str, object]] = []
    while not runs:
        status = json.loads(command("status", endpoint, "--json").stdout)
        runs = [each for each in status["runs"] if each["client"] == process.pid and each["running"]]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    while runs[0]["state"] != "cancelled":
        status = json.loads(command("status", endpoint, "--json").stdout)
        runs = [each for each in status["runs"] if each["client"] == process.pid]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("run", "job.py", "--connect", "ipc:///nowhere/c"), 69, "nobody listens on ipc:///nowhere/c"),
        (("status", "ipc:///nowhere/c"), 69, "orchestrator coordinator --listen"),
        (("run", "job.py", "--connect", "tcp://127.0.0.1:1"), 2, "without keys"),
        (("coordinator", "--listen", "ipc:///tmp/c"), 2, "0700"),
        (("run", "job.py", "--detach"), 2, "--detach needs --connect"),
        (("worker", "ipc:///nowhere/c", "--resource", "gpu"), 2, "'gpu' is not NAME=AMOUNT"),
        (("run", "job.py", "-w", "0", "--resource", "gpu=1"), 2, "about workers that are started here"),
        (("run", "job.py", "-w", "1", "--connect", "ipc:///x/c"), 2, "either --workers or --connect"),
        (("why", "job.py", "third"), 2, "no node 'third'; it has first, second"),
        (("why", "3", "first"), 2, "--connect ENDPOINT"),
    ],
)
def test_what_cannot_be_done_is_said_with_an_exit_code(
    here: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    ended = command(*arguments)
    assert ended.exit_code == code, ended
    assert message in " ".join(ended.stderr.split())


OF_ANOTHER_VERSION = """
from orchestrator.cli import main
from orchestrator.service import server
server.SERVICE_VERSION = 99
main()
"""


def test_every_command_names_both_versions_if_the_coordinator_is_of_another(
    tmp_path: Path, here: Path
) -> None:
    endpoint = f"ipc://{tmp_path}/other/c"
    arguments = ("coordinator", "--listen", endpoint, "-w", "1")
    with started(*arguments, until="listening", program=("-c", OF_ANOTHER_VERSION)) as coordinator:
        for asked in (
            ("worker", endpoint, "-n", "1"),
            ("run", "job.py", "--connect", endpoint),
            ("status", endpoint),
            ("stop", endpoint),
        ):
            ended = command(*asked)
            assert ended.exit_code == 78, ended
            assert f"(pid {coordinator.pid}) is of another version" in ended.stderr
            assert f"protocol 99 on Python {python_version()}, and this process has" in ended.stderr
            assert f"protocol {SERVICE_VERSION} on Python {python_version()}" in ended.stderr


def test_a_flow_that_asks_for_more_than_there_is_ends_alike_here_and_there(
    endpoint: str, here: Path
) -> None:
    (here / "large.py").write_text(LARGE)
    remote = command("run", "large.py", "--connect", endpoint)
    local = command("run", "large.py", "--workers", "2")
    assert (remote.exit_code, remote.stderr) == (local.exit_code, local.stderr)
    assert remote.exit_code == 2
    for words in (
        "asks for cpus=9, and the pool has cpus=2; it asks for gpu=1, and the pool has no 'gpu'",
        "Ask for less, or give the pool at least 9 workers, and more:",
        "--resource gpu=1 of 'orchestrator run', 'coordinator' or 'worker'",
    ):
        assert words in remote.stderr


def test_an_exit_code_tells_what_a_coordinator_refused(endpoint: str, here: Path) -> None:
    ended = command("cancel", endpoint, "12345")
    assert (ended.exit_code, ended.stderr) == (1, "error: there is no run 12345\n")
    ended = command("coordinator", "--listen", endpoint)
    assert ended.exit_code == 1
    assert "listens on" in ended.stderr
