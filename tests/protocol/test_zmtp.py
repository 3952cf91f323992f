"""A worker's end speaks with libzmq's as one of libzmq's would."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from protocol.errors import ProtocolError
from protocol.transport import Listener, Received, SessionDirectory
from protocol.zmtp import READ_BYTES, Dealer

SIZES = (0, 1, 255, 256, 5_000, READ_BYTES - 9, READ_BYTES, READ_BYTES + 1, 200_000)
GREETING = (b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL").ljust(64, b"\0")


@pytest.fixture
def listener() -> Iterator[Listener]:
    directory = SessionDirectory.create()
    with zmq.Context() as context:
        made = Listener(context, directory.endpoint)
        made.test_endpoint = directory.endpoint  # type: ignore[attr-defined]
        yield made
        made.close()
    directory.remove()


@pytest.fixture
def dealer(listener: Any) -> Iterator[Dealer]:
    made = Dealer(listener.test_endpoint)
    yield made
    made.close()


def next_of(listener: Listener) -> Received:
    while (received := listener.receive()) is None:
        listener.socket.poll()
    return received


def greet(listener: Listener, dealer: Dealer) -> bytes:
    dealer.send([b"hello"])
    return next_of(listener).identity


def test_envelopes_of_all_sizes_go_both_ways(listener: Listener, dealer: Dealer) -> None:
    identity = greet(listener, dealer)
    chance = random.Random(3)
    for number in range(60):
        sizes = chance.choices(SIZES, k=chance.randint(1, 4))
        envelope = [bytes([chance.randrange(256)]) * size for size in sizes]
        sender = threading.Thread(target=dealer.send, args=(envelope,))
        sender.start()
        assert [bytes(part) for part in next_of(listener).parts] == envelope
        sender.join()
        assert listener.send(identity, envelope)
        parts = dealer.receive(wait=True)
        assert parts is not None
        assert [bytes(part) for part in parts] == envelope, number
        assert dealer.receive(wait=False) is None


def test_what_is_received_without_waiting_comes_whole_and_in_order(
    listener: Listener, dealer: Dealer
) -> None:
    identity = greet(listener, dealer)
    envelopes = [[b"%d" % number, bytes(number * 37 % 90_000)] for number in range(500)]
    for envelope in envelopes:
        listener.send(identity, envelope)
    for envelope in envelopes:
        while (parts := dealer.receive(wait=False)) is None:
            listener.send_backlog()
        assert [bytes(part) for part in parts] == envelope


def test_what_waits_for_a_worker_that_does_not_read_blocks_nobody(
    listener: Listener, dealer: Dealer
) -> None:
    identity = greet(listener, dealer)
    count = 0
    while not listener.has_backlog:
        assert listener.send(identity, [b"%d" % count, bytes(4096)])
        count += 1
    for number in range(count):
        while (parts := dealer.receive(wait=False)) is None:
            listener.send_backlog()
        assert parts[0] == b"%d" % number


# -- beside a peer that does what libzmq would not ----------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "socket"))
        made.listen()
        yield made


def connect(server: socket.socket, greeting: bytes) -> tuple[Dealer, socket.socket]:
    made: list[Any] = []

    def make() -> None:
        try:
            made.append(Dealer(f"ipc://{server.getsockname()}"))
        except Exception as error:
            made.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    peer, _ = server.accept()
    peer.sendall(greeting)
    thread.join()
    if isinstance(made[0], Exception):
        peer.close()
        raise made[0]
    return made[0], peer


def test_an_envelope_may_come_byte_by_byte(server: socket.socket) -> None:
    dealer, peer = connect(server, GREETING)
    with peer:
        for byte in b"\x04\x06\x05READY\x01\x03abc\x02" + (300).to_bytes(8, "big") + bytes(299):
            peer.sendall(bytes([byte]))
            assert dealer.receive(wait=False) is None
            assert dealer.receive(wait=False) is None
        peer.sendall(b"x")
        assert dealer.receive(wait=True) == [b"abc", bytes(299) + b"x"]
        dealer.close()


def test_the_end_of_the_coordinator_is_told(server: socket.socket) -> None:
    dealer, peer = connect(server, GREETING)
    peer.close()
    with pytest.raises(ConnectionError):
        dealer.receive(wait=True)
    with pytest.raises(ConnectionError):
        dealer.send([bytes(10)])
    dealer.close()


@pytest.mark.parametrize(
    ("greeting", "message"),
    [
        (b"HTTP/1.1 400 Bad Request".ljust(64), "does not speak ZMTP"),
        (GREETING.replace(b"NULL\0", b"CURVE"), "CURVE"),
    ],
)
def test_who_speaks_something_else_is_refused(
    server: socket.socket, greeting: bytes, message: str
) -> None:
    with pytest.raises(ProtocolError, match=message):
        connect(server, greeting)
