"""The workloads of benchmarks/event_loop.py on our loop. Each returns the seconds it took."""

from __future__ import annotations

from time import perf_counter

from orchestrator.event_loop import (
    AsyncQueue,
    EventLoop,
    Socket,
    TaskCancelled,
    TaskHandle,
    gather,
    sleep,
    socket,
    spawn,
)

__all__ = ["EventLoop", "cancel", "echo", "queue", "spawn_and_join", "switches"]

TASKS = 100
MESSAGE = b"x" * 64


async def switches(count: int) -> float:
    async def worker() -> None:
        for _ in range(count // TASKS):
            await sleep(0)

    started = perf_counter()
    for task in [await spawn(worker()) for _ in range(TASKS)]:
        await task.join()
    return perf_counter() - started


async def queue(count: int) -> float:
    items = AsyncQueue[int](maxsize=100)

    async def produce() -> None:
        for number in range(count):
            await items.put(number)

    async def consume() -> None:
        for _ in range(count):
            await items.get()

    started = perf_counter()
    for task in [await spawn(produce()), await spawn(consume())]:
        await task.join()
    return perf_counter() - started


async def spawn_and_join(count: int) -> float:
    async def nothing() -> None:
        pass

    started = perf_counter()
    for _ in range(count):
        await (await spawn(nothing())).join()
    return perf_counter() - started


async def cancel(count: int) -> float:
    tasks: list[TaskHandle[float]] = [await spawn(sleep(1_000)) for _ in range(count)]
    started = perf_counter()
    for task in tasks:
        task.cancel()
    for task in tasks:
        try:
            await task.join()
        except TaskCancelled:
            pass
    return perf_counter() - started


async def echo(connections: int, messages: int) -> float:
    async def handle(connection: Socket) -> None:
        with connection:
            while data := await connection.recv(4_096):
                await connection.sendall(data)

    async def serve(listener: Socket) -> None:
        for _ in range(connections):
            connection, _ = await listener.accept()
            await spawn(handle(connection))

    async def ask(address: object) -> None:
        with socket() as connection:
            await connection.connect(address)
            for _ in range(messages):
                await connection.sendall(MESSAGE)
                received = 0
                while received < len(MESSAGE):
                    received += len(await connection.recv(4_096))

    with socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(2 * connections)
        server = await spawn(serve(listener))
        started = perf_counter()
        await gather(*(ask(listener.getsockname()) for _ in range(connections)))
        seconds = perf_counter() - started
        await server.join()
    return seconds
