"""Ends real workers at the kill points of FAULTS 2; found only by what has this directory on its path.

Python imports a module of this name at start. In the zygote it waits for forks: in each worker, the code
of the worker is wrapped so that a process that passes a point and finds a token for it kills itself. A
token is a byte in the pipe ``K<number>`` of the directory that ``ORCHESTRATOR_KILL_POINTS`` names: so
many tokens, so many deaths. Without that variable nothing is done, and the product knows none of this.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

POINTS = 15
_pipes: list[int] = []


def pass_point(point: int) -> None:
    """Die here if a token says so."""
    if not _pipes:
        return
    try:
        token = os.read(_pipes[point], 1)
    except BlockingIOError:
        return
    if token:
        os.kill(os.getpid(), signal.SIGKILL)


def _arm() -> None:
    worker = sys.modules.get("executor.worker")
    if _pipes or worker is None:
        return  # a process that a body has forked, or one that is no zygote's
    directory = Path(os.environ["ORCHESTRATOR_KILL_POINTS"])
    _pipes.extend(
        os.open(directory / f"K{point}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        for point in range(POINTS)
    )
    pass_point(0)
    _wrap(worker)


def _before(owner: Any, name: str, point: int, when: Callable[..., Any] = lambda *_: True) -> None:
    original = getattr(owner, name)

    def wrapped(self: Any, *args: Any, **options: Any) -> Any:
        if when(self, *args):
            pass_point(point)
        return original(self, *args, **options)

    setattr(owner, name, wrapped)


def _after(owner: Any, name: str, do: Callable[..., None]) -> None:
    original = getattr(owner, name)

    def wrapped(self: Any, *args: Any, **options: Any) -> Any:
        result = original(self, *args, **options)
        do(result, *args)
        return result

    setattr(owner, name, wrapped)


def _wrap(worker: Any) -> None:
    # Python imports this module long before ours can be found; the zygote has imported all of these.
    hub, reporter = sys.modules["executor.hub"].Hub, sys.modules["executor.reporter"].Reporter
    session, zmtp = sys.modules["protocol.framing"].Session, sys.modules["protocol.zmtp"]
    span = sys.modules["protocol.messages"].FrameSpan

    says: set[str] = {"hello"}
    _before(worker.Worker, "_welcome", 2)
    _before(worker.Worker, "_invoke", 3)
    _after(worker.Worker, "_mark", lambda _, key: pass_point(4) if key is not None else None)
    # 5, in the body, is passed by the bodies of the tests.
    _before(reporter, "chunks", 6)
    _after(reporter, "_write_chunks", lambda *_: says.add("chunk"))
    _before(hub, "_next_step", 8, lambda _, __, throws: throws)
    _before(reporter, "completed", 9)
    _after(session, "attach", lambda wire, _: pass_point(10) if isinstance(wire, span) else None)
    _before(reporter, "completed", 13, lambda *args: len(args) > 6 and args[6] is not None)
    _after(reporter, "completed", lambda *_: says.add("result"))
    _before(worker.Worker, "_drain", 14)
    send = zmtp.Dealer.send

    def sent(self: Any, parts: Any) -> None:
        if "result" in says and len(parts) > 1:
            try:
                token = os.read(_pipes[11], 1)
            except BlockingIOError:
                token = b""
            if token:  # half of the result has been written
                self._socket.sendall(b"\x01\x05half")
                os.kill(os.getpid(), signal.SIGKILL)
        send(self, parts)
        for what, point in (("hello", 1), ("chunk", 7), ("result", 12)):
            if what in says:
                pass_point(point)
        says.clear()

    zmtp.Dealer.send = sent


if "ORCHESTRATOR_KILL_POINTS" in os.environ:
    os.register_at_fork(after_in_child=_arm)
