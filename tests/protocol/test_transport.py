"""ZeroMQ's ends of connections; ``test_listener`` has them speak with a coordinator's."""

from __future__ import annotations

import pytest

from protocol.directory import InsecureTransport
from protocol.transport import Connection, open_context, thread_link


@pytest.mark.parametrize(
    "endpoint", ["tcp://127.0.0.1:*", "tcp://*:5555", "ipc://@abstract", "ipc://relative", "inproc://x"]
)
def test_whatever_is_not_a_socket_file_is_refused(endpoint: str) -> None:
    with open_context() as context, pytest.raises(InsecureTransport, match="ipc://"):
        Connection(context, endpoint)


def test_the_ends_of_a_link_speak_with_each_other_and_may_leave_in_any_order() -> None:
    ours, theirs = thread_link()
    ours.send([b"header", b"frame"])
    parts = theirs.receive(wait=True)
    assert parts is not None
    assert [bytes(part) for part in parts] == [b"header", b"frame"]
    assert theirs.receive(wait=False) is None
    ours.close(0)
    theirs.send([b"nobody is there"])
    theirs.close(0)
    ours.context.term()
