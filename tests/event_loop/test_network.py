"""Rule 78: sockets suspend the task, not the thread; rule 85 as far as sockets have hooks."""

from __future__ import annotations

import shutil
import socket as stdlib
import ssl
import subprocess
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from orchestrator.event_loop import (
    EventLoop,
    EventLoopInstrument,
    Socket,
    VirtualClock,
    gather,
    sleep,
    socket,
    spawn,
)

PAYLOAD = bytes(range(256)) * 20_000  # more than the kernel's buffers hold


def run(main: Coroutine[Any, Any, Any]) -> Any:
    return EventLoop(VirtualClock()).run_until_complete(main, join=True)


@pytest.fixture(params=["IPv4", "IPv6", "unix"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[int, Any]:
    if request.param == "IPv4":
        return stdlib.AF_INET, ("127.0.0.1", 0)
    if request.param == "IPv6":
        return stdlib.AF_INET6, ("::1", 0)
    return stdlib.AF_UNIX, str(tmp_path / "socket")


def listen(family: int = stdlib.AF_INET, address: Any = ("127.0.0.1", 0)) -> Socket:
    listener = socket(family)
    listener.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_REUSEADDR, 1)
    listener.bind(address)
    listener.listen()
    return listener


async def echo(connection: Socket) -> None:
    async with connection:
        while data := await connection.recv(65_536):
            await connection.sendall(data)


async def exchange(connection: Socket, payload: bytes) -> bytes:
    """Send ``payload`` and receive as many bytes, at the same time."""
    sender = await spawn(connection.sendall(payload))
    received = bytearray()
    while len(received) < len(payload):
        data = await connection.recv(1 << 20)
        assert data
        received += data
    await sender.join()
    return bytes(received)


async def connected_pair(listener: Socket, family: int = stdlib.AF_INET) -> tuple[Socket, Socket]:
    client = socket(family)
    connecting = await spawn(client.connect(listener.getsockname()))
    server, _ = await listener.accept()
    await connecting.join()
    return client, server


def test_rule_78_an_echo_server_gives_back_what_it_gets(address: tuple[int, Any]) -> None:
    async def main() -> bytes:
        with listen(*address) as listener:
            client, server = await connected_pair(listener, address[0])
            await spawn(echo(server))
            with client:
                return await exchange(client, PAYLOAD)

    assert run(main()) == PAYLOAD


def test_rule_78_many_connections_at_once() -> None:
    async def client(listener: Socket, number: int) -> bool:
        payload = b"%d" % number
        with socket() as connection:
            await connection.connect(listener.getsockname())
            return await exchange(connection, payload) == payload

    async def serve(listener: Socket) -> None:
        while True:
            connection, _ = await listener.accept()
            await spawn(echo(connection))

    async def main() -> list[bool]:
        with listen() as listener:
            server = await spawn(serve(listener))
            results = await gather(*(client(listener, number) for number in range(50)))
            await server.cancel()
        return results

    assert run(main()) == [True] * 50


def test_a_host_name_is_looked_up_without_blocking_the_loop() -> None:
    async def main() -> bytes:
        with listen() as listener:
            port = listener.getsockname()[1]
            with socket() as client:
                connecting = await spawn(client.connect(("localhost", port)))
                server, peer = await listener.accept()
                await connecting.join()
                assert client.getsockname() == peer
                assert client.getpeername() == listener.getsockname()
                with server:
                    await server.send(b"hello")
                    return await client.recv(5)

    assert EventLoop().run_until_complete(main(), join=True) == b"hello"


def test_an_unknown_host_is_an_error_in_the_task() -> None:
    async def main() -> None:
        with socket() as client, pytest.raises(stdlib.gaierror):
            await client.connect(("no such host.invalid", 1))

    EventLoop().run_until_complete(main(), join=True)


def test_a_refused_connection_is_an_error_that_names_the_address() -> None:
    async def main() -> None:
        with listen() as listener:
            address = listener.getsockname()
        with socket() as client, pytest.raises(ConnectionRefusedError, match=r"127\.0\.0\.1"):
            await client.connect(address)

    run(main())


# -- closing ---------------------------------------------------------------------------------------


def test_rule_78_recv_on_a_closed_socket_gives_nothing() -> None:
    async def main() -> list[bytes]:
        with listen() as listener:
            client, server = await connected_pair(listener)
            waiting = await spawn(client.recv(1))
            await client.close()
            client.close()
            server.close()
            assert client.is_closed
            assert client.fileno() == -1
            return [await waiting.join(), await client.recv(1)]

    assert run(main()) == [b"", b""]


def test_rule_78_recv_at_the_end_of_the_stream_gives_nothing_and_other_errors_pass() -> None:
    async def main() -> bytes:
        with listen() as listener:
            client, server = await connected_pair(listener)
            with client, socket() as unconnected:
                server.shutdown(stdlib.SHUT_WR)
                server.close()
                with pytest.raises(OSError, match="not connected"):
                    await unconnected.recv(1)
                return await client.recv(1)

    assert run(main()) == b""


def test_a_closed_socket_is_an_error_in_whatever_else_is_tried() -> None:
    async def main() -> None:
        closed = socket()
        closed.close()
        for call in (
            closed.accept(),
            closed.send(b"x"),
            closed.sendall(b"x"),
            closed.connect(("::1", 1)),
        ):
            with pytest.raises(OSError, match=r"Bad file descriptor|closed|family"):
                await call

    run(main())


def test_a_socket_closed_under_accept_and_send_wakes_them_with_an_error() -> None:
    async def main() -> None:
        listener = listen()
        client, server = await connected_pair(listener)
        accepting = await spawn(listener.accept())
        sending = await spawn(client.sendall(PAYLOAD * 10))
        listener.close()
        client.close()
        for task in (accepting, sending):
            with pytest.raises(OSError, match="was closed while"):
                await task.join()
        server.close()

    run(main())


def test_closing_outside_a_loop_is_closing() -> None:
    closed = socket()
    closed.close()
    assert closed.is_closed
    assert "closed" in repr(closed)


# -- TLS -------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for localhost, with its key, in one file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command to make a certificate")
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    command = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    extension = ["-addext", "subjectAltName=DNS:localhost"]
    made = subprocess.run(
        [openssl, *command.split(), *extension, "-keyout", "-", "-out", "-"],
        capture_output=True,
        check=True,
    )
    path.write_bytes(made.stdout)
    return path


def test_tls_connections_carry_data_both_ways(certificate: Path) -> None:
    told: list[str | None] = []

    class Handshakes(EventLoopInstrument):
        def on_tls_handshake_complete(self, socket: Socket) -> None:
            assert isinstance(socket.raw, ssl.SSLSocket)
            told.append(socket.raw.version())

    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=str(certificate))

    async def serve(server: Socket) -> None:
        await server.start_tls(serving, server_side=True)
        await echo(server)

    async def main() -> bytes:
        with listen() as listener:
            client, server = await connected_pair(listener)
            await spawn(serve(server))
            with client:
                await client.start_tls(trusting, server_hostname="localhost")
                return await exchange(client, PAYLOAD)

    assert run(main()) == PAYLOAD
    with Handshakes():
        assert run(main()) == PAYLOAD
    assert told == ["TLSv1.3", "TLSv1.3"]


