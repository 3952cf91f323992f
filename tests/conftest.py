"""For all tests: Hypothesis profiles, and a guard that nothing of the system is left behind."""

from __future__ import annotations

import gc
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.register_profile("soak", deadline=None, max_examples=5_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))

_SETTLING_S = 2.0


@pytest.fixture(scope="session", autouse=True)
def session_directories() -> Iterator[Path]:
    """Where the pools of these tests put their directories: nobody else's are there."""
    with tempfile.TemporaryDirectory(prefix="tests-") as path, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", path)
        yield Path(path)


@pytest.fixture(autouse=True)
def nothing_leaks(session_directories: Path) -> Iterator[None]:
    """Fails a test that leaves a process, thread, descriptor, directory or shared memory behind."""
    before = _Held.now(session_directories)
    yield
    give_up = time.monotonic() + _SETTLING_S
    while leaked := _Held.now(session_directories).beyond(before):
        gc.collect()
        if time.monotonic() > give_up:
            pytest.fail(f"the test left behind: {'; '.join(leaked)}")
        time.sleep(0.001)  # a thread or a child may be about to end


@dataclass(frozen=True, slots=True)
class _Held:
    """What this process holds of the system, each thing by a name that tells what it is."""

    processes: Counter[str]
    threads: Counter[str]
    descriptors: Counter[str]
    directories: Counter[str]
    shared_memory: Counter[str]

    @classmethod
    def now(cls, directories: Path) -> _Held:
        return cls(
            Counter(_processes()),
            Counter(f"{thread.name} ({thread.ident})" for thread in threading.enumerate()),
            Counter(_descriptors()),
            Counter(path.name for path in directories.iterdir()),
            Counter(path.name for path in Path("/dev/shm").glob("orchestrator*")),
        )

    def beyond(self, before: _Held) -> list[str]:
        """What is held now and was not then."""
        leaks = []
        for kind in fields(self):
            more: Counter[str] = getattr(self, kind.name) - getattr(before, kind.name)
            if more:
                leaks.append(f"{kind.name.replace('_', ' ')}: {', '.join(sorted(more.elements()))}")
        return leaks


def _processes() -> Iterator[str]:
    for listed in Path("/proc/self/task").glob("*/children"):
        try:
            pids = listed.read_text().split()
        except OSError:  # the thread has ended meanwhile
            continue
        for pid in pids:
            try:
                command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
            except OSError:  # gone meanwhile
                continue
            yield f"{pid} {command.strip() or '(ended, not waited for)'}"


def _descriptors() -> Iterator[str]:
    for path in Path("/proc/self/fd").iterdir():
        try:
            # A socket for a socket is no leak: a pool that several tests share replaces its workers.
            yield str(path.readlink()).partition(":[")[0]
        except FileNotFoundError:  # the listing's own
            continue
