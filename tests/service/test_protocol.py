"""What a service does with connections that do not speak as a client does (FAULTS F19, F20)."""

from __future__ import annotations

import platform
from collections.abc import Iterator

import msgspec
import pytest

from orchestrator.service.client import connect
from protocol.client_messages import (
    SERVICE_VERSION,
    AskStatus,
    Bye,
    ClientHello,
    Dismissed,
    FromClient,
    Leave,
    Refused,
    Status,
    ToClient,
    Welcomed,
    WorkerEnded,
    WorkerStarted,
)
from protocol.framing import client_session
from protocol.transport import Connection, open_context


class Stranger:
    """A connection that says whatever a test wants."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.session = client_session()

    def say(self, *messages: FromClient) -> None:
        for message in messages:
            self.session.add(message)
        for parts in self.session.take():
            self.connection.send(parts)

    def hear(self) -> ToClient | None:
        """The next answer; None if there is none in a while."""
        self.connection.wait(timeout_s=0.3)
        parts = self.connection.receive(wait=False)
        if parts is None:
            return None
        envelope = self.session.read(parts)
        return None if envelope is None else envelope.messages[0]


@pytest.fixture
def stranger(endpoint: str) -> Iterator[Stranger]:
    with open_context() as context:
        connection = Connection(context, endpoint)
        yield Stranger(connection)
        connection.close(0.0)
    with connect(endpoint) as client:
        assert client.status().workers  # whatever it said has done no harm


def hello(python: str = "", version: int = SERVICE_VERSION) -> ClientHello:
    return ClientHello(version, python or platform.python_version())


@pytest.mark.parametrize("parts", [[b""], [b"\xc1"], [b"garbage", b"frame"], [bytes(1000)]])
def test_garbage_is_answered_with_our_version_and_nothing_more(
    stranger: Stranger, parts: list[bytes]
) -> None:
    stranger.connection.send(parts)
    answer = stranger.hear()
    assert isinstance(answer, Refused)
    assert answer.version == SERVICE_VERSION


def test_a_session_that_does_not_begin_with_hello_is_refused(stranger: Stranger) -> None:
    stranger.say(AskStatus(1))
    assert isinstance(stranger.hear(), Refused)


@pytest.mark.parametrize("greeting", [hello(version=99), hello(python="3.2.1"), hello(python="x")])
def test_another_version_or_python_is_refused(stranger: Stranger, greeting: ClientHello) -> None:
    stranger.say(greeting)
    assert isinstance(stranger.hear(), Refused)


def test_the_first_message_of_either_side_is_read_also_with_fields_that_later_versions_add() -> None:
    later: list[object] = [7, "3.20.0", 42, "more", None]
    refused = msgspec.convert([2, *later], ToClient)
    assert refused == Refused(7, "3.20.0", 42)
    greeting = msgspec.convert([1, *later], FromClient)
    assert greeting == ClientHello(7, "3.20.0")


def test_a_client_that_breaks_the_protocol_is_heard_no_more(stranger: Stranger) -> None:
    stranger.say(hello())
    assert isinstance(stranger.hear(), Welcomed)
    stranger.connection.send([b"\xc1"])
    stranger.say(AskStatus(1))
    dismissed = stranger.hear()
    assert isinstance(dismissed, Dismissed)
    assert "does not decode" in dismissed.reason
    assert not isinstance(stranger.hear(), Status)


def test_a_second_hello_ends_the_session(stranger: Stranger) -> None:
    stranger.say(hello())
    assert isinstance(stranger.hear(), Welcomed)
    stranger.say(hello(), AskStatus(1))
    assert not isinstance(stranger.hear(), Status)


def test_reports_of_workers_that_were_not_ordered_are_ignored(stranger: Stranger) -> None:
    stranger.say(hello())
    assert isinstance(stranger.hear(), Welcomed)
    stranger.say(WorkerStarted(1, 1), WorkerEnded(1, -9, 0, {}), Leave(), AskStatus(1))
    answer = stranger.hear()
    assert isinstance(answer, Status)
    assert len(answer.workers) == 2


def test_after_bye_a_connection_may_begin_anew(stranger: Stranger) -> None:
    stranger.say(hello())
    assert isinstance(stranger.hear(), Welcomed)
    stranger.say(Bye())
    again = Stranger(stranger.connection)
    again.say(hello())
    assert isinstance(again.hear(), Welcomed)
