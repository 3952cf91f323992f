"""A coordinator that deals with one agent up to a step and then stops: run as a script by tests.

Its arguments are an endpoint and the step. It says "reached" when the agent has heard all that it is to
hear, and ends when its standard input does: first its socket, some time later its process.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
import time

from executor.page import create_page
from protocol.client_messages import (
    SERVICE_VERSION,
    Confirmed,
    FromClient,
    SpawnWorker,
    ToClient,
    Welcomed,
    WorkerStarted,
)
from protocol.framing import service_session
from protocol.listener import ConnectionId, Listener

STEPS = ("connected", "greeted", "joined", "has a worker")
SOCKET_TO_PROCESS_S = 0.3


def main(endpoint: str, step: str) -> None:
    os.umask(0o077)
    listener = Listener(endpoint)
    sys.stderr.write("listening\n")
    worker = deal_with_agent(listener, endpoint, STEPS.index(step))
    sys.stderr.write("reached\n")
    sys.stdin.read()
    listener.close(0.1)
    if worker is not None:
        os.kill(worker, signal.SIGKILL)  # so that the agent has to tell us something
    time.sleep(SOCKET_TO_PROCESS_S)


def deal_with_agent(listener: Listener, endpoint: str, step: int) -> int | None:
    """The pid of the worker, if it goes so far."""
    session = service_session()

    def hear() -> tuple[ConnectionId, FromClient]:
        while not (arrived := listener.receive()):
            time.sleep(0.001)
        (received,) = arrived
        envelope = session.read(received.parts)
        assert envelope is not None
        return received.connection, envelope.messages[0]

    def say(message: ToClient) -> None:
        session.add(message)
        for parts in session.take():
            listener.send(agent, parts)

    agent, _ = hear()
    if step == 0:
        return None
    python, path = platform.python_version(), list(sys.path)
    # Its workers find nobody.
    say(Welcomed(SERVICE_VERSION, python, os.getpid(), 0, sys.prefix, path, f"{endpoint}-workers"))
    hear()
    if step == 1:
        return None
    say(Confirmed(1))
    if step == 2:
        return None
    pipes = [os.pipe()[1] for _ in range(2)]
    say(SpawnWorker(1, bytes(32), [create_page(), *pipes]))
    _, report = hear()
    assert isinstance(report, WorkerStarted)
    return report.pid


if __name__ == "__main__":
    main(*sys.argv[1:])
