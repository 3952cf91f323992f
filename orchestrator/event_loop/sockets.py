"""Network sockets that suspend the calling task where the system's sockets would block.

Theory of operation. An operation is tried first; only if the kernel, or TLS, says that it would
block, the task waits for the direction that was named and tries again. So data that TLS has
decrypted already is never waited for, and a busy connection is not polled. Only a ``recv`` after one
that took all there was waits first, which saves a vain try. A task that always finds more data does
not wait, so it should ``sleep(0)`` now and then if others are to run.

The methods are those of ``socket.socket``; options are set on ``raw``. Cancelling a ``recv`` or an
``accept`` loses nothing; cancelling a ``sendall`` may have sent a part.
"""

from __future__ import annotations

import os
import socket as stdlib
import ssl
import threading
from collections.abc import Callable
from typing import Any, Final, Self, TypeAlias, TypeVar

from orchestrator.event_loop.commands import perform
from orchestrator.event_loop.instrumentation import installed, notify
from orchestrator.event_loop.registrations import READ, WRITE, Ready
from orchestrator.event_loop.running import current_event_loop, running
from orchestrator.event_loop.synchronization import DONE, Done, Event

T = TypeVar("T")
Address: TypeAlias = Any  # as the address family has it: (host, port), (host, port, ...), a path
_IP: Final = (stdlib.AF_INET, stdlib.AF_INET6)


def socket(
    family: int = stdlib.AF_INET,
    type: int = stdlib.SOCK_STREAM,  # noqa: A002 - named as in the standard library
    proto: int = 0,
) -> Socket:
    """A new socket: IPv4, IPv6 or unix."""
    return Socket(stdlib.socket(family, type, proto))


