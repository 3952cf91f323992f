"""Private places for sockets: directories that only one user can enter, with paths that fit."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Final

from protocol.leftovers import make_directory, sweep

SOCKET_PATH_BYTES: Final = 107
"""So long the path of a socket file may be on Linux (``sun_path`` without the zero at its end)."""


class InsecureTransport(Exception):  # noqa: N818 - its name is in the documentation
    """The endpoint would carry our messages, which are code, where others can read or send them."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(endpoint)
        self.endpoint = endpoint

    def __str__(self) -> str:
        return (
            f"{self.endpoint} is refused: without keys every user who can reach it could run code as "
            "you, on the loopback interface too; use an ipc:// endpoint"
        )


class SessionDirectory:
    """A new directory that only this user can enter, for one pool's socket."""

    def __init__(self, path: Path) -> None:
        """Take a directory that exists.

        Raises:
            PermissionError: someone else could get in.
            OSError: it is not there, or its path is too long for a socket.
        """
        require_private(path)
        self.path = path
        self.socket = path / "coordinator"
        require_short(self.socket)

    @classmethod
    def create(cls) -> SessionDirectory:
        """A fresh one under ``$XDG_RUNTIME_DIR``, or else the system's temporary directory.

        Those that were left there by processes of ours that are gone are removed.
        """
        runtime = os.environ.get("XDG_RUNTIME_DIR", "")
        parent = runtime if runtime and os.access(runtime, os.W_OK | os.X_OK) else tempfile.gettempdir()
        sweep(Path(parent))
        path = make_directory(Path(parent))
        try:
            return cls(path)
        except OSError:
            shutil.rmtree(path, ignore_errors=True)
            raise

    @property
    def endpoint(self) -> str:
        return f"ipc://{self.socket}"

    def remove(self) -> None:
        """Delete it and what is in it; repeating it changes nothing."""
        shutil.rmtree(self.path, ignore_errors=True)


def require_local(endpoint: str) -> None:
    """See to it that an endpoint is the absolute path of a socket file.

    Raises:
        InsecureTransport: it may reach beyond this host and user.
    """
    if not endpoint.startswith("ipc:///"):
        raise InsecureTransport(endpoint)


def require_private(path: Path) -> None:
    """See to it that nobody else can enter a directory.

    Raises:
        PermissionError: someone else could get in.
        OSError: it is not there.
    """
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError(
            f"{path} must be a directory (no link) of user {os.geteuid()} with mode 0700; "
            f"it has mode {stat.filemode(found.st_mode)} and belongs to user {found.st_uid}"
        )


def require_short(
    socket: Path, remedy: str = "set XDG_RUNTIME_DIR or TMPDIR to a directory with a shorter path"
) -> None:
    """See to it that a socket file can have this path; ``remedy`` says what else to do.

    Raises:
        OSError: it is too long.
    """
    length = len(os.fsencode(socket))
    if length > SOCKET_PATH_BYTES:
        raise OSError(
            f"the socket path {socket} has {length} bytes, and {SOCKET_PATH_BYTES} are "
            f"possible; {remedy}"
        )
