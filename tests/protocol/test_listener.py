"""The coordinator's end: private, checked, lossless (FAULTS S1, S4, F14, F19, F22, F24)."""

from __future__ import annotations

import errno
import os
import random
import resource
import select
import socket
import stat
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from protocol.directory import InsecureTransport, SessionDirectory
from protocol.framing import Parts
from protocol.listener import ConnectionId, Listener, Received
from protocol.transport import Connection, open_context
from protocol.zmtp import GREETING, READ_BYTES, Dealer, ready

SIZES = (0, 1, 255, 256, 5_000, READ_BYTES - 9, READ_BYTES, READ_BYTES + 1, 200_000, 3_000_000)


class Ears:
    """Takes what a listener has heard, one by one."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.heard: deque[Received] = deque()

    def next(self) -> Received:
        while not self.heard:
            select.select([self.listener.descriptor], [], [])
            self.heard += self.listener.receive()
        return self.heard.popleft()

    def wait(self) -> None:
        select.select([self.listener.descriptor], [], [])
        self.heard += self.listener.receive()


@pytest.fixture
def directory() -> Iterator[SessionDirectory]:
    made = SessionDirectory.create()
    yield made
    made.remove()


@pytest.fixture
def listener(directory: SessionDirectory) -> Iterator[Listener]:
    made = Listener(directory.endpoint)
    yield made
    made.close()


@pytest.fixture
def ears(listener: Listener) -> Ears:
    return Ears(listener)


@pytest.fixture(params=["ours", "libzmq's"])
def peer(
    request: pytest.FixtureRequest, directory: SessionDirectory, listener: Listener
) -> Iterator[Dealer | Connection]:
    """The other end, connected."""
    if request.param == "ours":
        dealer = connect(directory, listener)
        yield dealer
        dealer.close()
    else:
        with open_context() as context:
            connection = Connection(context, directory.endpoint)
            yield connection
            connection.close(0)


def connect(directory: SessionDirectory, listener: Listener) -> Dealer:
    """A dealer waits to be greeted, and so needs a listener that listens meanwhile."""
    made: list[Dealer] = []
    thread = threading.Thread(target=lambda: made.append(Dealer(directory.endpoint)))
    thread.start()
    while thread.is_alive():
        assert listener.receive() == []
        thread.join(0.001)
    return made[0]


def greet(ears: Ears, peer: Dealer | Connection) -> ConnectionId:
    peer.send([b"hello"])
    return ears.next().connection


def contents(parts: Parts | None) -> list[bytes]:
    assert parts is not None
    return [bytes(part) for part in parts]


# -- what is asked of every peer ------------------------------------------------------------------------


def test_envelopes_of_all_sizes_go_both_ways_with_the_senders_pid(
    ears: Ears, peer: Dealer | Connection
) -> None:
    connection = greet(ears, peer)
    chance = random.Random(3)
    for _ in range(60):
        sizes = chance.choices(SIZES, k=chance.randint(1, 4))
        envelope = [bytes([chance.randrange(256)]) * size for size in sizes]
        answers: list[Any] = []

        def converse(envelope: Parts = envelope, answers: list[Any] = answers) -> None:
            peer.send(envelope)
            answers.append(peer.receive(wait=True))

        thread = threading.Thread(target=converse)
        thread.start()
        received = ears.next()
        assert (received.connection, received.pid) == (connection, os.getpid())
        assert contents(received.parts) == envelope
        assert ears.listener.send(connection, envelope)
        while ears.listener.is_behind(connection):
            ears.wait()
        thread.join()
        assert contents(answers[0]) == envelope
    assert peer.receive(wait=False) is None
    assert ears.listener.receive() == []


def test_what_the_kernel_does_not_take_at_once_arrives_later_in_order_f22(
    ears: Ears, peer: Dealer | Connection
) -> None:
    connection = greet(ears, peer)
    envelopes: list[list[bytes]] = []
    while len(envelopes) < 500 or not ears.listener.is_behind(connection):  # libzmq reads by itself
        envelopes.append([b"%d" % len(envelopes), bytes(len(envelopes) * 37 % 90_000)])
        assert ears.listener.send(connection, envelopes[-1])
    for envelope in envelopes:
        while (parts := peer.receive(wait=False)) is None:
            ears.listener.receive()
        assert contents(parts) == envelope
    assert not ears.listener.is_behind(connection)


def test_a_peer_that_does_not_read_holds_up_no_other(
    directory: SessionDirectory, ears: Ears, peer: Dealer | Connection
) -> None:
    slow = greet(ears, peer)
    while not ears.listener.is_behind(slow):
        ears.listener.send(slow, [bytes(4096)])
    other = connect(directory, ears.listener)
    connection = greet(ears, other)
    ears.listener.send(connection, [b"answer"])
    assert contents(other.receive(wait=True)) == [b"answer"]
    other.close()


def test_what_waits_for_a_forgotten_peer_is_dropped(ears: Ears, peer: Dealer | Connection) -> None:
    connection = greet(ears, peer)
    while not ears.listener.is_behind(connection):
        ears.listener.send(connection, [bytes(4096)])
    ears.listener.forget(connection)
    assert not ears.listener.is_behind(connection)
    assert not ears.listener.send(connection, [b"more"])


def test_what_a_peer_said_before_it_left_is_heard_though_it_can_be_told_nothing(
    ears: Ears, directory: SessionDirectory
) -> None:
    peer = connect(directory, ears.listener)
    connection = greet(ears, peer)
    for number in range(100):
        peer.send([b"%d" % number])
    peer.close()
    while ears.listener.send(connection, [b"answer"]):
        pass
    assert [contents(each.parts) for each in ears.listener.receive_all()] == [
        [b"%d" % number] for number in range(100)
    ]
    assert not ears.listener.send(connection, [b"answer"])
    assert ears.listener.take_ended() == [connection]
    assert ears.listener.take_ended() == []


def test_what_was_sent_last_is_delivered_though_the_listener_closes(
    ears: Ears, peer: Dealer | Connection
) -> None:
    connection = greet(ears, peer)
    envelope = [bytes(3_000_000)]
    assert ears.listener.send(connection, envelope)
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(peer.receive(wait=True)))
    thread.start()
    ears.listener.close(linger_s=60)
    thread.join()
    assert contents(answers[0]) == envelope


# -- who may connect, and who is heard ------------------------------------------------------------------


@pytest.mark.parametrize(
    "endpoint", ["tcp://127.0.0.1:*", "tcp://*:5555", "ipc://@abstract", "ipc://relative", "inproc://x"]
)
def test_whatever_is_not_a_socket_file_is_refused(endpoint: str) -> None:
    with pytest.raises(InsecureTransport, match="ipc://"):
        Listener(endpoint)


def test_a_path_that_is_taken_is_left_alone(directory: SessionDirectory, listener: Listener) -> None:
    with pytest.raises(OSError, match="in use"):
        Listener(directory.endpoint)
    connect(directory, listener).close()


def test_the_socket_is_for_this_user_alone_s1(directory: SessionDirectory, listener: Listener) -> None:
    assert stat.S_IMODE(os.lstat(directory.socket).st_mode) & 0o077 == 0


def test_connections_of_another_user_are_closed_s4(
    directory: SessionDirectory, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with raw_connection(directory) as peer:
        assert listener.receive_all() == []
        assert peer.recv(100) == b""
    assert listener.foreign == 1


def test_sending_to_a_connection_that_never_was_is_told(listener: Listener) -> None:
    assert not listener.send(ConnectionId(17), [b"header"])


def test_two_peers_of_the_same_name_are_told_apart_f24(directory: SessionDirectory, ears: Ears) -> None:
    with open_context() as context:
        peers = [context.socket(zmq.DEALER) for _ in range(2)]
        try:
            connections = []
            for number, peer in enumerate(peers):
                peer.setsockopt(zmq.ROUTING_ID, b"the same")
                peer.setsockopt(zmq.LINGER, 0)
                peer.connect(directory.endpoint)
                peer.send(b"by %d" % number)
                received = ears.next()
                assert contents(received.parts) == [b"by %d" % number]
                connections.append(received.connection)
            for number, connection in enumerate(connections):
                assert ears.listener.send(connection, [b"to %d" % number])
                assert peers[number].recv() == b"to %d" % number
        finally:
            for peer in peers:
                peer.close()


# -- peers that speak in pieces, or something else ----------------------------------------------------


def raw_connection(directory: SessionDirectory) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.connect(str(directory.socket))
    return made


def test_an_envelope_may_come_byte_by_byte(directory: SessionDirectory, listener: Listener) -> None:
    frames = b"\x01\x03abc" + b"\x02" + (READ_BYTES + 1).to_bytes(8, "big") + bytes(READ_BYTES)
    with raw_connection(directory) as peer:
        for byte in GREETING + ready(b"DEALER") + frames[:30]:
            peer.sendall(bytes([byte]))
            assert listener.receive_all() == []
        peer.sendall(frames[30:])
        assert listener.receive_all() == []
        peer.sendall(b"x")
        (received,) = listener.receive_all()
        assert contents(received.parts) == [b"abc", bytes(READ_BYTES) + b"x"]


def test_many_envelopes_that_come_together_are_all_heard(
    directory: SessionDirectory, listener: Listener
) -> None:
    with raw_connection(directory) as peer:
        peer.sendall(GREETING + ready(b"DEALER") + b"".join(b"\0\x05%05d" % n for n in range(10_000)))
        first = listener.receive()
        assert [contents(each.parts) for each in first + listener.receive_all()] == [
            [b"%05d" % number] for number in range(10_000)
        ]


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\n".ljust(64),
        GREETING.replace(b"NULL\0", b"CURVE"),
        GREETING + b"\x08\x00",
        GREETING + b"\x02" + (1 << 40).to_bytes(8, "big"),
    ],
)
def test_who_speaks_something_else_is_left_and_nobody_else_is_f19(
    directory: SessionDirectory, ears: Ears, said: bytes
) -> None:
    other = connect(directory, ears.listener)
    with raw_connection(directory) as peer:
        peer.sendall(said)
        assert ears.listener.receive_all() == []
        peer.settimeout(10)
        while peer.recv(1000):
            pass
    greet(ears, other)
    other.close()


def test_random_bytes_end_at_most_their_own_connection_f19(
    directory: SessionDirectory, ears: Ears
) -> None:
    other = connect(directory, ears.listener)
    connection = greet(ears, other)
    chance = random.Random(7)
    for number in range(300):
        with raw_connection(directory) as peer:
            greeting = GREETING if number % 2 else b""
            peer.sendall(greeting + chance.randbytes(chance.randrange(200)))
            ears.listener.receive_all()
        ears.listener.receive_all()
    ears.listener.send(connection, [b"answer"])
    assert contents(other.receive(wait=True)) == [b"answer"]
    other.close()


def fill_gaps() -> list[int]:
    """Descriptors, the last of which is above all others of this process: none below it is free."""
    last = max(int(each.name) for each in Path("/proc/self/fd").iterdir())
    made = [os.dup(0)]
    while made[-1] <= last:
        made.append(os.dup(0))
    return made


def test_without_descriptors_a_connection_is_refused_and_others_go_on_f14(
    directory: SessionDirectory, ears: Ears
) -> None:
    other = connect(directory, ears.listener)
    connection = greet(ears, other)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with raw_connection(directory) as refused:
        fillers = fill_gaps()
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (fillers[-1] + 1, limits[1]))
            assert ears.listener.receive_all() == []
            assert refused.recv(100) == b""
            assert ears.listener.send(connection, [b"answer"])
            assert contents(other.receive(wait=True)) == [b"answer"]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            for filler in fillers:
                os.close(filler)
    connect(directory, ears.listener).close()
    other.close()


def test_the_descriptor_that_is_spared_for_refusals_is_nobody_else_s_when_another_thread_took_it_f14(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        listener._refuse()
    taken = os.open(os.devnull, os.O_RDONLY)  # it has the same number now
    listener.close()
    os.close(taken)