class Socket:
    """A socket for the tasks of one loop. ``with`` and ``async with`` close it.

    After ``close`` every operation raises OSError, but ``recv`` returns ``b""``, as it does at the
    end of the stream. Tasks that wait in an operation when it is closed are woken with the same.
    """

    def __init__(self, raw: stdlib.socket) -> None:
        raw.setblocking(False)
        self.raw = raw
        # The last ``recv`` took all there was, so that the next one waits before it tries. Never set
        # under TLS, where bytes may have been decrypted that the kernel knows nothing of.
        self._is_drained = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.raw!r}>"

    # -- what does not wait --------------------------------------------------------------------------

    @property
    def is_closed(self) -> bool:
        """Whether ``close`` was called."""
        return self.raw.fileno() < 0

    def fileno(self) -> int:
        """The descriptor; -1 once closed."""
        return self.raw.fileno()

    def bind(self, address: Address) -> None:
        """Take ``address``."""
        self.raw.bind(address)

    def listen(self, backlog: int = 128) -> None:
        """Let peers connect; ``backlog`` of them may wait to be accepted."""
        self.raw.listen(backlog)

    def getsockname(self) -> Address:
        """This end's address."""
        return self.raw.getsockname()

    def getpeername(self) -> Address:
        """The other end's address."""
        return self.raw.getpeername()

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        """Set an option."""
        self.raw.setsockopt(level, option, value)

    def shutdown(self, how: int) -> None:
        """End one direction or both."""
        self.raw.shutdown(how)

    def close(self) -> Done:
        """Close; again changes nothing. Acts when called; awaiting it is optional."""
        if not self.is_closed:
            if installed:
                notify("on_socket_close", self)
            loop = running.loop
            if loop is not None:
                loop.closing(self.raw)
            self.raw.close()
        return DONE

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    # -- what waits -------------------------------------------------------------------------------------

    async def accept(self) -> tuple[Socket, Address]:
        """Wait for a peer to connect; returns the connection and the peer's address."""
        if installed:
            notify("on_socket_accept_start", self)
        (raw, address), is_immediate = await self._when_possible(self.raw.accept, READ)
        connection = Socket(raw)
        if installed:
            notify("on_socket_accept_ready", self, connection, is_immediate)
        return connection, address

    async def connect(self, address: Address) -> None:
        """Connect. A host name is looked up in a thread; the loop goes on meanwhile.

        Raises:
            OSError: the peer refuses or can't be reached; ``socket.gaierror`` for an unknown name.
        """
        if installed:
            notify("on_socket_connect_start", self, address)
        if self.raw.family in _IP:
            address = await _resolve(self.raw, address)
        is_immediate = True
        try:
            self.raw.connect(address)
        except BlockingIOError:
            is_immediate = False
            await perform(Ready(self.raw, WRITE, None))
            error = self.raw.getsockopt(stdlib.SOL_SOCKET, stdlib.SO_ERROR)
            if error:
                raise OSError(error, f"can't connect to {address!r}: {os.strerror(error)}") from None
        if installed:
            notify("on_socket_connect_ready", self, address, is_immediate)

    async def start_tls(
        self, context: ssl.SSLContext, *, server_side: bool = False, server_hostname: str | None = None
    ) -> None:
        """Go on encrypted: do the handshake on a connected socket.

        Raises:
            ssl.SSLError: the handshake failed, for instance because the certificate is not trusted.
        """
        raw = context.wrap_socket(
            self.raw,
            server_side=server_side,
            server_hostname=server_hostname,
            do_handshake_on_connect=False,
        )
        self.raw = raw
        self._is_drained = False
        await self._when_possible(raw.do_handshake, READ)
        if installed:
            notify("on_tls_handshake_complete", self)

    async def recv(self, size: int) -> bytes:
        """Wait for bytes and return at most ``size``; ``b""`` at the stream's end or once closed."""
        if installed:
            notify("on_socket_recv_start", self)
        try:
            if self._is_drained:
                await perform(Ready(self.raw, READ, None))
            data, is_immediate = await self._when_possible(self.raw.recv, READ, size)
        except OSError:
            if not self.is_closed:
                raise
            return b""
        if installed:
            notify("on_socket_recv_ready", self, is_immediate and not self._is_drained)
            notify("on_socket_recv_data", self, data)
        self._is_drained = len(data) < size and not isinstance(self.raw, ssl.SSLSocket)
        return data

    async def send(self, data: bytes | bytearray | memoryview) -> int:
        """Wait for room and send the beginning of ``data``; returns how many bytes went."""
        if installed:
            notify("on_socket_send_start", self)
        sent, is_immediate = await self._when_possible(self.raw.send, WRITE, data)
        if installed:
            notify("on_socket_send_ready", self, is_immediate)
            notify("on_socket_send_data", self, bytes(data[:sent]))
        return sent

    async def sendall(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of ``data``, waiting for room as often as needed."""
        sent = await self.send(data)
        if sent < len(data):
            with memoryview(data).cast("B") as view:
                while sent < len(view):
                    sent += await self.send(view[sent:])

    async def _when_possible(
        self, operation: Callable[..., T], direction: int, *args: object
    ) -> tuple[T, bool]:
        """Carry out ``operation(*args)``, waiting as often as it would block; and whether it did not."""
        is_immediate = True
        while True:
            try:
                return operation(*args), is_immediate
            except BlockingIOError:
                awaited = direction
            except ssl.SSLWantReadError:
                awaited = READ
            except ssl.SSLWantWriteError:
                awaited = WRITE
            is_immediate = False
            await perform(Ready(self.raw, awaited, None))


async def _resolve(raw: stdlib.socket, address: Address) -> Address:
    """The address with its host name looked up; in a thread, unless it is a number already."""
    host, port, *rest = address

    def look_up(flags: int) -> Address:
        found = stdlib.getaddrinfo(host, port, raw.family, raw.type, raw.proto, flags)
        return (*found[0][4][:2], *(rest or found[0][4][2:]))

    try:
        return look_up(stdlib.AI_NUMERICHOST)
    except stdlib.gaierror:
        pass
    loop = current_event_loop()
    is_over = Event()
    outcome: list[Address | OSError] = []

    def run() -> None:
        try:
            outcome.append(look_up(0))
        except OSError as error:
            outcome.append(error)
        loop.call_soon_threadsafe(is_over.set)

    threading.Thread(target=run, name=f"look up {host}", daemon=True).start()
    await is_over.wait()
    if isinstance(outcome[0], OSError):
        raise outcome[0]
    return outcome[0]
