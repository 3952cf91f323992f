"""For all tests: Hypothesis profiles, and a guard that nothing of the system is left behind."""

from __future__ import annotations

import gc
import os
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long anything takes says more about the machine than about us.
settings.register_profile("timeless", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("dev", settings.get_profile("timeless"))
settings.register_profile("ci", settings.get_profile("timeless"), derandomize=True)
settings.register_profile("soak", settings.get_profile("timeless"), max_examples=5_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))

_SETTLING_S = 20.0  # on a busy machine a process or thread that is about to end may take its time


def pytest_configure() -> None:
    """Shells start what runs in the background with Ctrl-C ignored; programs under test must hear it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """What is there now stays to the end: the collector need not look at it after each test."""
    gc.collect()
    gc.freeze()


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
