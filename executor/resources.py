"""What a pool holds of the system, so that all of it can be given back whatever becomes of the pool."""

from __future__ import annotations

import logging
import os
import resource
import secrets
import select
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeAlias

from executor.actions import DumpStacks, Interrupt, KillWorker, TerminateWorker
from executor.marks import SECRET_BYTES
from executor.nursery import Nursery
from executor.oom import OomWatch
from executor.orders import current_setup
from executor.output import Outputs, Print, Printed
from executor.page import create_page
from executor.peer import Peer
from executor.shield import Shield
from protocol.directory import SessionDirectory
from protocol.listener import Listener

Source: TypeAlias = Any
"""What a pool's owner polls for reading: a socket or a descriptor."""


log = logging.getLogger(__name__)

Signal: TypeAlias = Interrupt | DumpStacks | TerminateWorker | KillWorker

_SIGNALS: Final[dict[type, signal.Signals]] = {
    DumpStacks: signal.SIGUSR2,
    Interrupt: signal.SIGUSR1,
    TerminateWorker: signal.SIGTERM,
    KillWorker: signal.SIGKILL,
}
ZYGOTE: Final = 0  # stands for a worker where output is concerned
_DESCRIPTORS_PER_WORKER: Final = 5  # its connection, its pidfd, its page, what it prints
_DESCRIPTORS_SPARE: Final = 64


