"""What workers say is acted on message by message."""

from __future__ import annotations

from collections.abc import Sequence

from executor.actions import Action, Assign
from executor.host import Code, Invocation
from executor.inbox import Inbox
from executor.pool_machine import PoolMachine
from protocol.framing import Envelope
from protocol.messages import (
    AttemptKey,
    Chunk,
    Completed,
    Digest,
    FromWorker,
    Missing,
    NodeId,
    RunId,
    StreamInput,
)
from protocol.values import Value


def key(node: int) -> AttemptKey:
    return AttemptKey(RunId(1), NodeId(node), 0)


def invocation(node: int) -> Invocation:
    return Invocation(key(node), Code(Digest(bytes([node])), b""), [StreamInput()])


class Log:
    """Keeps what was reported and what was done, in order."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def do(self, actions: Sequence[Action]) -> None:
        self.seen += [
            f"assign {action.invocation.key.node}" for action in actions if isinstance(action, Assign)
        ]

    def chunks(self, of: AttemptKey, first: int, count: int, width: int, values: list[Value]) -> None:
        self.seen.append(f"chunks of {of.node}")

    def completed(
        self,
        of: AttemptKey,
        emitted: int,
        seconds: float,
        outputs: list[Value],
        missing: Missing | None,
        state: Value | None = None,
    ) -> None:
        self.seen.append(f"completed {of.node}")


def test_an_attempt_is_sent_before_the_next_message_can_say_anything_to_it() -> None:
    # One worker runs 1 and 2; 3, which reads what 2 emits, waits in line. In one envelope 1 ends, which
    # makes room for 3, and 2 emits a chunk, which is delivered to 3: that must not overtake its Invoke.
    log = Log()
    machine = PoolMachine(1)
    inbox = Inbox(machine, log.do)
    inbox.reports[RunId(1)] = log  # type: ignore[assignment]  # the verbs that are heard here
    machine.start(0.0)
    machine.started(1, 100)
    machine.greeted(1, 0.0)
    for node in (1, 2):
        machine.invoke(invocation(node))
    lease = machine.lease(key(1))
    assert lease is not None
    lease.waits(0, 0)
    machine.assign_line()
    machine.invoke(invocation(3))
    assert machine.is_in_line(key(3))
    lease.end_stream(0)
    messages: list[FromWorker] = [
        Completed(key(1), 0, 0.0, [b""]),
        Completed(key(2), 0, 0.0, [b""]),
        Chunk(key(3), 0, 1, 1, [b""]),
    ]
    inbox.take(1, Envelope(messages, []))
    assert log.seen == ["completed 1", "completed 2", "assign 3", "chunks of 3"]
