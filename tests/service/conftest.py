"""Coordinators in processes of their own, for the tests of this directory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def started(
    *arguments: str, until: str, program: Sequence[str] = ("-m", "orchestrator"), **environment: str
) -> Iterator[subprocess.Popen[str]]:
    """A command of ours, once it has said ``until`` on standard error; ended by SIGTERM at last."""
    process = subprocess.Popen(
        [sys.executable, *program, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
    try:
        assert process.stderr is not None
        seen = []
        while until not in (line := process.stderr.readline()):
            seen.append(line)
            assert line, f"it ended with status {process.wait()}: {''.join(seen)}"
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=10)


@pytest.fixture(scope="session")
def endpoint(session_directories: Path) -> Iterator[str]:
    """A coordinator with two workers that many tests share."""
    endpoint = f"ipc://{session_directories}/shared/c"
    with started("coordinator", "--listen", endpoint, "--workers", "2", until="listening"):
        yield endpoint
