"""The process that workers are forked from: a fresh interpreter with all imports done.

Theory of operation. A pool starts one zygote and tells it to fork workers, which takes two
milliseconds where an interpreter takes fifty. The zygote has no thread and no ZeroMQ, so a
fork of it is whole. It is the workers' parent: it learns each one's end from a pidfd, ends what the
worker has left running (its process group, and daemons, whose parent the worker was), reaps it and
reports how it ended. When the pool's process is gone it kills every worker with all descendants,
removes the session directory and exits.

    pool's process --- lifeline ---> zygote === PR_SET_PDEATHSIG ===> workers
"""

from __future__ import annotations

import ctypes
import gc
import os
import select
import shutil
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Final

from msgspec import json

# Imported for the workers: a fork finds them ready.
from executor import bootstrap, task, worker  # noqa: F401
from executor.offspring import children_of, command_of, descendants_of, running
from executor.orders import (
    Exited,
    NotStarted,
    Setup,
    Started,
    ZygoteReport,
    apply_setup,
    receive_spawn,
    send,
)
from protocol.framing import worker_session

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_NAMED: Final = 16  # processes that a worker has left, at most
_COMMAND_CHARACTERS: Final = 100
_REAPINGS: Final = 50
_REAPING_S: Final = 0.001
_libc: Final = ctypes.CDLL(None, use_errno=True)


def main(channel: socket.socket, packet: bytes) -> None:
    """Serve the pool at the other end; in every process that is forked, be a worker instead."""
    setup = json.decode(packet, type=Setup)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the pool's to handle
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    apply_setup(setup)
    # Code that was pickled in the user's __main__ finds an empty one here.
    sys.modules["__main__"] = ModuleType("__main__")
    worker_session()  # makes what decodes messages: a fork finds it ready
    gc.collect()
    gc.freeze()
    gc.enable()
    zygote = Zygote(channel, setup)
    # A worker must not run on top of the zygote's frames, whose clean-up is not its own.
    born = zygote.serve()
    channel.close()
    if born is not None:
        worker.run(born, setup.endpoint)


@dataclass(frozen=True, slots=True)
class _Child:
    worker: int
    pid: int


class Zygote:
    """The zygote's loop. It waits without limit; all it hears of are descriptors."""

    def __init__(self, channel: socket.socket, setup: Setup) -> None:
        self._channel = channel
        self._directory = setup.directory
        self._drops_output = setup.drops_output
        self._pid = os.getpid()
        self._children: dict[int, _Child] = {}  # by pidfd
        self._has_more = False
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN)
        # A process that the pool's has forked would hold the lifeline open.
        self._parent: int | None = None
        with suppress(ProcessLookupError):  # it ends as we start: the lifeline tells
            self._parent = os.pidfd_open(setup.parent)
            self._poll.register(self._parent, select.POLLIN)

    def serve(self) -> worker.Birth | None:
        """Fork workers until the pool is gone. In a worker it returns what the worker is to be."""
        while True:
            if self._children and not self._has_more and not self._poll.poll(0):
                self._import_more()
            for descriptor, _ in self._poll.poll():
                if descriptor in self._children:
                    self._bury(descriptor)
                    continue
                order = None if descriptor == self._parent else self._receive()
                if order is None:
                    self._end()
                    return None
                born = self._fork(order)
                if born is not None:
                    return born

    def _import_more(self) -> None:
        """Make ready, while there is nothing to do, what only some bodies need.

        The first workers need not wait for it, and import it themselves if they must.
        """
        import cloudpickle  # noqa: F401, PLC0415

        gc.freeze()
        self._has_more = True

    def _receive(self) -> worker.Birth | None:
        try:
            order = receive_spawn(self._channel)
        except ConnectionError:
            return None
        if order is None:
            return None
        spawn, (page, *pipes) = order
        return worker.Birth(spawn.worker, spawn.token, page, pipes, self._drops_output)

    def _fork(self, birth: worker.Birth) -> worker.Birth | None:
        try:
            pid = os.fork()
        except OSError as error:
            _close_all(birth)
            self._report(NotStarted(birth.worker, str(error)))
            return None
        if pid == 0:
            self._become_worker()
            return birth
        _close_all(birth)
        pidfd = os.pidfd_open(pid)  # a child that we have not reaped: the pid is still its own
        self._children[pidfd] = _Child(birth.worker, pid)
        self._poll.register(pidfd, select.POLLIN)
        self._report(Started(birth.worker, pid), pidfd)
        return None

    def _become_worker(self) -> None:
        os.setsid()
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # What a body makes a daemon of is the worker's, and ours when the worker has ended.
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
        if os.getppid() != self._pid:  # it died before we asked to die with it
            os._exit(1)
        for descriptor in self._children:
            os.close(descriptor)
        if self._parent is not None:
            os.close(self._parent)

    def _bury(self, pidfd: int) -> None:
        child = self._children.pop(pidfd)
        self._poll.unregister(pidfd)
        os.close(pidfd)
        orphans = running(self._orphans(child.pid))
        left = {pid: command_of(pid)[:_COMMAND_CHARACTERS] for pid in orphans[:_NAMED]}
        # Until it is reaped, the pid, and so the group's name, cannot be anyone else's.
        _kill_group(child.pid)
        _, status, usage = os.wait4(child.pid, 0)
        self._end_orphans()
        code = os.waitstatus_to_exitcode(status)
        self._report(Exited(child.worker, child.pid, code, usage.ru_maxrss, left))

    def _orphans(self, spared: int = 0) -> list[int]:
        """Children of ended workers, which have become ours.

        A pool that a body has made ends by itself: its zygote cleans up after it.
        """
        workers = {spared, *(child.pid for child in self._children.values())}
        return [pid for pid in children_of("self") if pid not in workers and not _is_zygote(pid)]

    def _end_orphans(self) -> None:
        """Kill them and all that they have started; reap those that end soon, the others later."""
        for _ in range(_REAPINGS):
            orphans = self._orphans()
            if not orphans:
                return
            for pid in descendants_of(orphans):
                if not _is_zygote(pid):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            for pid in orphans:
                os.waitpid(pid, os.WNOHANG)
            time.sleep(_REAPING_S)

    def _report(self, report: ZygoteReport, *descriptors: int) -> None:
        with suppress(OSError):  # the pool is gone: its end of the lifeline tells next
            send(self._channel, report, list(descriptors))

    def _end(self) -> None:
        for child in self._children.values():
            _kill_group(child.pid)
            os.kill(child.pid, signal.SIGKILL)  # it may not have made its group yet
            os.waitpid(child.pid, 0)
        while pids := children_of("self"):
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            for pid in pids:
                os.waitpid(pid, 0)
        if self._directory:  # an agent has none
            shutil.rmtree(self._directory, ignore_errors=True)


def _is_zygote(pid: int) -> bool:
    """Whether workers are forked from it."""
    return bootstrap.__file__ in command_of(pid)


def _close_all(birth: worker.Birth) -> None:
    for descriptor in (birth.page, *birth.pipes):
        os.close(descriptor)


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError):  # it has not made its group yet, so it has no descendants
        os.killpg(leader, signal.SIGKILL)
