"""Endpoints: which are refused, who holds one, and taking over what a dead coordinator left."""

from __future__ import annotations

import os
import pickle
import socket
from pathlib import Path

import pytest

from protocol.directory import InsecureTransport
from protocol.endpoints import (
    BadEndpoint,
    EndpointInUse,
    NobodyListens,
    claimed,
    find_listener,
    path_of,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "own" / "c"


def listen(path: Path) -> socket.socket:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    return listener


def test_a_relative_path_is_one_of_the_current_directory() -> None:
    assert path_of("ipc://run/c") == Path.cwd() / "run" / "c"


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:5555", "tcp://*:1", "ws://host:1"])
def test_what_others_could_reach_is_refused_and_keys_are_named(endpoint: str) -> None:
    with pytest.raises(InsecureTransport, match="without keys"):
        path_of(endpoint)


@pytest.mark.parametrize(
    "endpoint", ["", "/tmp/x", "inproc://x", "ipc://", "ipc://dir/", "ipc://@abstract"]
)
def test_what_names_no_socket_file_is_refused(endpoint: str) -> None:
    with pytest.raises(BadEndpoint):
        path_of(endpoint)


def test_the_directory_is_made_for_this_user_alone(path: Path) -> None:
    with claimed(f"ipc://{path}") as endpoint:
        assert endpoint == f"ipc://{path}"
        assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_directory_that_others_can_enter_is_refused(path: Path) -> None:
    path.parent.mkdir(mode=0o755)
    path.parent.chmod(0o755)
    with pytest.raises(BadEndpoint, match=f"0700.* as for ipc://{path}.d/c"), claimed(f"ipc://{path}"):
        pass
    with claimed(f"ipc://{path}.d/c"):
        assert path.with_name("c.d").stat().st_mode & 0o777 == 0o700


def test_a_file_in_the_place_of_the_directory_is_named(path: Path) -> None:
    path.parent.touch()
    with pytest.raises(BadEndpoint, match="must be a directory"), claimed(f"ipc://{path}"):
        pass


def test_a_path_that_is_too_long_is_refused_and_nothing_made(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 100) / "c"
    with pytest.raises(BadEndpoint, match="possible; name a shorter one"), claimed(f"ipc://{path}"):
        pass
    assert not path.parent.exists()


def test_who_listens_is_told_by_the_kernel(path: Path) -> None:
    with listen(path):
        assert find_listener(f"ipc://{path}") == (f"ipc://{path}", os.getpid())
        with (
            pytest.raises(EndpointInUse, match=f"process {os.getpid()} listens"),
            claimed(f"ipc://{path}"),
        ):
            pass


def test_a_socket_file_of_a_dead_coordinator_is_taken_over(path: Path) -> None:
    listen(path).close()
    with pytest.raises(NobodyListens, match="has ended"):
        find_listener(f"ipc://{path}")
    with claimed(f"ipc://{path}"):
        assert not path.exists()


def test_another_file_is_left_alone(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    path.write_text("precious")
    with pytest.raises(BadEndpoint, match="no socket"), claimed(f"ipc://{path}"):
        pass
    assert path.read_text() == "precious"


def test_nobody_listens_where_nothing_is(path: Path) -> None:
    with pytest.raises(NobodyListens, match="orchestrator coordinator --listen"):
        find_listener(f"ipc://{path}")


@pytest.mark.parametrize(
    "error", [BadEndpoint("e", "p"), NobodyListens("e", "w"), EndpointInUse("e", 1)]
)
def test_an_error_survives_a_pickle(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.args) == (type(error), str(error), error.args)
