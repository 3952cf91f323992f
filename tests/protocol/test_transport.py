"""Local sockets: private, checked, lossless (FAULTS S1, S4, F22)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from protocol.transport import Connection, InsecureTransport, Listener, Received, SessionDirectory


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    with zmq.Context() as made:
        yield made


@pytest.fixture
def directory() -> Iterator[SessionDirectory]:
    made = SessionDirectory.create()
    yield made
    made.remove()


@pytest.fixture
def listener(context: Any, directory: SessionDirectory) -> Iterator[Listener]:
    made = Listener(context, directory.endpoint)
    yield made
    made.close()


@pytest.fixture
def connection(context: Any, directory: SessionDirectory, listener: Listener) -> Iterator[Connection]:
    made = Connection(context, directory.endpoint)
    yield made
    made.close(0)


def next_of(listener: Listener) -> Received:
    while (received := listener.receive()) is None:
        listener.socket.poll()
    return received


@pytest.mark.parametrize(
    "endpoint", ["tcp://127.0.0.1:*", "tcp://*:5555", "ipc://@abstract", "ipc://relative", "inproc://x"]
)
def test_whatever_is_not_a_socket_file_is_refused(context: Any, endpoint: str) -> None:
    for end in (Listener, Connection):
        with pytest.raises(InsecureTransport, match="ipc://"):
            end(context, endpoint)


def test_the_directory_and_the_socket_in_it_are_for_this_user_alone_s1(
    directory: SessionDirectory, listener: Listener
) -> None:
    assert stat.S_IMODE(os.lstat(directory.path).st_mode) == 0o700
    assert stat.S_IMODE(os.lstat(directory.socket).st_mode) & 0o077 == 0


def test_removing_the_directory_twice_changes_nothing(directory: SessionDirectory) -> None:
    directory.remove()
    assert not directory.path.exists()
    directory.remove()


def test_a_directory_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(PermissionError, match="mode 0700"):
        SessionDirectory(tmp_path)


def test_a_link_to_a_directory_is_refused(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(private)
    with pytest.raises(PermissionError, match="no link"):
        SessionDirectory(tmp_path / "link")


def test_a_path_too_long_for_a_socket_is_refused_and_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    with pytest.raises(OSError, match="TMPDIR to a directory with a shorter path"):
        SessionDirectory.create()
    assert list(long.iterdir()) == []


def test_envelopes_go_both_ways_in_order_with_the_senders_pid(
    listener: Listener, connection: Connection
) -> None:
    connection.send([b"header", b"frame"])
    received = next_of(listener)
    assert received.pid == os.getpid()
    assert [bytes(part) for part in received.parts] == [b"header", b"frame"]
    big = bytes(1 << 20)
    for number in range(3):
        assert listener.send(received.identity, [b"%d" % number, big])
    for number in range(3):
        parts = connection.receive(wait=True)
        assert parts is not None
        assert bytes(parts[0]) == b"%d" % number
        assert len(parts[1]) == len(big)
    assert connection.receive(wait=False) is None
    assert listener.receive() is None


def test_sending_to_a_peer_that_is_gone_is_told(listener: Listener) -> None:
    assert not listener.send(b"nobody", [b"header"])


def test_a_second_peer_of_the_same_name_is_not_heard_and_the_first_one_is_f24(
    context: Any, directory: SessionDirectory, listener: Listener
) -> None:
    peers = [context.socket(zmq.DEALER) for _ in range(2)]
    try:
        for number, peer in enumerate(peers):
            peer.setsockopt(zmq.ROUTING_ID, b"the same")
            peer.setsockopt(zmq.LINGER, 0)
            peer.connect(directory.endpoint)
            peer.send_multipart([b"by %d" % number])
            if number == 0:
                assert bytes(next_of(listener).parts[0]) == b"by 0"
        other = Connection(context, directory.endpoint)
        other.send([b"by somebody else"])
        assert bytes(next_of(listener).parts[0]) == b"by somebody else"
        peers[0].send_multipart([b"by 0 again"])
        assert bytes(next_of(listener).parts[0]) == b"by 0 again"
        assert listener.send(b"the same", [b"answer"])
        assert peers[0].recv_multipart() == [b"answer"]
        other.close(0)
    finally:
        for peer in peers:
            peer.close()


def test_messages_of_another_user_are_dropped(
    listener: Listener, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    connection.send([b"header"])
    listener.socket.poll()
    assert listener.receive() is None
    assert listener.foreign == 1


def test_what_zeromq_does_not_take_at_once_arrives_later_in_order_f22(
    listener: Listener, connection: Connection
) -> None:
    connection.send([b"hello"])
    identity = next_of(listener).identity
    count = 0
    while not listener.has_backlog:
        assert listener.send(identity, [b"%d" % count, bytes(4096)])
        count += 1
    for _ in range(10):
        listener.send(identity, [b"%d" % count, b""])
        count += 1
    for number in range(count):
        while (parts := connection.receive(wait=False)) is None:
            listener.send_backlog()
        assert bytes(parts[0]) == b"%d" % number
    assert not listener.has_backlog


def test_what_waits_for_a_forgotten_peer_is_dropped(listener: Listener, connection: Connection) -> None:
    connection.send([b"hello"])
    identity = next_of(listener).identity
    while not listener.has_backlog:
        listener.send(identity, [bytes(4096)])
    listener.forget(identity)
    assert not listener.has_backlog
