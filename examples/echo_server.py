"""A TCP echo server on the event loop; Ctrl-C ends it in order.

python examples/echo_server.py [PORT]      # then: nc 127.0.0.1 PORT
"""

from __future__ import annotations

import sys

from orchestrator.event_loop import EventLoop, Socket, socket, spawn


async def echo(connection: Socket) -> None:
    async with connection:
        while data := await connection.recv(65_536):
            await connection.sendall(data)


async def serve(port: int) -> None:
    with socket() as listener:
        listener.bind(("127.0.0.1", port))
        listener.listen()
        print("listening on port", listener.getsockname()[1], flush=True)
        while True:
            connection, _ = await listener.accept()
            await spawn(echo(connection))


if __name__ == "__main__":
    try:
        EventLoop().run_until_complete(serve(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
    except KeyboardInterrupt:
        print("closed")
