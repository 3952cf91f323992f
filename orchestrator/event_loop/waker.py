"""A descriptor by which other threads, and signals, make a poller return."""

from __future__ import annotations

import socket
import threading


class Waker:
    """Two connected sockets: a byte written to ``sender`` makes ``receiver`` readable."""

    def __init__(self) -> None:
        self.receiver, self.sender = socket.socketpair()
        self.receiver.setblocking(False)
        self.sender.setblocking(False)
        self._lock = threading.Lock()  # or a late wake-up might write to a descriptor that is reused

    def wake(self) -> None:
        """Make the poller return now or, if it is not polling, at once next time. From any thread."""
        with self._lock:
            try:
                self.sender.send(b"\0")
            except OSError:  # full, so it will return anyway; or closed, so nobody is asleep
                pass

    def on_event(self, _mask: int) -> None:
        """The poller has returned."""
        try:
            while True:
                self.receiver.recv(4096)
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Close both ends."""
        with self._lock:
            self.receiver.close()
            self.sender.close()
