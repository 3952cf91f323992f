"""The worker's loop on a link that is played: what it sends, and what it is told when."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from executor.code import BodyCode, encode_code
from executor.worker import Worker
from protocol.framing import coordinator_session, worker_session
from protocol.messages import (
    UNLIMITED,
    AttemptKey,
    Cancel,
    Cancelled,
    Chunk,
    Completed,
    Define,
    Digest,
    Drain,
    Forget,
    FromCoordinator,
    FromWorker,
    Goodbye,
    Invoke,
    NodeId,
    RunId,
)
from protocol.transport import Connection
from protocol.values import Buffer


class PlayedLink(Connection):
    """A worker's link: its coordinator answers within ``send``; ``descriptor`` tells once of each."""

    def __init__(self) -> None:
        self.session = coordinator_session()
        self.heard: list[FromWorker] = []
        self.answers: dict[type, list[FromCoordinator]] = {}
        self._came: deque[Sequence[Buffer]] = deque()
        self._told, self._tells = socket.socketpair()
        self._told.setblocking(False)

    def say(self, *messages: FromCoordinator) -> None:
        for message in messages:
            self.session.add(message)
        self._came.extend(self.session.take())
        self._tells.send(b".")

    def receive(self, *, wait: bool) -> list[Buffer] | None:
        try:
            self._told.recv(100)
        except BlockingIOError:
            pass
        if self._came:
            return list(self._came.popleft())
        assert not wait, "nothing will ever come"
        return None

    def send(self, parts: Any) -> None:
        envelope = self.session.read(parts)
        assert envelope is not None
        for message in envelope.messages:
            self.heard.append(message)
            if answer := self.answers.pop(type(message), None):
                self.say(*answer)

    @property
    def descriptor(self) -> int:
        return self._told.fileno()

    def hang_up(self) -> None:
        self._told.close()
        self._tells.close()


@pytest.fixture
def link() -> Iterator[PlayedLink]:
    played = PlayedLink()
    yield played
    played.hang_up()


async def ends() -> int:
    return 1


def rests() -> Any:
    yield from range(100)


def invoke(link: PlayedLink, number: int, body: Any, credit: int) -> tuple[Define, Invoke]:
    digest = Digest(bytes([number]) * 16)
    key = AttemptKey(RunId(1), NodeId(number), 0)
    code = link.session.attach(encode_code(BodyCode(body)))
    return Define(digest, code), Invoke(key, digest, [], credit, True, True)


@pytest.mark.timeout(10)
def test_a_worker_on_asyncio_sends_what_it_answers_at_once_though_nothing_more_comes(
    link: PlayedLink,
) -> None:
    resting = invoke(link, 2, rests, 1)
    link.answers = {
        Completed: [*resting],  # by then it is on asyncio
        Chunk: [Cancel(resting[1].key)],
        Cancelled: [Drain()],
    }
    link.say(*invoke(link, 1, ends, UNLIMITED))
    Worker(link, worker_session()).run()
    assert [type(message) for message in link.heard] == [Completed, Chunk, Cancelled, Goodbye]


def test_a_worker_that_is_to_forget_keeps_nothing_of_the_codes_before(link: PlayedLink) -> None:
    link.answers = {Completed: [Forget(), *invoke(link, 2, rests, 1)], Chunk: [Drain()]}
    link.say(*invoke(link, 1, ends, UNLIMITED))
    worker = Worker(link, worker_session())
    worker.run()
    assert [type(message) for message in link.heard] == [Completed, Chunk, Goodbye]
    assert set(worker._codes) == set(worker._hub._opener._codes) == {bytes([2]) * 16}
