"""One client as the service knows it."""

from __future__ import annotations

from collections.abc import Callable

from protocol.client_messages import FromClient, ToClient
from protocol.framing import Session
from protocol.listener import ConnectionId


class Client:
    """Writes what goes to one client; the service sends it. Owns the pidfd."""

    def __init__(
        self,
        connection: ConnectionId,
        pid: int,
        pidfd: int,
        session: Session[ToClient, FromClient],
        on_write: Callable[[Client], None],
        is_behind: Callable[[ConnectionId], bool],
    ) -> None:
        self.connection = connection
        self.pid = pid
        self.pidfd = pidfd
        self.session = session
        self.is_gone = False
        self._on_write = on_write
        self._is_behind = is_behind

    def write(self, message: ToClient) -> None:
        """The values it refers to were attached to ``session`` since the last one."""
        if not self.is_gone:
            self.session.add(message)
            self._on_write(self)

    @property
    def is_behind(self) -> bool:
        """Whether so much is unread by it that what it can do without had better be left out."""
        return self._is_behind(self.connection)
