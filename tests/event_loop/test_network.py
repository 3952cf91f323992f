"""Rule 78: sockets suspend the task, not the thread."""

import socket as stdlib

import pytest

from orchestrator.event_loop import EventLoop, Socket, socket, spawn

FAMILIES = [(stdlib.AF_INET, ("127.0.0.1", 0)), (stdlib.AF_INET6, ("::1", 0))]


async def _listen(family: int, address: object) -> Socket:
    listener = socket(family)
    listener.bind(address)
    listener.listen()
    return listener


async def _echo(connection: Socket) -> None:
    with connection:
        while data := await connection.recv(65_536):
            await connection.sendall(data)


@pytest.mark.parametrize(("family", "address"), FAMILIES)
def test_rule_78_an_echo_server_gives_back_what_a_client_sends(family: int, address: object) -> None:
    payload = bytes(range(256)) * 20_000  # more than the kernel's buffers hold

    async def client(server: Socket) -> bytes:
        with socket(family) as connection:
            await connection.connect(server.getsockname())
            sender = await spawn(connection.sendall(payload))
            received = bytearray()
            while len(received) < len(payload):
                received += await connection.recv(1 << 20)
            await sender.join()
        return bytes(received)

    async def main() -> bytes:
        with await _listen(family, address) as server:
            asking = await spawn(client(server))
            connection, _ = await server.accept()
            await spawn(_echo(connection))
            return await asking.join()

    assert EventLoop().run_until_complete(main(), join=True) == payload
