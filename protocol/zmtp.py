"""ZMTP 3.0, the words of ZeroMQ on the wire (rfc.zeromq.org/spec/23), for the connections of one host.

Theory of operation. libzmq gives every message to a thread of its own, which writes it to the socket,
and has that thread read what comes: four changes of threads for a message and its answer where two would
do. So a coordinator and its workers read and write their sockets themselves, with the NULL mechanism,
which is all that a local connection needs; whoever uses libzmq at the other end sees no difference. A
process without those threads is also forked whole, and need not import libzmq.

    greeting, READY, frame...     each frame: flags, size, body; flag MORE on all but a message's last

Here are what both ends need, and the end of a worker; ``protocol.listener`` is the coordinator's.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from typing import Final

from protocol.errors import ProtocolError
from protocol.values import VALUE_LIMIT_BYTES, Buffer

READ_BYTES: Final = 64 * 1024
"""At most so much is read at once, but for the bodies of larger frames."""

GREETING_BYTES: Final = 64

_MORE: Final = 1
_LONG: Final = 2
_COMMAND: Final = 4
_FLAGS: Final = _MORE | _LONG | _COMMAND
_SHORT_LIMIT: Final = 255
_LONG_HEADER: Final = struct.Struct(">BQ")

_SIGNATURE: Final = b"\xff" + bytes(8) + b"\x7f"
_MECHANISM: Final = b"NULL".ljust(20, b"\0")
GREETING: Final = (_SIGNATURE + b"\x03\x00" + _MECHANISM).ljust(GREETING_BYTES, b"\0")

_COALESCED_BYTES: Final = 16 * 1024
"""Up to this size a message is copied together, which takes less time than to send it in pieces."""


def ready(socket_type: bytes) -> bytes:
    r"""The command that follows the greeting.

    >>> ready(b"DEALER")
    b'\x04)\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER\x08Identity\x00\x00\x00\x00'
    """
    body = b"\x05READY" + _metadata(b"Socket-Type", socket_type) + _metadata(b"Identity", b"")
    return bytes((_COMMAND, len(body))) + body


def check_greeting(greeting: bytes) -> None:
    """See that the other end speaks as we do.

    Raises:
        ProtocolError: it does not.
    """
    if greeting[:1] != _SIGNATURE[:1] or greeting[9:10] != _SIGNATURE[9:]:
        raise ProtocolError(f"the other end does not speak ZMTP: {greeting!r}")
    if greeting[12:32] != _MECHANISM:
        raise ProtocolError(f"the other end demands {greeting[12:32]!r}; NULL is known here")


def encode(parts: Sequence[Buffer]) -> list[Buffer]:
    """An envelope as the wire has it, in one piece unless it is large."""
    pieces: list[Buffer] = []
    size = 0
    last = len(parts) - 1
    for index, part in enumerate(parts):
        length = part.nbytes if isinstance(part, memoryview) else len(part)
        pieces += (_frame_header(_MORE if index < last else 0, length), part)
        size += length
    return [b"".join(pieces)] if size <= _COALESCED_BYTES else pieces


class Incoming:
    """What comes over a connection: ``read`` it from the socket, then take each ``next_envelope``."""

    def __init__(self, connection: socket.socket, read_bytes: int = READ_BYTES) -> None:
        self._socket = connection
        self._read_bytes = read_bytes
        # What was read and is not parsed: ``_data`` from ``_at`` on. Then a frame's body that is being
        # read into its own memory, up to ``_filled``.
        self._data = b""
        self._at = 0
        self._body: bytearray | None = None
        self._body_flags = 0
        self._filled = 0
        self._parts: list[Buffer] = []  # of the message that is not complete yet
        self.is_drained = False
        """Whether the last read has left nothing, as far as it could see."""

    def read(self, flags: int = 0) -> bool:
        """Read what is there; False if that is nothing.

        Raises:
            ConnectionError: the other end has closed the connection.
        """
        try:
            if self._body is None:
                data = self._socket.recv(self._read_bytes, flags)
                self.is_drained = len(data) < self._read_bytes
                self._data = self._data[self._at :] + data if self._at < len(self._data) else data
                self._at = 0
                count = len(data)
            else:
                count = self._socket.recv_into(memoryview(self._body)[self._filled :], 0, flags)
                self._filled += count
        except BlockingIOError:
            return False
        if not count:
            raise ConnectionResetError("the other end has closed the connection")
        return True

    def greeting(self) -> bytes | None:
        """What every connection begins with, if all of it has been read."""
        if len(self._data) - self._at < GREETING_BYTES:
            return None
        self._at += GREETING_BYTES
        return self._data[self._at - GREETING_BYTES : self._at]

    def next_envelope(self) -> list[Buffer] | None:
        """The next envelope, if all of it has been read.

        Raises:
            ProtocolError: what came is no ZMTP.
        """
        frame = self._next_frame() if self._body is None else self._read_body()
        while frame is not None:
            flags, body = frame
            if not flags & _COMMAND:  # READY
                self._parts.append(body)
                if not flags & _MORE:
                    parts, self._parts = self._parts, []
                    return parts
            frame = self._next_frame()
        return None

    def _read_body(self) -> tuple[int, Buffer] | None:
        """The large frame, if all of it has been read."""
        body = self._body
        if body is None or self._filled < len(body):
            return None
        self._body = None
        return self._body_flags, body

    def _next_frame(self) -> tuple[int, Buffer] | None:
        data, at = self._data, self._at
        there = len(data) - at
        if there < 2:
            return None
        flags = data[at]
        if flags & _LONG:
            if there < _LONG_HEADER.size:
                return None
            _, size = _LONG_HEADER.unpack_from(data, at)
            at += _LONG_HEADER.size
        else:
            size = data[at + 1]
            at += 2
        if flags > _FLAGS or size > VALUE_LIMIT_BYTES:
            raise ProtocolError(f"a frame with flags {flags:#x} and {size} bytes")
        end = at + size
        if end <= len(data):
            self._at = end
            return flags, data[at:end]
        if size > self._read_bytes:
            self._begin_body(flags, size, data[at:])
        return None

    def _begin_body(self, flags: int, size: int, begun: bytes) -> None:
        """A large frame: what is still to come is read to where it stays."""
        self._body = bytearray(size)
        self._body[: len(begun)] = begun
        self._body_flags = flags
        self._filled = len(begun)
        self._data, self._at = b"", 0
        self.is_drained = False


class Dealer:
    """Envelopes from and to the coordinator at an ``ipc://`` endpoint; for one thread.

    Raises:
        OSError: nobody listens there.
        ProtocolError: it speaks something else.
    """

    def __init__(self, endpoint: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.connect(endpoint.removeprefix("ipc://"))
            self._shake_hands()
        except BaseException:
            self._socket.close()
            raise
        self._incoming = Incoming(self._socket)

    @property
    def descriptor(self) -> int:
        """Is readable when something has come."""
        return self._socket.fileno()

    def receive(self, *, wait: bool) -> list[Buffer] | None:
        """The next envelope. ``wait`` for one, or None if there is none now.

        Raises:
            ConnectionError: the coordinator is gone.
        """
        incoming = self._incoming
        while True:
            parts = incoming.next_envelope()
            if parts is not None:
                return parts
            if incoming.is_drained and not wait:
                incoming.is_drained = False  # the next time it is worth a look
                return None
            if not incoming.read(0 if wait else socket.MSG_DONTWAIT):
                return None

    def send(self, parts: Sequence[Buffer]) -> None:
        """Send an envelope; waits while the coordinator takes nothing.

        Raises:
            OSError: it is gone.
        """
        for piece in encode(parts):
            self._socket.sendall(piece)

    def close(self) -> None:
        """Leave; what was sent still arrives. In a fork, leaves the connection to the other process."""
        self._socket.close()

    def _shake_hands(self) -> None:
        self._socket.sendall(GREETING)
        check_greeting(self._socket.recv(GREETING_BYTES, socket.MSG_WAITALL))
        # Not before it has greeted: libzmq takes what comes with the greeting for a fault.
        self._socket.sendall(ready(b"DEALER"))


def _metadata(name: bytes, value: bytes) -> bytes:
    return bytes((len(name),)) + name + len(value).to_bytes(4, "big") + value


def _frame_header(more: int, size: int) -> bytes:
    if size <= _SHORT_LIMIT:
        return bytes((more, size))
    return _LONG_HEADER.pack(more | _LONG, size)
