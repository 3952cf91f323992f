"""Sockets between a coordinator and the workers on its host: the one module here that knows ZeroMQ.

A :class:`SessionDirectory` holds the socket file; only this user can enter it, and the kernel vouches
for the user behind each message. The coordinator has one :class:`Listener`, each worker a
:class:`Connection`. Nothing here reads a header (``protocol.framing`` does).
"""

from __future__ import annotations

import math
import os
import shutil
import stat
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import zmq

from protocol.framing import Parts
from protocol.leftovers import make_directory, sweep
from protocol.values import VALUE_LIMIT_BYTES, Buffer

__all__ = [
    "ClientConnection",
    "Connection",
    "InsecureTransport",
    "Listener",
    "Received",
    "SessionDirectory",
    "thread_link",
]

QUEUED_ENVELOPES: Final = 1000
"""How many envelopes ZeroMQ holds for one peer in each direction; the rest waits with the sender."""

SENDERS_LIMIT: Final = 10_000
"""Of so many connections it is remembered at most whose they are; of others it is asked anew."""


class InsecureTransport(Exception):  # noqa: N818 - its name is in the documentation
    """The endpoint would carry our messages, which are code, where others can read or send them."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(endpoint)
        self.endpoint = endpoint

    def __str__(self) -> str:
        return (
            f"{self.endpoint} is refused: without keys every user who can reach it could run code as "
            "you, on the loopback interface too; use an ipc:// endpoint"
        )


# -- the directory ---------------------------------------------------------------------------------


class SessionDirectory:
    """A new directory that only this user can enter, for one pool's socket."""

    def __init__(self, path: Path) -> None:
        """Take a directory that exists.

        Raises:
            PermissionError: someone else could get in.
            OSError: it is not there, or its path is too long for a socket.
        """
        require_private(path)
        self.path = path
        self.socket = path / "coordinator"
        require_short(self.socket)

    @classmethod
    def create(cls) -> SessionDirectory:
        """A fresh one under ``$XDG_RUNTIME_DIR``, or else the system's temporary directory.

        Those that were left there by processes of ours that are gone are removed.
        """
        runtime = os.environ.get("XDG_RUNTIME_DIR", "")
        parent = runtime if runtime and os.access(runtime, os.W_OK | os.X_OK) else tempfile.gettempdir()
        sweep(Path(parent))
        path = make_directory(Path(parent))
        try:
            return cls(path)
        except OSError:
            shutil.rmtree(path, ignore_errors=True)
            raise

    @property
    def endpoint(self) -> str:
        return f"ipc://{self.socket}"

    def remove(self) -> None:
        """Delete it and what is in it; repeating it changes nothing."""
        shutil.rmtree(self.path, ignore_errors=True)


def require_private(path: Path) -> None:
    """See to it that nobody else can enter a directory.

    Raises:
        PermissionError: someone else could get in.
        OSError: it is not there.
    """
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError(
            f"{path} must be a directory (no link) of user {os.geteuid()} with mode 0700; "
            f"it has mode {stat.filemode(found.st_mode)} and belongs to user {found.st_uid}"
        )


def require_short(socket: Path) -> None:
    """See to it that a socket file can have this path.

    Raises:
        OSError: it is too long.
    """
    length = len(os.fsencode(socket))
    if length > zmq.IPC_PATH_MAX_LEN:
        raise OSError(
            f"the socket path {socket} has {length} bytes, and {zmq.IPC_PATH_MAX_LEN} are "
            "possible; set XDG_RUNTIME_DIR or TMPDIR to a directory with a shorter path"
        )


# -- the coordinator's end -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Received:
    """One envelope and its sender: ZeroMQ's name for the connection, and the pid behind it."""

    identity: bytes
    pid: int
    parts: Parts


