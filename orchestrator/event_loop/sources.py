"""What can be waited for: its descriptor, and whether it is still open."""

from __future__ import annotations

import errno
import os
import sys
from typing import Any, Final, Protocol, TypeAlias


class HasFileno(Protocol):
    """Anything with a descriptor."""

    def fileno(self) -> int: ...


Source: TypeAlias = Any  # int | HasFileno | zmq.Socket; pyzmq is not needed by who does not use it

# Fixed by libzmq, as are 1 for readable and 2 for writable, which selectors use as well.
_ZMQ_FD: Final = 14
_ZMQ_EVENTS: Final = 15


def is_zmq(source: Source) -> bool:
    """Whether it is a ZeroMQ socket; who has not imported zmq has none."""
    zmq = sys.modules.get("zmq")
    return zmq is not None and isinstance(source, zmq.Socket)


def zmq_events(source: Source) -> int:
    """In which directions a ZeroMQ socket is ready. Looking clears the signal on its descriptor."""
    events: int = source.getsockopt(_ZMQ_EVENTS)
    return events


def descriptor(source: Source) -> int:
    """The descriptor to poll.

    Raises:
        OSError: the source is closed.
        TypeError: it has no descriptor.
    """
    if isinstance(source, int):
        fd = source
    elif getattr(source, "closed", False):
        fd = -1
    elif is_zmq(source):
        fd = source.getsockopt(_ZMQ_FD)  # a third of the cost of fileno()
    elif hasattr(source, "fileno"):
        fd = source.fileno()
    else:
        msg = f"can't wait for {source!r}: pass a descriptor, an object with fileno() or a ZeroMQ socket"
        raise TypeError(msg)
    if fd < 0:
        raise closed(f"can't wait for {source!r}: it is closed")
    return fd


def is_open(source: Source, fd: int) -> bool:
    """Whether ``source``, whose descriptor was ``fd``, has not been closed since."""
    try:
        if isinstance(source, int):
            os.fstat(source)
            return True
        return (is_zmq(source) and not source.closed) or descriptor(source) == fd
    except OSError:
        return False


def closed(text: str) -> OSError:
    """The error for a source that is closed."""
    return OSError(errno.EBADF, f"{text}; cancel the tasks that wait for a source before you close it")
