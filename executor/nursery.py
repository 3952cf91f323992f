"""A pool's side of its zygote: starting it, giving orders, hearing reports, ending it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

from msgspec import json

from executor import bootstrap
from executor.orders import Setup, Spawn, ZygoteReport, receive_report, send

_EXIT_S: Final = 5.0

# Read when a library of numerics is loaded: each worker would else start threads for all cores.
_THREAD_VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


_Pipes: TypeAlias = tuple[int, int] | None


class Nursery:
    """One zygote. Its end, whatever the reason, is the end of all its workers.

    ``channel`` is readable when there is something to :meth:`receive`.
    """

    def __init__(self, setup: Setup, threads_per_worker: int, pipes: _Pipes = None) -> None:
        """Start the zygote; does not wait for it. It prints into ``pipes``, which stay the caller's.

        Raises:
            OSError: the system refused.
        """
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                self._process = _start(theirs.fileno(), threads_per_worker, pipes)
            self.channel.sendall(json.encode(setup))
        except BaseException:
            self.channel.close()
            raise

    def spawn(self, worker: int, token: bytes, *descriptors: int) -> None:
        """Order a worker with its page and its pipes. If the zygote is gone, :meth:`receive` tells."""
        with suppress(BrokenPipeError, ConnectionResetError):
            send(self.channel, Spawn(worker, token), list(descriptors))

    def receive(self) -> tuple[ZygoteReport, list[int]] | None:
        """The next report and the pidfd that came with it; None when the zygote is gone.

        Raises:
            BlockingIOError: there is none now.
        """
        try:
            return receive_report(self.channel)
        except ConnectionResetError:
            return None

    def end(self) -> int | None:
        """End the zygote, and with it every worker; its exit status. Repeating it changes nothing."""
        self.channel.close()
        try:
            return self._process.wait(_EXIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()  # its workers die with it
            return self._process.wait()


def _start(descriptor: int, threads_per_worker: int, pipes: _Pipes) -> subprocess.Popen[bytes]:
    if not sys.executable:
        raise OSError("workers need a Python interpreter, and sys.executable does not name one")
    environment = dict.fromkeys(_THREAD_VARIABLES, str(threads_per_worker)) | os.environ
    optimize = ["-" + "O" * sys.flags.optimize] if sys.flags.optimize else []
    program = str(Path(bootstrap.__file__))
    return subprocess.Popen(
        [sys.executable, "-P", *optimize, program, str(descriptor)],
        stdin=subprocess.DEVNULL,
        stdout=None if pipes is None else pipes[0],
        stderr=None if pipes is None else pipes[1],
        pass_fds=[descriptor],
        env=environment,
        start_new_session=True,  # Ctrl-C reaches the pool's process alone
    )