class Listener:
    """The coordinator's end: envelopes from and to any number of peers; nothing blocks."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> None:
        self.socket = _open_socket(context, zmq.ROUTER, endpoint, _LISTENER)
        self.foreign = 0
        """Counts what came from other users; it was dropped."""
        # What ZeroMQ did not take. Invariant: no queue is empty.
        self._backlog: dict[bytes, deque[Parts]] = {}
        self._senders: dict[bytes, int] = {}  # by connection: what the kernel said at its first envelope
        self._is_drained = False

    @property
    def has_backlog(self) -> bool:
        """Whether :meth:`send_backlog` should be called again in a few milliseconds."""
        return bool(self._backlog)

    @property
    def has_input(self) -> bool:
        """Whether :meth:`receive` has something to return; the socket tells only what is news to it."""
        return not self._is_drained and _is_readable(self.socket)

    def receive(self) -> Received | None:
        """The next envelope, or None if there is none now. Payload frames are not copied."""
        self._is_drained = False
        while _is_readable(self.socket):
            recv = self.socket.recv
            identity = recv(_NOBLOCK)
            frame = recv(_NOBLOCK, copy=False)
            frames = [frame]
            while frame.more:
                frame = recv(_NOBLOCK, copy=False)
                frames.append(frame)
            sender = self._senders.get(identity) or self._note_sender(identity, frames[0])
            if sender is None:
                self.foreign += 1
                continue
            return Received(identity, sender, [frame.buffer for frame in frames])
        self._is_drained = True
        return None

    def _note_sender(self, identity: bytes, frame: zmq.Frame) -> int | None:
        sender = _local_sender(frame)
        if sender is not None:
            if len(self._senders) >= SENDERS_LIMIT:
                self._senders.clear()
            self._senders[identity] = sender
        return sender

    def send(self, identity: bytes, parts: Parts) -> bool:
        """Send an envelope, now or when ZeroMQ takes it; False if the peer's connection is gone."""
        waiting = self._backlog.get(identity)
        if waiting is not None:
            waiting.append(parts)
            return True
        self._is_drained = False  # while it sends, the socket may see what has come
        try:
            send = self.socket.send
            send(identity, _NOBLOCK_MORE)
            for part in parts[:-1]:
                send(_uncopied(part), _NOBLOCK_MORE)
            send(_uncopied(parts[-1]), _NOBLOCK)
        except zmq.Again:
            self._backlog[identity] = deque([parts])
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            return False
        return True

    def is_behind(self, identity: bytes) -> bool:
        """Whether a peer has so much unread that ZeroMQ takes no more for it."""
        return identity in self._backlog

    def send_backlog(self) -> None:
        """Try again what ZeroMQ would not take before."""
        backlog, self._backlog = self._backlog, {}
        for identity, waiting in backlog.items():
            for parts in waiting:
                self.send(identity, parts)

    def forget(self, identity: bytes) -> None:
        """Drop what still waits for a peer that is gone."""
        self._backlog.pop(identity, None)
        self._senders.pop(identity, None)

    def close(self, linger_s: float = 0.0) -> None:
        """Leave; what peers have not taken by then is dropped after ``linger_s``."""
        self.socket.close(linger=int(linger_s * 1000))


def _uncopied(part: Buffer) -> Buffer | zmq.Frame:
    """What has been received is sent on as it is: ZeroMQ counts who holds it, and copies nothing."""
    if type(part) is memoryview and isinstance(part.obj, zmq.Frame) and part.nbytes == len(part.obj):
        return part.obj
    return part


def _local_sender(frame: zmq.Frame) -> int | None:
    """The pid that the kernel saw at the other end, if it runs as our user."""
    address = frame.get("Peer-Address")
    _, uid, _, pid = str(address).split(":")  # "localhost:UID:GID:PID"
    return int(pid) if int(uid) == os.geteuid() else None


def _is_readable(socket: zmq.Socket[bytes]) -> bool:
    """Whether there is an envelope: asked beforehand, which costs less than an exception."""
    events: Any = socket.get(_EVENTS)
    return bool(events & _POLLIN)


# As plain integers: to combine the members of zmq's enumerations takes longer than to send.
_NOBLOCK: Final = int(zmq.NOBLOCK)
_NOBLOCK_MORE: Final = int(zmq.NOBLOCK | zmq.SNDMORE)
_EVENTS: Final = int(zmq.EVENTS)
_POLLIN: Final = int(zmq.POLLIN)


# -- the other end ---------------------------------------------------------------------------------


