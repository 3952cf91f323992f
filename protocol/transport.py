"""ZeroMQ's sockets: the end of clients and agents, and the link to a thread; nobody else knows them.

What listens to them is ``protocol.listener``. Nothing here reads a header (``protocol.framing`` does).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import zmq

from protocol.directory import require_local
from protocol.framing import Parts
from protocol.values import VALUE_LIMIT_BYTES, Buffer

__all__ = ["ClientConnection", "Connection", "open_context", "thread_link"]

QUEUED_ENVELOPES: Final = 1000
"""How many envelopes ZeroMQ holds for one peer in each direction; the rest waits with the sender."""


class Connection:
    """Envelopes from and to the coordinator at an ``ipc://`` endpoint.

    Raises:
        InsecureTransport: it is another endpoint.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> None:
        self.context = context
        self.socket = _open_dealer(context, endpoint)

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
        super().__init__(context, endpoint)
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


def _is_readable(socket: zmq.Socket[bytes]) -> bool:
    """Whether there is an envelope: asked beforehand, which costs less than an exception."""
    events: Any = socket.get(_EVENTS)
    return bool(events & _POLLIN)


# As plain integers: to combine the members of zmq's enumerations takes longer than to send.
_EVENTS: Final = int(zmq.EVENTS)
_POLLIN: Final = int(zmq.POLLIN)


# -- the one place where sockets are made ----------------------------------------------------------

_OPTIONS: Final[dict[int, int]] = {
    zmq.LINGER: 0,
    # Per frame. Serialization refuses larger values, so a peer that sends one is none of ours.
    zmq.MAXMSGSIZE: VALUE_LIMIT_BYTES,
    zmq.SNDHWM: QUEUED_ENVELOPES,
    zmq.RCVHWM: QUEUED_ENVELOPES,
    zmq.HANDSHAKE_IVL: 5000,
    # No ZMTP heartbeat: on one host the kernel tells of every death at once (pidfd, lifeline), and a
    # process stopped by a debugger is not dead.
    zmq.RECONNECT_IVL: 100,
    zmq.RECONNECT_IVL_MAX: 2000,
}


def _open_dealer(context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> zmq.Socket[bytes]:
    """A DEALER connected to a socket file of this host.

    Raises:
        InsecureTransport: the endpoint is not such a file.
    """
    require_local(endpoint)
    socket = context.socket(zmq.DEALER)
    try:
        for option, value in _OPTIONS.items():
            socket.setsockopt(option, value)
        socket.connect(endpoint)
    except BaseException:
        socket.close()
        raise
    return socket
