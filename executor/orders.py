"""What a pool and its zygote say to each other, over a socket pair that nobody else holds.

Each message is one packet, so none is ever cut; descriptors travel beside it. The pair is also the
lifeline: when the pool's end closes, for whatever reason, the zygote ends everything.
"""

from __future__ import annotations

import os
import socket
import sys
import warnings
from array import array
from typing import Any, Final, TypeAlias, TypeVar

import msgspec
from msgspec import Struct, msgpack

PACKET_BYTES: Final = 128 * 1024
DESCRIPTORS_PER_SPAWN: Final = 3


class Setup(Struct, frozen=True):
    """Pool -> zygote, first, as JSON: the state of the pool's process that workers start with.

    What else they share with it (working directory, environment, locale) comes by being its child.
    """

    endpoint: str  # where workers connect
    directory: str  # to be removed by the zygote if the pool cannot
    parent: int  # the pool's pid
    sys_path: list[str]
    recursion_limit: int
    warning_filters: list[WarningFilter]
    drops_output: bool = False  # bodies do not wait for what they print to be read


class WarningFilter(Struct, frozen=True):
    """An entry of ``warnings.filters``; ``category`` is the name of a built-in one."""

    action: str
    message: str
    category: str
    module: str
    line: int


class Spawn(Struct, frozen=True, array_like=True, tag=1):
    """Pool -> zygote: fork a worker. A descriptor of its page comes along.

    So may two of pipes for its standard output and error, which are else the zygote's.
    """

    worker: int
    token: bytes


class Started(Struct, frozen=True, array_like=True, tag=1):
    """Zygote -> pool: the worker's process exists. A pidfd of it comes along."""

    worker: int
    pid: int


class NotStarted(Struct, frozen=True, array_like=True, tag=2):
    """Zygote -> pool: the system refused to make the process."""

    worker: int
    reason: str


class Exited(Struct, frozen=True, array_like=True, tag=3):
    """Zygote -> pool: the process ended, and so did what it had started.

    ``status`` is the exit code or minus the signal's number; ``peak_kib`` its largest resident size;
    ``left`` some of what it had left running, by pid: the command.
    """

    worker: int
    pid: int
    status: int
    peak_kib: int
    left: dict[int, str] = {}


ZygoteReport: TypeAlias = Started | NotStarted | Exited

_Packet = TypeVar("_Packet")

_encoder: Final = msgpack.Encoder()
_spawn: Final = msgpack.Decoder(Spawn)
_report: Final[msgpack.Decoder[ZygoteReport]] = msgpack.Decoder(ZygoteReport)


def send(channel: socket.socket, message: Spawn | ZygoteReport, descriptors: list[int]) -> None:
    """Send one packet.

    Raises:
        OSError: the other end is gone.
    """
    socket.send_fds(channel, [_encoder.encode(message)], descriptors)


def receive_spawn(channel: socket.socket) -> tuple[Spawn, list[int]] | None:
    """The next order and its descriptors, or None when the pool is gone.

    Raises:
        ConnectionError: the pool is gone, or says what makes no sense.
    """
    packet, descriptors = _receive(channel)
    if not packet:
        return None
    spawn = _decoded(_spawn, packet, descriptors)
    _one(descriptors)
    return spawn, descriptors


def receive_report(channel: socket.socket) -> tuple[ZygoteReport, list[int]] | None:
    """The next report, without waiting, and its pidfd if any; None when the zygote is gone.

    Raises:
        BlockingIOError: there is none now.
        ConnectionError: the zygote is gone, or says what makes no sense.
    """
    packet, descriptors = _receive(channel, socket.MSG_DONTWAIT)
    if not packet:
        return None
    report = _decoded(_report, packet, descriptors)
    if isinstance(report, Started):
        _one(descriptors)
    return report, descriptors


def _decoded(decoder: msgpack.Decoder[_Packet], packet: bytes, descriptors: list[int]) -> _Packet:
    try:
        return decoder.decode(packet)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        for descriptor in descriptors:
            os.close(descriptor)
        raise ConnectionResetError(f"a packet that does not decode: {error}") from error


def _one(descriptors: list[int]) -> int:
    if not descriptors:
        raise ConnectionResetError("a packet came without its descriptor")
    return descriptors[0]


def _receive(channel: socket.socket, flags: int = 0) -> tuple[bytes, list[int]]:
    # Not socket.recv_fds: it takes flags and does not pass them on.
    descriptors = array("i")
    packet, ancillary, _, _ = channel.recvmsg(
        PACKET_BYTES,
        socket.CMSG_LEN(DESCRIPTORS_PER_SPAWN * descriptors.itemsize),
        flags | socket.MSG_CMSG_CLOEXEC,
    )
    for _, _, rights in ancillary:
        descriptors.frombytes(rights)
    return packet, list(descriptors)


def current_setup(endpoint: str, directory: str, *, drops_output: bool = False) -> Setup:
    """The state of this process that its workers are to start with."""
    return Setup(
        endpoint,
        directory,
        os.getpid(),
        list(sys.path),
        sys.getrecursionlimit(),
        [
            WarningFilter(action, _pattern(message), category.__name__, _pattern(module), line)
            for action, message, category, module, line in _warning_filters()
            # Others would have to be imported to be known.
            if category.__module__ == "builtins"
        ],
        drops_output,
    )


def apply_setup(setup: Setup) -> None:
    sys.path[:] = setup.sys_path
    sys.setrecursionlimit(setup.recursion_limit)
    warnings.resetwarnings()
    for each in setup.warning_filters:
        category: Any = vars(sys.modules["builtins"])[each.category]
        action: Any = each.action
        warnings.filterwarnings(action, each.message, category, each.module, each.line, append=True)


def _warning_filters() -> list[Any]:
    return list(warnings.filters)


def _pattern(matcher: Any) -> str:
    """The regular expression of a filter's part: None, a name, or a compiled one."""
    return "" if matcher is None else str(getattr(matcher, "pattern", matcher))
