"""Where envelopes of workers arrive: whoever proves to be one of ours is heard."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from executor.actions import Action
from executor.inbox import Inbox
from executor.output import LastOutput, Piece, Print, Printed
from executor.peer import Peer, read_hello
from executor.pool_machine import PoolMachine
from executor.resources import ZYGOTE, Resources
from protocol.errors import ProtocolError
from protocol.listener import ConnectionId, Received
from protocol.messages import FromCoordinator, Welcome

log = logging.getLogger(__name__)


class Reception:
    """Greets workers and hands what they say to the inbox, and what they print to ``show``.

    ``do`` carries out what follows; ``write`` gives a worker a message.
    """

    def __init__(
        self,
        resources: Resources,
        machine: PoolMachine,
        inbox: Inbox,
        do: Callable[[Sequence[Action]], None],
        write: Callable[[int, FromCoordinator], None],
        show: Print,
    ) -> None:
        self.strangers = 0
        self._zygote_output = LastOutput()
        self._listener = resources.listener
        self._outputs = resources.outputs
        self._show = show
        self._peers = resources.peers
        self._machine = machine
        self._inbox = inbox
        self._do = do
        self._write = write
        self._greeted: dict[ConnectionId, Peer] = {}

    def listen(self, now: float) -> None:
        """Take some of the envelopes that are there."""
        self._take_in(self._listener.receive(), now)

    def listen_to_all(self, now: float) -> None:
        """Take every envelope that is there."""
        self._take_in(self._listener.receive_all(), now)

    def read_output(self, worker: int) -> None:
        """Show what a worker has printed until now."""
        self.show(self._outputs.read_all(worker))

    def show(self, pieces: Iterable[Piece]) -> None:
        """Pass output on, with the key of the attempt it is of."""
        for piece in pieces:
            peer = self._peers.get(piece.worker)
            lease = None
            if peer is not None:
                number = piece.number or peer.current
                peer.last_output.add(number, piece.data)
                lease = self._machine.lease_numbered(piece.worker, number)
            elif piece.worker == ZYGOTE:
                self._zygote_output.add(0, piece.data)
            key, node = (None, "") if lease is None else (lease.key, lease.name)
            self._show(Printed(piece.worker, key, piece.is_error, piece.data, node))

    def take_zygote_output(self) -> tuple[str, ...]:
        """The last lines of the process that workers are forked from, which has ended."""
        self.read_output(ZYGOTE)
        output, self._zygote_output = self._zygote_output, LastOutput()
        return output.lines_of(0)

    def forget(self, peer: Peer) -> None:
        """The worker has ended."""
        if peer.connection is not None:
            del self._greeted[peer.connection]

    def _take_in(self, arrived: list[Received], now: float) -> None:
        for received in arrived:
            peer = self._greeted.get(received.connection)
            if peer is None:
                self._greet(received, now)
            else:
                self._take(peer, received)
        for connection in self._listener.take_ended():
            peer = self._greeted.get(connection)
            if peer is not None:  # nothing can be heard of it any more
                self._machine.parted(peer.worker, now)

    def _greet(self, received: Received, now: float) -> None:
        """Take the first envelope of a connection: a Hello that proves whom we have started."""
        hello = read_hello(received.parts)
        peer = None if hello is None else self._peers.get(hello.worker)
        if hello is None or peer is None or not peer.proves(hello, received.pid):
            self.strangers += 1
            self._do(self._machine.kill(self._machine.worker_of(received.pid)))
            return
        peer.connection = received.connection
        self._greeted[received.connection] = peer
        peer.session.read(received.parts)
        self._write(peer.worker, Welcome())
        self._do(self._machine.greeted(peer.worker, now))

    def _take(self, peer: Peer, received: Received) -> None:
        try:
            envelope = peer.session.read(received.parts)
            if peer.has_printed():
                self.read_output(peer.worker)  # it comes before what the body said after it (16.4)
            if envelope is not None:
                self._inbox.take(peer.worker, envelope)
        except ProtocolError as error:
            log.error("worker %d (pid %d) is given up: %s", peer.worker, received.pid, error)  # noqa: TRY400
            self._do(self._machine.kill(peer.worker))