class Connection:
    """A worker's end: envelopes from and to its coordinator."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> None:
        self.context = context
        self.socket = _open_socket(context, zmq.DEALER, endpoint, _WORKER)

    def receive(self, *, wait: bool) -> list[Buffer] | None:
        """The next envelope. ``wait`` for one, or None if there is none now."""
        if not wait and not _is_readable(self.socket):
            return None
        try:
            frames = [self.socket.recv(0 if wait else zmq.NOBLOCK, copy=False)]
        except zmq.Again:
            return None
        while frames[-1].more:
            frames.append(self.socket.recv(0, copy=False))
        return [frame.buffer for frame in frames]

    def wait(
        self, others: Sequence[int] = (), timeout_s: float | None = None, *, to_send: bool = False
    ) -> list[int]:
        """Wait until an envelope is there, or one of ``others``, descriptors, is readable: those.

        ``to_send``: or until an envelope can be sent. ``timeout_s`` bounds it; what a signal's handler
        raises is raised here.
        """
        poller = zmq.Poller()
        poller.register(self.socket, zmq.POLLIN | zmq.POLLOUT if to_send else zmq.POLLIN)
        for source in others:
            poller.register(source, zmq.POLLIN)
        ready = poller.poll(None if timeout_s is None else max(0, math.ceil(timeout_s * 1000)))
        return [source for source, _ in ready if isinstance(source, int)]

    def send(self, parts: Parts) -> None:
        """Send an envelope; waits while the coordinator has too much of ours unread, or is gone."""
        self.socket.send_multipart(parts)

    def send_nowait(self, parts: Parts) -> bool:
        """Send an envelope; False if ``send`` would have to wait."""
        try:
            self.socket.send_multipart(parts, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    @property
    def descriptor(self) -> int:
        """Becomes readable when something may have come; says nothing of what ``send`` has seen come."""
        return self.socket.FD

    def close(self, linger_s: float | None) -> None:
        """Leave, after what was sent has been taken or the time is up; None: however long it takes."""
        self.socket.close(linger=-1 if linger_s is None else int(linger_s * 1000))


class ClientConnection(Connection):
    """A client's end: all that the coordinator has sent can be read, also when it has ended."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> None:
        self.context = context
        self.socket = _open_socket(context, zmq.DEALER, endpoint, _CLIENT)
        self._monitor = self.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)

    @property
    def has_all(self) -> bool:
        """Whether the coordinator has parted, and so nothing more will come."""
        return bool(int(self._monitor.EVENTS) & zmq.POLLIN)

    def close(self, linger_s: float | None) -> None:
        self.socket.disable_monitor()
        self._monitor.close()
        super().close(linger_s)


def thread_link() -> tuple[Connection, Connection]:
    """The two ends of a link between two threads of this process; neither ever waits to send.

    They have a context of their own. Whoever closes his end last terminates it.
    """
    # In-process sockets need no thread of ZeroMQ's.
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=0)
    return _LinkEnd(context, binds=True), _LinkEnd(context, binds=False)


class _LinkEnd(Connection):
    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], *, binds: bool) -> None:
        self.context = context
        self.socket = context.socket(zmq.PAIR)
        # The coordinator's credit bounds what is on its way.
        self.socket.sndhwm = self.socket.rcvhwm = 0
        if binds:
            self.socket.bind(_LINK)
        else:
            self.socket.connect(_LINK)

    def send(self, parts: Parts) -> None:
        with suppress(zmq.Again):  # the other end has left; nobody wants to know
            self.socket.send_multipart(parts, zmq.NOBLOCK)


_LINK: Final = "inproc://worker"


@contextmanager
def open_context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    """A ZeroMQ context; it waits at the end for sockets that linger."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        yield context
    finally:
        context.term()


# -- the one place where sockets are made ----------------------------------------------------------

_COMMON: Final[dict[int, int]] = {
    zmq.LINGER: 0,
    # Per frame. Serialization refuses larger values, so a peer that sends one is none of ours.
    zmq.MAXMSGSIZE: VALUE_LIMIT_BYTES,
    zmq.SNDHWM: QUEUED_ENVELOPES,
    zmq.RCVHWM: QUEUED_ENVELOPES,
    zmq.HANDSHAKE_IVL: 5000,
    # No ZMTP heartbeat: on one host the kernel tells of every death at once (pidfd, lifeline), and a
    # process stopped by a debugger is not dead.
}
_LISTENER: Final[dict[int, int]] = {
    # Sending to a peer that is not there is an error instead of a silent loss.
    zmq.ROUTER_MANDATORY: 1,
    zmq.BACKLOG: 512,
}
_CLIENT: Final[dict[int, int]] = {
    zmq.RECONNECT_IVL: 100,
    zmq.RECONNECT_IVL_MAX: 2000,
}
_WORKER: Final[dict[int, int]] = _CLIENT | {
    # Nothing is queued for a coordinator that is not there, nor kept of what it has sent.
    zmq.IMMEDIATE: 1,
}


def _open_socket(
    context: zmq.Context[zmq.Socket[bytes]], kind: int, endpoint: str, options: dict[int, int]
) -> zmq.Socket[bytes]:
    """A ROUTER bound to, or a DEALER connected to, a socket file of this host.

    Raises:
        InsecureTransport: the endpoint is not such a file.
    """
    if not endpoint.startswith("ipc:///"):
        raise InsecureTransport(endpoint)
    listens = kind == zmq.ROUTER
    socket = context.socket(kind)
    try:
        for option, value in (_COMMON | options).items():
            socket.setsockopt(option, value)
        if listens:
            _bind_private(socket, endpoint)
        else:
            socket.connect(endpoint)
    except BaseException:
        socket.close()
        raise
    return socket


def _bind_private(socket: zmq.Socket[bytes], endpoint: str) -> None:
    before = os.umask(0o077)  # the socket file gets mode 0700
    try:
        socket.bind(endpoint)
    finally:
        os.umask(before)