def test_a_certificate_that_is_not_trusted_is_an_error_on_both_sides(certificate: Path) -> None:
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate)

    async def main() -> None:
        with listen() as listener:
            client, server = await connected_pair(listener)
            with client, server:
                answering = await spawn(server.start_tls(serving, server_side=True))
                with pytest.raises(ssl.SSLCertVerificationError):
                    await client.start_tls(ssl.create_default_context(), server_hostname="localhost")
                client.close()
                with pytest.raises(OSError):
                    await answering.join()

    run(main())


# -- hooks -----------------------------------------------------------------------------------------


def test_rule_85_the_life_of_a_connection_is_told() -> None:
    log: list[str] = []

    class Recorder(EventLoopInstrument):
        def __getattribute__(self, name: str) -> Any:
            if name.startswith("on_socket"):
                log.append(name.removeprefix("on_socket_"))
            return object.__getattribute__(self, name)

    async def main() -> None:
        with listen() as listener:
            client, server = await connected_pair(listener)
            await client.sendall(b"x")
            assert await server.recv(1) == b"x"
            client.close()
            assert await server.recv(1) == b""
            server.close()

    with Recorder():
        run(main())
    for name in ("connect", "accept", "send", "recv"):
        assert log.index(f"{name}_start") < log.index(f"{name}_ready")
    assert log[log.index("send_ready") :][:2] == ["send_ready", "send_data"]
    assert log.count("recv_data") == 2
    assert log.count("close") == 3


def test_a_busy_connection_can_be_shared_by_sleeping_nothing() -> None:
    async def main() -> int:
        turns = 0
        with listen() as listener:
            client, server = await connected_pair(listener)
            with client, server:
                await server.send(b"x" * 10)
                while turns < 10:
                    await client.recv(1)
                    await sleep(0)
                    turns += 1
        return turns

    assert run(main()) == 10
