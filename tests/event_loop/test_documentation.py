"""The page of the event loop and the example programs do what they say."""

from __future__ import annotations

import doctest
import signal
import socket
import subprocess
import sys
from pathlib import Path

import orchestrator.event_loop

ROOT = Path(__file__).resolve().parents[2]


def run_example(name: str) -> list[str]:
    return subprocess.run(
        [sys.executable, ROOT / "examples" / name], capture_output=True, text=True, check=True
    ).stdout.splitlines()


def test_the_examples_of_the_page_run() -> None:
    failures, tests = doctest.testfile(str(ROOT / "docs" / "event_loop.md"), module_relative=False)
    assert tests > 20
    assert failures == 0


def test_everything_that_is_exported_is_there_and_sorted() -> None:
    names = orchestrator.event_loop.__all__
    assert names == sorted(names)
    for name in names:
        assert hasattr(orchestrator.event_loop, name)


def test_the_latch_example_prints_in_order() -> None:
    assert run_example("countdown_latch.py") == [
        "consumer 1: start, waiting for data",
        "consumer 2: start, waiting for data",
        "producer: preparing data",
        "producer: notifying the consumers",
        "producer: all notified",
        "consumer 1: received",
        "consumer 2: received",
        "['consumer 1 done', 'consumer 2 done']",
    ]


def test_the_tour_prints_what_it_does() -> None:
    lines = run_example("event_loop.py")
    assert [line for line in lines if line.startswith("fast")] == [
        "fast put 0",
        "fast put 1",
        "fast put 2",
    ]
    assert lines[-3:] == [
        "timeout: the block took longer than 0.05 s",
        "watch: cancelled, cleaning up",
        "total 6",
    ]


def test_the_echo_server_echoes_and_ends_in_order() -> None:
    server = subprocess.Popen(
        [sys.executable, ROOT / "examples" / "echo_server.py"], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    port = int(server.stdout.readline().split()[-1])
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"hello")
        assert connection.recv(5) == b"hello"
    server.send_signal(signal.SIGINT)
    out, _ = server.communicate()
    assert out == "closed\n"
    assert server.returncode == 0
