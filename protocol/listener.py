"""A coordinator's end of its connections on this host: envelopes from and to any number of peers.

Theory of operation. What is there is read when its owner asks (``receive``), and what is sent is written
at once, as far as the kernel takes it; the rest is written when it takes more, in a later ``receive``.
All sockets are in one epoll, whose descriptor the owner polls. Nothing blocks, and there is no thread;
``protocol.zmtp`` tells why, and what peers speak. The kernel says whose process made each connection.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from time import monotonic
from typing import Any, Final, NewType

from protocol.credentials import peer_of
from protocol.directory import require_local
from protocol.errors import ProtocolError
from protocol.framing import Parts
from protocol.values import Buffer
from protocol.zmtp import GREETING, Incoming, check_greeting, encode, ready

ConnectionId = NewType("ConnectionId", int)
"""Names a connection; none is used twice."""

READ_BYTES: Final = 16 * 1024
"""At most so much of a peer is read at once, so that others get their turn; frames may be larger."""

_WAITING: Final = 512  # connections that wait to be accepted
_PIECES: Final = 64  # written at once
_EXHAUSTED: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


@dataclass(frozen=True, slots=True)
class Received:
    """One envelope, its connection, and the pid behind that."""

    connection: ConnectionId
    pid: int
    parts: Parts


class Listener:
    """Listens on an ``ipc://`` endpoint whose file does not exist yet; for one thread at a time.

    Raises:
        InsecureTransport: the endpoint is not the absolute path of a file.
        OSError: it cannot be bound.
    """

    def __init__(self, endpoint: str) -> None:
        require_local(endpoint)
        self.foreign = 0
        """Counts connections of other users; they were closed."""
        self._connections: dict[ConnectionId, _Connection] = {}
        self._by_descriptor: dict[int, _Connection] = {}
        self._ended: list[ConnectionId] = []
        self._made = 0
        self._socket = _bind_private(endpoint.removeprefix("ipc://"))
        self._accepting = self._socket.fileno()
        self._spare: int | None = os.open(os.devnull, os.O_RDONLY)  # given up to refuse a connection
        self._epoll = select.epoll()
        self._epoll.register(self._accepting, select.EPOLLIN)
        self.descriptor = self._epoll.fileno()
        """Is readable when ``receive`` has something to do."""

    def receive(self) -> list[Received]:
        """Some of what has come, from each peer a little at most; nothing if there is none."""
        return self._serve(self._epoll.poll(0))

    def receive_all(self) -> list[Received]:
        """All that has come."""
        arrived: list[Received] = []
        while events := self._epoll.poll(0):
            arrived += self._serve(events)
        return arrived

    def take_ended(self) -> list[ConnectionId]:
        """The connections that peers have ended, or broken, since the last call."""
        ended, self._ended = self._ended, []
        return ended

    def send(self, connection: ConnectionId, parts: Parts) -> bool:
        """Send an envelope, now or as the peer reads; False if the connection is gone."""
        known = self._connections.get(connection)
        return known is not None and self._write(known, encode(parts))

    def is_behind(self, connection: ConnectionId) -> bool:
        """Whether a peer has so much unread that the kernel takes no more for it."""
        known = self._connections.get(connection)
        return known is not None and bool(known.unsent)

    def forget(self, connection: ConnectionId) -> None:
        """Drop what waits for a peer that is gone, and its connection, which has carried half of it."""
        known = self._connections.get(connection)
        if known is not None and known.unsent:
            self._drop(known)

    def close(self, linger_s: float = 0.0) -> None:
        """Leave; what peers have not taken after ``linger_s`` is dropped. Repeating changes nothing."""
        if self._epoll.closed:
            return
        deadline = monotonic() + linger_s
        while any(each.unsent for each in self._connections.values()):
            timeout_s = deadline - monotonic()
            if timeout_s <= 0:
                break
            self._serve(self._epoll.poll(timeout_s))
        for connection in list(self._connections.values()):
            self._drop(connection)
        self._epoll.close()
        self._socket.close()
        self._give_up_spare()

    # -- private ------------------------------------------------------------------------------------

    def _serve(self, events: list[tuple[int, int]]) -> list[Received]:
        arrived: list[Received] = []
        for descriptor, event in events:
            if descriptor == self._accepting:
                self._accept()
                continue
            connection = self._by_descriptor[descriptor]
            if event & select.EPOLLOUT:
                self._write(connection, [])
            if event & ~select.EPOLLOUT:
                self._read(connection, arrived)
        return arrived

    def _accept(self) -> None:
        try:
            accepted, _ = self._socket.accept()
        except OSError as error:
            if error.errno in _EXHAUSTED:
                self._refuse()
            return  # else it has left already
        pid, uid = peer_of(accepted)
        if uid != os.geteuid():
            self.foreign += 1
            accepted.close()
            return
        accepted.setblocking(False)
        self._made += 1
        connection = _Connection(ConnectionId(self._made), pid, accepted)
        self._connections[connection.id] = self._by_descriptor[accepted.fileno()] = connection
        self._epoll.register(accepted.fileno(), select.EPOLLIN)
        self._write(connection, [GREETING])

    def _refuse(self) -> None:
        """There is no descriptor for a connection that waits: close it, or we would be told for ever."""
        self._give_up_spare()
        with suppress(OSError):
            self._socket.accept()[0].close()
        with suppress(OSError):  # another thread may have taken it meanwhile
            self._spare = os.open(os.devnull, os.O_RDONLY)

    def _give_up_spare(self) -> None:
        spare, self._spare = self._spare, None
        if spare is not None:
            os.close(spare)

    def _read(self, connection: _Connection, arrived: list[Received]) -> None:
        incoming = connection.incoming
        try:
            incoming.read()
            if not connection.is_greeted:
                greeting = incoming.greeting()
                if greeting is None:
                    return
                check_greeting(greeting)
                connection.is_greeted = True
                self._write(connection, [ready(b"ROUTER")])
            while (parts := incoming.next_envelope()) is not None:
                arrived.append(Received(connection.id, connection.pid, parts))
        except (OSError, ProtocolError):
            self._ended.append(connection.id)
            self._drop(connection)

    def _write(self, connection: _Connection, pieces: list[Buffer]) -> bool:
        """Write what is unsent and these, as far as the kernel takes it; whether a peer is there."""
        was_behind = bool(connection.unsent)
        try:
            connection.write(pieces)
        except OSError:
            connection.unsent.clear()  # what it has said before it left can still be read
            is_there = False
        else:
            is_there = True
        is_behind = bool(connection.unsent)
        if is_behind != was_behind:
            events = select.EPOLLIN | select.EPOLLOUT if is_behind else select.EPOLLIN
            self._epoll.modify(connection.socket.fileno(), events)
        return is_there

    def _drop(self, connection: _Connection) -> None:
        del self._connections[connection.id]
        del self._by_descriptor[connection.socket.fileno()]
        # A fork of this process may hold it open, and the epoll would go on telling of it.
        self._epoll.unregister(connection.socket.fileno())
        connection.socket.close()


class _Connection:
    """One peer."""

    __slots__ = ("id", "incoming", "is_greeted", "pid", "socket", "unsent")

    def __init__(self, connection: ConnectionId, pid: int, accepted: socket.socket) -> None:
        self.id = connection
        self.pid = pid
        self.socket = accepted
        self.incoming = Incoming(accepted, READ_BYTES)
        self.is_greeted = False
        self.unsent: deque[Buffer] = deque()

    def write(self, pieces: list[Buffer]) -> None:
        """Write as much as the kernel takes; the rest is ``unsent``.

        Raises:
            OSError: the peer has left.
        """
        if len(pieces) == 1 and not self.unsent:
            taken = _taken(self.socket.send, pieces[0])
            if taken == len(pieces[0]):
                return
            self.unsent.append(memoryview(pieces[0])[taken:])
            return
        self.unsent.extend(pieces)
        while self.unsent:
            taken = _taken(self.socket.sendmsg, list(islice(self.unsent, _PIECES)))
            if not taken:
                return
            self._forget(taken)

    def _forget(self, taken: int) -> None:
        """So many bytes are no longer ``unsent``."""
        unsent = self.unsent
        while unsent:
            size = memoryview(unsent[0]).nbytes
            if size > taken:
                unsent[0] = memoryview(unsent[0]).cast("B")[taken:]
                return
            taken -= size
            unsent.popleft()


def _taken(send: Callable[[Any], int], what: Any) -> int:
    """How many bytes the kernel takes of them now."""
    try:
        return send(what)
    except BlockingIOError:
        return 0


def _bind_private(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    before = os.umask(0o077)  # the socket file gets mode 0700
    try:
        made.bind(path)
        made.listen(_WAITING)
    except BaseException:
        made.close()
        raise
    finally:
        os.umask(before)
    made.setblocking(False)
    return made
