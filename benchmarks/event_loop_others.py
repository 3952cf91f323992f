"""The workloads of benchmarks/event_loop.py on asyncio (and so uvloop) and trio."""

from __future__ import annotations

import asyncio
import math
import socket
from time import perf_counter

import trio

TASKS = 100
MESSAGE = b"x" * 64


async def switches(count: int) -> float:
    async def worker() -> None:
        for _ in range(count // TASKS):
            await asyncio.sleep(0)

    started = perf_counter()
    for task in [asyncio.create_task(worker()) for _ in range(TASKS)]:
        await task
    return perf_counter() - started


async def queue(count: int) -> float:
    items = asyncio.Queue[int](maxsize=100)

    async def produce() -> None:
        for number in range(count):
            await items.put(number)

    async def consume() -> None:
        for _ in range(count):
            await items.get()

    started = perf_counter()
    for task in [asyncio.create_task(produce()), asyncio.create_task(consume())]:
        await task
    return perf_counter() - started


async def spawn_and_join(count: int) -> float:
    async def nothing() -> None:
        pass

    started = perf_counter()
    for _ in range(count):
        await asyncio.create_task(nothing())
    return perf_counter() - started


async def cancel(count: int) -> float:
    tasks = [asyncio.create_task(asyncio.sleep(1_000)) for _ in range(count)]
    await asyncio.sleep(0)
    started = perf_counter()
    for task in tasks:
        task.cancel()
    for task in tasks:
        try:
            await task
        except asyncio.CancelledError:
            pass
    return perf_counter() - started


# -- echo, by each of asyncio's three interfaces ---------------------------------------------------


async def echo_sockets(connections: int, messages: int) -> float:
    loop = asyncio.get_running_loop()
    handlers = []

    async def handle(connection: socket.socket) -> None:
        with connection:
            while data := await loop.sock_recv(connection, 4_096):
                await loop.sock_sendall(connection, data)

    async def serve(listener: socket.socket) -> None:
        for _ in range(connections):
            connection, _ = await loop.sock_accept(listener)
            handlers.append(loop.create_task(handle(connection)))

    async def ask(address: tuple[str, int]) -> None:
        with socket.socket() as connection:
            connection.setblocking(False)
            await loop.sock_connect(connection, address)
            for _ in range(messages):
                await loop.sock_sendall(connection, MESSAGE)
                received = 0
                while received < len(MESSAGE):
                    received += len(await loop.sock_recv(connection, 4_096))

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(2 * connections)
        listener.setblocking(False)
        server = loop.create_task(serve(listener))
        started = perf_counter()
        await asyncio.gather(*(ask(listener.getsockname()) for _ in range(connections)))
        seconds = perf_counter() - started
        await server
        await asyncio.gather(*handlers)
    return seconds


async def echo_streams(connections: int, messages: int) -> float:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4_096):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def ask(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(messages):
            writer.write(MESSAGE)
            await writer.drain()
            await reader.readexactly(len(MESSAGE))
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, backlog=2 * connections)
    port = server.sockets[0].getsockname()[1]
    started = perf_counter()
    await asyncio.gather(*(ask(port) for _ in range(connections)))
    seconds = perf_counter() - started
    server.close()
    return seconds


class _Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


class _Ask(asyncio.Protocol):
    def __init__(self, messages: int) -> None:
        self._left = messages
        self._received = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        transport.write(MESSAGE)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self._received < len(MESSAGE):
            return
        self._received = 0
        self._left -= 1
        if self._left:
            self._transport.write(MESSAGE)
        else:
            self._transport.close()
            self.done.set_result(None)


async def echo_protocols(connections: int, messages: int) -> float:
    loop = asyncio.get_running_loop()

    async def ask(port: int) -> None:
        _, protocol = await loop.create_connection(lambda: _Ask(messages), "127.0.0.1", port)
        await protocol.done

    server = await loop.create_server(_Echo, "127.0.0.1", 0, backlog=2 * connections)
    port = server.sockets[0].getsockname()[1]
    started = perf_counter()
    await asyncio.gather(*(ask(port) for _ in range(connections)))
    seconds = perf_counter() - started
    server.close()
    return seconds


# -- trio ------------------------------------------------------------------------------------------


async def trio_switches(count: int) -> float:
    async def worker() -> None:
        for _ in range(count // TASKS):
            await trio.lowlevel.checkpoint()

    started = perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(TASKS):
            nursery.start_soon(worker)
    return perf_counter() - started


async def trio_queue(count: int, scale: int) -> float:
    send, receive = trio.open_memory_channel[int](100)

    async def produce() -> None:
        for number in range(count):
            await send.send(number)

    async def consume() -> None:
        for _ in range(count):
            await receive.receive()

    started = perf_counter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(produce)
        nursery.start_soon(consume)
    return (perf_counter() - started) * scale


async def trio_spawn_and_join(count: int, scale: int) -> float:
    async def nothing() -> None:
        pass

    started = perf_counter()
    for _ in range(count):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(nothing)
    return (perf_counter() - started) * scale


async def trio_cancel(count: int) -> float:
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(trio.sleep, math.inf)
        await trio.sleep(0)
        started = perf_counter()
        nursery.cancel_scope.cancel()
    return perf_counter() - started
