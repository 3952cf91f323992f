"""A worker's end beside a coordinator that does what ours would not; ``test_listener`` has the rest."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protocol.errors import ProtocolError
from protocol.zmtp import GREETING, Dealer


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
