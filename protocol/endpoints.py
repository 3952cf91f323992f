"""Endpoints that people name: who may listen on one, who listens there now, and taking one over.

An endpoint is ``ipc://PATH``, a socket file in a directory that only this user can enter. Who listens is
what the kernel says of a connection to it, so neither a pid file nor a lock file is left behind.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from protocol.credentials import peer_of
from protocol.directory import InsecureTransport, require_private, require_short

_PREFIX: Final = "ipc://"
_NETWORKS: Final = ("tcp", "udp", "ws", "wss", "http", "https")


class EndpointError(Exception):
    """Base of the errors about an endpoint; ``endpoint`` is what the user named."""


class BadEndpoint(EndpointError, ValueError):  # noqa: N818 - its name is in the documentation
    """The endpoint cannot be one."""

    def __init__(self, endpoint: str, problem: str) -> None:
        super().__init__(endpoint, problem)
        self.endpoint = endpoint
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.endpoint} cannot be an endpoint: {self.problem}"


class NobodyListens(EndpointError, ConnectionError):  # noqa: N818 - as above
    """No coordinator listens on the endpoint."""

    def __init__(self, endpoint: str, why: str) -> None:
        super().__init__(endpoint, why)
        self.endpoint = endpoint
        self.why = why

    def __str__(self) -> str:
        return (
            f"nobody listens on {self.endpoint} ({self.why}); start a coordinator with "
            f"'orchestrator coordinator --listen {self.endpoint}'"
        )


class EndpointInUse(EndpointError):  # noqa: N818 - as above
    """Another coordinator listens on the endpoint."""

    def __init__(self, endpoint: str, pid: int) -> None:
        super().__init__(endpoint, pid)
        self.endpoint = endpoint
        self.pid = pid

    def __str__(self) -> str:
        return (
            f"process {self.pid} listens on {self.endpoint} already; use it, end it with "
            f"'orchestrator stop {self.endpoint}', or name another path"
        )


def path_of(endpoint: str) -> Path:
    """The absolute path of an endpoint's socket file.

    Raises:
        InsecureTransport: it would reach beyond this host and user.
        BadEndpoint: it names no file.
    """
    if not endpoint.startswith(_PREFIX):
        if endpoint.partition("://")[0] in _NETWORKS:
            raise InsecureTransport(endpoint)
        raise BadEndpoint(endpoint, "it has the form ipc://PATH")
    name = endpoint.removeprefix(_PREFIX)
    if not name or name.endswith("/"):
        raise BadEndpoint(endpoint, "the path of a socket file follows ipc://")
    if name.startswith("@"):
        raise BadEndpoint(endpoint, "names that begin with @ have no permissions")
    return Path(os.path.abspath(name))  # noqa: PTH100 - links stay as they are named


@contextmanager
def claimed(endpoint: str) -> Iterator[str]:
    """Hold a path while it is being bound: inside, nobody else binds it, and nothing is there.

    Gives the endpoint with an absolute path. The directory is made if there is none. A socket file on
    which nobody listens is removed.

    Raises:
        EndpointInUse: somebody listens there.
        BadEndpoint: the directory is open to others, or something else than a socket is there.
    """
    path = path_of(endpoint)
    try:
        require_short(path, "name a shorter one")
        with suppress(FileExistsError):
            path.parent.mkdir(mode=0o700)
        _require_private(path)
    except OSError as error:
        raise BadEndpoint(endpoint, _reason(error)) from error
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)  # held for a moment by whoever else binds here
        _clear(path, endpoint)
        yield f"{_PREFIX}{path}"
    finally:
        os.close(directory)


def find_listener(endpoint: str) -> tuple[str, int]:
    """The endpoint with an absolute path, and the pid of who listens there. Sends nothing.

    Raises:
        NobodyListens: nobody does.
        BadEndpoint: whoever does runs as another user.
    """
    path = path_of(endpoint)
    try:
        pid, uid = _credentials(path)
    except FileNotFoundError:
        raise NobodyListens(endpoint, "there is no such file") from None
    except ConnectionRefusedError:
        raise NobodyListens(endpoint, "the coordinator that made this file has ended") from None
    except OSError as error:
        raise BadEndpoint(endpoint, _reason(error)) from error
    if uid != os.geteuid():
        raise BadEndpoint(
            endpoint, f"user {uid} listens there, and this process is user {os.geteuid()}'s"
        )
    return f"{_PREFIX}{path}", pid


def _require_private(path: Path) -> None:
    try:
        require_private(path.parent)
    except PermissionError as error:
        better = f"{_PREFIX}{path}.d/{path.name}"
        raise OSError(
            f"{error}; a directory that is not there yet is made so, as for {better}"
        ) from error


def _clear(path: Path, endpoint: str) -> None:
    """Remove a socket file that a dead coordinator has left."""
    try:
        pid, _ = _credentials(path)
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise BadEndpoint(endpoint, "the file that is there is no socket") from None
        path.unlink()
        return
    except OSError as error:
        raise BadEndpoint(endpoint, _reason(error)) from error
    raise EndpointInUse(endpoint, pid)


def _credentials(path: Path) -> tuple[int, int]:
    """The pid and user of who listens on a socket file."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(os.fspath(path))
        except (BlockingIOError, TimeoutError):
            raise OSError(errno.EBUSY, "who listens there accepts no connection") from None
        return peer_of(probe)


_PROBE_S: Final = 2.0


def _reason(error: OSError) -> str:
    return str(error) if error.errno is None else f"{error.strerror}: {error.filename or 'its path'}"
