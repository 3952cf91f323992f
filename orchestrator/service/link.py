"""A connection to a coordinator in another process, for whoever speaks ``protocol.client_messages``."""

from __future__ import annotations

import logging
import os
import platform
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from time import monotonic
from typing import Any, Final

from orchestrator.service.errors import CoordinatorLost, VersionMismatch, require_linux
from orchestrator.service.signals import interrupt_deferred
from protocol.client_messages import (
    SERVICE_VERSION,
    Bye,
    ClientHello,
    FromClient,
    Refused,
    ToClient,
    Welcomed,
)
from protocol.endpoints import NobodyListens, find_listener
from protocol.errors import ProtocolError
from protocol.framing import Envelope, Parts, Session, client_session
from protocol.transport import ClientConnection, open_context

log = logging.getLogger(__name__)

PATIENCE_S: Final = 30.0
"""A coordinator that lives and does not answer for so long is given up."""

_LINGER_S: Final = 0.5
_LAST_S: Final = 5.0
_LAST_NAP_S: Final = 0.005


class ServiceLink:
    """Connected and greeted. ``hear`` is given each message and its envelope, while something waits.

    Whatever waits watches the coordinator's process by its pidfd, so its end is noticed at once. Sending
    never waits: a coordinator that ends may have closed its socket before.
    """

    def __init__(self, endpoint: str, hear: Callable[[ToClient, Envelope[ToClient]], None]) -> None:
        """Connect.

        Raises:
            NobodyListens: no coordinator is there.
            VersionMismatch: it is of another version or runs another Python.
            InsecureTransport: the endpoint is not an ``ipc://`` one.
            EndpointError: it cannot be an endpoint, or is another user's.
            CoordinatorLost: it does not answer.
            SystemNotSupported: this system is not Linux.
        """
        require_linux()
        self.endpoint, self.pid = find_listener(endpoint)
        self.session = client_session()
        self._hear = hear
        self._why_lost = ""
        self._owner = os.getpid()
        self._greeting: Welcomed | Refused | None = None
        with ExitStack() as stack:
            try:
                self._pidfd = os.pidfd_open(self.pid)
            except ProcessLookupError:
                raise NobodyListens(endpoint, "the coordinator has just ended") from None
            stack.callback(os.close, self._pidfd)
            context = stack.enter_context(open_context())
            self._connection = ClientConnection(context, self.endpoint)
            self._outbox = _Outbox(self.session, self._connection)
            stack.callback(_part, self.session, self._outbox, self._connection, self._pidfd)
            self.welcome = self._greet()
            # Given back also if the link is merely forgotten.
            self.close = weakref.finalize(self, _close, stack.pop_all(), self._owner)

    def pump(self, timeout_s: float | None = None, others: Sequence[int] = ()) -> list[int]:
        """Send what was written; wait for messages, or ``others`` that are readable: those.

        It may return earlier, with nothing. Ctrl-C is raised when what has come is heard.

        Raises:
            CoordinatorLost: it has ended, and all that it said before was heard by earlier calls; or
                what it says cannot be understood; or one of these was so before.
            RuntimeError: this is a fork of the process that has connected.
        """
        if self._owner != os.getpid():
            raise RuntimeError(
                "a connection to a coordinator does not survive a fork; connect in the new process"
            )
        if self._why_lost:
            raise self.lost(self._why_lost)
        with interrupt_deferred() as interrupted:  # so that no message is lost
            sources = [self._pidfd, *others]
            if interrupted is not None:
                sources.append(interrupted)
            all_sent = self._outbox.send()
            ready = self._connection.wait(sources, timeout_s, to_send=not all_sent)
            has_ended = self._pidfd in ready
            has_heard = self._read_last() if has_ended else self._read_all()
        if has_ended and not has_heard:
            raise self.lost("has ended")
        return [each for each in ready if each in others]

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Pump until an answer is there, which never takes long.

        Raises:
            CoordinatorLost: it does not come.
        """
        deadline = monotonic() + PATIENCE_S
        while not condition():
            if monotonic() >= deadline:
                raise self.lost("does not answer")
            self.pump(deadline - monotonic())

    def lost(self, why: str) -> CoordinatorLost:
        """The error to raise: the coordinator is given up, and whoever asks again is told the same."""
        self._why_lost = why
        return CoordinatorLost(self.endpoint, self.pid, why)

    def _read_last(self) -> bool:
        """The process is gone: hear all that it has sent, which may still be on its way."""
        deadline = monotonic() + _LAST_S
        has_heard = False
        while not (has_all := self._connection.has_all) and monotonic() < deadline:
            has_heard |= self._read_all()
            self._connection.wait(timeout_s=_LAST_NAP_S)
        if not has_all:
            log.warning("not all that the coordinator has said came in time")
        return self._read_all() or has_heard

    def _read_all(self) -> bool:
        """Hear what has come; whether anything has."""
        has_heard = False
        while (parts := self._connection.receive(wait=False)) is not None:
            has_heard = True
            self._read(parts)
        return has_heard

    def _read(self, parts: Any) -> None:
        try:
            envelope = self.session.read(parts)
        except ProtocolError as error:
            raise self.lost(f"cannot be understood: {error}") from error
        for message in () if envelope is None else envelope.messages:
            assert envelope is not None
            if isinstance(message, Welcomed | Refused):
                self._greeting = message
            else:
                self._hear(message, envelope)

    def _greet(self) -> Welcomed:
        self.session.add(ClientHello(SERVICE_VERSION, platform.python_version()))
        self.wait_until(lambda: self._greeting is not None)
        greeting = self._greeting
        if isinstance(greeting, Welcomed):
            return greeting
        assert greeting is not None
        raise VersionMismatch(
            self.endpoint,
            self.pid,
            _version(SERVICE_VERSION, platform.python_version()),
            _version(greeting.version, greeting.python),
        )


def _version(protocol: int, python: str) -> str:
    return f"service protocol {protocol} on Python {python}"


class _Outbox:
    """What was written into a session, until ZeroMQ takes it."""

    def __init__(self, session: Session[FromClient, ToClient], connection: ClientConnection) -> None:
        self._session = session
        self._connection = connection
        self._unsent: deque[Parts] = deque()

    def send(self) -> bool:
        """Send what can be sent without waiting; whether that is all."""
        self._unsent += self._session.take()
        while self._unsent and self._connection.send_nowait(self._unsent[0]):
            self._unsent.popleft()
        return not self._unsent


def _close(held: ExitStack, owner: int) -> None:
    if owner == os.getpid():  # what a fork has of it is not its own
        held.close()


def _part(
    session: Session[FromClient, ToClient],
    outbox: _Outbox,
    connection: ClientConnection,
    pidfd: int,
) -> None:
    """Say Bye, unless nobody is there to hear it, and close the connection."""
    if pidfd in connection.wait([pidfd], 0):
        connection.close(0.0)
        return
    session.add(Bye())
    outbox.send()
    connection.close(_LINGER_S)
