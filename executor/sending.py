"""What goes to workers: written at any time, sent together."""

from __future__ import annotations

from collections.abc import Callable

from executor.peer import Peer
from executor.resources import Resources
from protocol.messages import FromCoordinator


class Sender:
    """Sends what was written to each worker as one envelope, unless it is long.

    ``give_up`` is told of a worker that lives and cannot be sent to.
    """

    def __init__(self, resources: Resources, give_up: Callable[[int], None]) -> None:
        self._resources = resources
        self._listener = resources.listener
        self._peers = resources.peers
        self._give_up = give_up
        self._written: dict[int, Peer] = {}

    def peer(self, worker: int) -> Peer:
        """A worker that is about to be written to: what is written leaves with the next flush."""
        peer = self._written[worker] = self._peers[worker]
        return peer

    def write(self, worker: int, message: FromCoordinator) -> None:
        self.peer(worker).session.add(message)

    def forget(self, worker: int) -> None:
        """The worker has ended."""
        self._written.pop(worker, None)

    def flush(self) -> None:
        """Send what was written since the last call."""
        written, self._written = self._written, {}
        for peer in written.values():
            assert peer.connection is not None
            for parts in peer.session.take():
                sent = self._listener.send(peer.connection, parts)
                # One that is dead anyway will be reported with the true cause.
                if not sent and not self._resources.has_ended(peer.worker):
                    self._give_up(peer.worker)