class Resources:
    """Processes, sockets, descriptors and files. Knows no pool, so it can outlive one to clean up."""

    def __init__(
        self, workers: int, threads_per_worker: int, show: Print, *, drops_output: bool = False
    ) -> None:
        """Make all that ``workers`` need but the workers themselves; waits for nothing.

        ``show`` is given what nobody has read when all is given back. ``drops_output``: bodies do not
        wait for it to be read before.

        Raises:
            OSError: the system refused, or would not let this process have descriptors enough.
        """
        reserve_descriptors(workers)
        self._pid = os.getpid()
        self._threads_per_worker = threads_per_worker
        self.peers: dict[int, Peer] = {}  # by worker
        self.pidfds: dict[int, int] = {}  # pidfd -> worker; each until its process has ended
        self._changes = 0
        self.outputs = Outputs()
        self.nursery: Nursery | None = None
        self.oom = OomWatch()
        self._show = show
        self._drops_output = drops_output
        self._directory = SessionDirectory.create()
        try:
            self.listener = Listener(self._directory.endpoint)
            try:
                self.start_nursery()
            except BaseException:
                self.listener.close()
                raise
        except BaseException:
            self.outputs.close()
            self._directory.remove()
            raise

    @property
    def endpoint(self) -> str:
        return self._directory.endpoint

    def sources(self) -> list[Source]:
        channel = [] if self.nursery is None else [self.nursery.channel]
        return [self.listener.descriptor, *channel, *self.pidfds, *self.outputs]

    @property
    def changes(self) -> int:
        """Counts what has become or ceased to be a source; a descriptor's number may be used again."""
        return self._changes + self.outputs.changes

    def watch(self, pidfd: int, worker: int) -> None:
        """Take over the pidfd of a worker that was started."""
        self._changes += 1
        self.pidfds[pidfd] = worker

    def wait(self, timeout_s: float) -> list[Source]:
        """Which of the sources are readable, as soon as one is or the time is up."""
        poll = select.poll()
        sources = {descriptor(source): source for source in self.sources()}
        for each in sources:
            poll.register(each, select.POLLIN)
        return [sources[each] for each, _ in poll.poll(int(timeout_s * 1000) + 1)]

    def hears_zygote_on(self, source: Source) -> bool:
        return self.nursery is not None and source is self.nursery.channel

    def spawn(self, worker: int) -> None:
        """Order a worker.

        Raises:
            OSError: the system refused.
        """
        assert self.nursery is not None, "a pool whose zygote is gone spawns nothing"
        token, descriptors = self.prepare(worker)
        try:
            self.nursery.spawn(worker, token, *descriptors)
        except OSError:
            self.bury(worker)
            raise
        finally:
            _close_all(descriptors)

    def prepare(self, worker: int) -> tuple[bytes, list[int]]:
        """Make what a worker is to have: its token, and its page and pipes, which are the caller's.

        Raises:
            OSError: the system refused; then nothing was made.
        """
        descriptors = [create_page()]
        try:
            peer = self.peers[worker] = Peer(worker, descriptors[0])
            descriptors += self.outputs.open(worker, peer.token[:SECRET_BYTES])
        except OSError:
            _close_all(descriptors)
            if worker in self.peers:
                self.bury(worker)
            raise
        return peer.token, descriptors

    def send_signal(self, action: Signal) -> None:
        """Do so, unless the worker has no process yet or no more."""
        if isinstance(action, Interrupt):
            self.peers[action.worker].aim(action.number)
        elif isinstance(action, TerminateWorker):
            log.warning("worker %d is ended: a body there does not end", action.worker)
        for pidfd, owner in self.pidfds.items():
            if owner == action.worker:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(pidfd, _SIGNALS[type(action)])

    def has_ended(self, worker: int) -> bool:
        """Whether a worker's process is gone, be it noticed or not."""
        living = select.poll()
        pidfds = [pidfd for pidfd, owner in self.pidfds.items() if owner == worker]
        for pidfd in pidfds:
            living.register(pidfd, select.POLLIN)
        return not pidfds or bool(living.poll(0))

    def bury(self, worker: int) -> Peer:
        """Give back what a worker had that has ended. Its pidfd stays until it has been noticed."""
        peer = self.peers.pop(worker)
        if peer.connection is not None:
            self.listener.forget(peer.connection)
        peer.close()
        return peer

    def noticed(self, pidfd: int) -> int | None:
        """Forget a pidfd if its process has ended: whose it was."""
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(0):
            return None
        os.close(pidfd)
        self._changes += 1
        return self.pidfds.pop(pidfd)

    def start_nursery(self) -> None:
        """Start the zygote.

        Raises:
            OSError: the system refused.
        """
        directory = self._directory
        setup = current_setup(directory.endpoint, str(directory.path), drops_output=self._drops_output)
        self._changes += 1
        pipes = self.outputs.open(ZYGOTE, secrets.token_bytes(SECRET_BYTES))
        try:
            self.nursery = Nursery(setup, self._threads_per_worker, pipes)
        finally:
            for pipe in pipes:
                os.close(pipe)

    def end_nursery(self) -> int | None:
        """End the zygote, and with it every worker; its exit status."""
        self._changes += 1
        nursery, self.nursery = self.nursery, None
        return None if nursery is None else nursery.end()

    def release(self) -> None:
        """End every process and give everything back; in a fork of the owner, nothing is ours."""
        if os.getpid() != self._pid:
            return
        try:
            with Shield():
                self.end_nursery()
            for piece in self.outputs.read_all():
                self._show(Printed(piece.worker, None, piece.is_error, piece.data))
        finally:  # that is the user's, and may raise; so may an interrupt
            with Shield():
                self._give_back()

    def _give_back(self) -> None:
        self.outputs.close()
        for worker in list(self.peers):
            self.bury(worker)
        for pidfd in self.pidfds:
            os.close(pidfd)
        self.pidfds.clear()
        self.listener.close()
        self._directory.remove()


def descriptor(source: Source) -> int:
    """By which the system knows a source."""
    return source if isinstance(source, int) else int(source.fileno())


def reserve_descriptors(workers: int) -> None:
    """See to it that the workers' descriptors fit (F14)."""
    held = sum(1 for _ in Path("/proc/self/fd").iterdir())
    needed = held + workers * _DESCRIPTORS_PER_WORKER + _DESCRIPTORS_SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise OSError(
            f"{workers} workers need up to {needed} open files here, and {hard} are allowed; "
            "use fewer workers, or raise the limit (ulimit -Hn)"
        )
    if soft != resource.RLIM_INFINITY and needed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _close_all(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
