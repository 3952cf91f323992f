"""Who has left what running in a worker: for people to read (FAULTS F26)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from executor.errors import where
from executor.lease import Lease
from executor.worker_states import WorkerRecord
from protocol.messages import WHOLE, LeftRunning

REMEMBERED: Final = 1000
"""Of so many processes, the latest ones, it is known whose they are; of others most have ended."""


def note_left(worker: WorkerRecord, message: LeftRunning) -> str | None:
    """Remember whose the processes are; a sentence about the threads, if there are any."""
    last = worker.last_ended
    if last is None or last.key != message.key:  # it speaks of an attempt that it did not hold
        return None
    left = worker.left_running
    left.update(dict.fromkeys(message.processes, last))
    while len(left) > REMEMBERED:
        del left[next(iter(left))]
    if not message.threads:
        return None
    threads = ", ".join(map(repr, message.threads))
    return f"{_owner(last)}: its body has ended, and threads that it started go on: {threads}"


def describe_ended(worker: WorkerRecord, left: Mapping[int, str], current: int) -> str:
    """What has been ended with a worker, by pid: the command; ``current``: what it was stepping."""
    stepped = worker.lease_numbered(current)
    processes = [
        f"pid {pid} ({command}), started by {_owner(worker.left_running.get(pid, stepped))}"
        for pid, command in left.items()
    ]
    return (
        f"worker {worker.id} (pid {worker.pid}) has ended, and what bodies had left running there was "
        f"killed: {'; '.join(processes)}"
    )


def _owner(lease: Lease | None) -> str:
    if lease is None:
        return "one of its bodies"
    key = lease.key
    if not lease.name:  # of an executor
        return "a task"
    element = "" if key.element == WHOLE else f", element {key.element}"
    return f"{where(lease.name, key.generation, key.attempt)}{element}"
