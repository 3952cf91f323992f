"""Random and mutated input to everything that decodes: 100,000 frames, nothing uncaught (FAULTS F19)."""

from __future__ import annotations

import enum
import itertools
import os
import random
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, get_args, get_origin

import msgspec
import pytest

from executor.actions import Action
from executor.host import Code, Invocation
from executor.inbox import Inbox
from executor.orders import (
    Exited,
    NotStarted,
    Spawn,
    Started,
    receive_report,
    receive_spawn,
)
from executor.peer import read_hello
from executor.pool_machine import PoolMachine
from protocol.client_messages import FromClient, ToClient
from protocol.errors import ProtocolError
from protocol.framing import (
    Session,
    client_session,
    coordinator_session,
    service_session,
    worker_session,
)
from protocol.messages import (
    AttemptKey,
    Digest,
    FrameSpan,
    FromCoordinator,
    FromWorker,
    NodeId,
    RunId,
)

FRAMES = 100_000
KEY: Final = AttemptKey(RunId(1), NodeId(2), 3)

DIRECTIONS: Final[
    dict[str, tuple[Any, Callable[[], Session[Any, Any]], Callable[[], Session[Any, Any]]]]
] = {
    "worker to coordinator": (FromWorker, worker_session, coordinator_session),
    "coordinator to worker": (FromCoordinator, coordinator_session, worker_session),
    "client to service": (FromClient, client_session, service_session),
    "service to client": (ToClient, service_session, client_session),
}
SHARE: Final = FRAMES // (len(DIRECTIONS) + 1)


# -- a corpus of real envelopes --------------------------------------------------------------------


def sample(hint: Any) -> Any:
    """A plausible value of a field's type."""
    if hint is AttemptKey:
        return KEY
    if hasattr(hint, "__struct_fields__"):
        return message_of(hint)
    options = get_args(hint)
    plain: dict[Any, Any] = {
        int: 3,
        float: 0.5,
        bool: True,
        str: "text",
        bytes: b"bytes",
        type(None): None,
    }
    if hint in plain:
        return plain[hint]
    if hasattr(hint, "__supertype__"):
        return sample(hint.__supertype__)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return next(iter(hint))
    if get_origin(hint) in (list, tuple):
        return get_origin(hint)([sample(options[0])])
    if get_origin(hint) is dict:
        return {sample(options[0]): sample(options[1])}
    assert options, hint
    return FrameSpan(0, 2) if FrameSpan in options else sample(options[0])


def message_of(kind: Any) -> Any:
    return kind(*(sample(field.type) for field in msgspec.structs.fields(kind)))


def corpus(direction: Any, session: Session[Any, Any]) -> list[list[bytes]]:
    """An envelope of each message, and one of them all."""
    found = []
    for kinds in (*([kind] for kind in get_args(direction)), get_args(direction)):
        session.attach((b"frame", b"another"))
        for kind in kinds:
            session.add(message_of(kind))
        found += [[bytes(part) for part in parts] for parts in session.take()]
    return found


def mutated(dice: random.Random, valid: bytes) -> bytes:
    data = bytearray(dice.randbytes(dice.randrange(80)) if dice.random() < 0.1 else valid)
    for _ in range(dice.randrange(5)):
        if data:
            data[dice.randrange(len(data))] = dice.randrange(256)
    if dice.random() < 0.15:
        del data[dice.randrange(len(data) + 1) :]
    if dice.random() < 0.1:
        at = dice.randrange(len(data) + 1)
        data[at:at] = dice.choice((b"\xc0", b"\x91", b"\xdd\xff\xff\xff\xff", b"\xcf" + b"\xff" * 8))
    return bytes(data)


def envelopes(name: str, count: int) -> Iterator[list[bytes]]:
    direction, source, _ = DIRECTIONS[name]
    valid = corpus(direction, source())
    dice = random.Random(name)
    for _ in range(count):
        [header, *frames] = dice.choice(valid)
        yield [mutated(dice, header), *frames[: dice.randrange(len(frames) + 1)]]


# -- who decodes -----------------------------------------------------------------------------------


def wires(message: Any) -> Iterator[Any]:
    for field in message.__struct_fields__:
        value = getattr(message, field)
        yield from value if isinstance(value, list) else [value]


@pytest.mark.parametrize("name", DIRECTIONS)
def test_a_session_raises_nothing_but_protocol_errors(name: str) -> None:
    _, _, target = DIRECTIONS[name]
    taken = refused = 0
    for parts in envelopes(name, SHARE):
        try:
            envelope = target().read(parts)
            if envelope is not None:
                for wire in itertools.chain.from_iterable(map(wires, envelope.messages)):
                    if isinstance(wire, FrameSpan | bytes):
                        envelope.value(wire)
            taken += 1
        except ProtocolError:
            refused += 1
        if name == "worker to coordinator":
            read_hello(parts)
    # Else the mutations are too wild, or too tame, to show anything.
    assert taken > SHARE // 20
    assert refused > SHARE // 20


def test_an_inbox_takes_whatever_a_greeted_worker_says_and_keeps_its_books() -> None:
    def ignore(_: Sequence[Action]) -> None: ...

    machine = PoolMachine(1)
    machine.start(0.0)
    machine.started(1, 100)
    machine.greeted(1, 0.0)
    inbox = Inbox(machine, ignore)
    for parts in envelopes("worker to coordinator", SHARE):
        if machine.lease(KEY) is None:
            machine.invoke(Invocation(KEY, Code(Digest(b"code"), b""), []))
        with suppress(ProtocolError):
            envelope = coordinator_session().read(parts)
            if envelope is not None:
                inbox.take(1, envelope)
        machine.check()


def test_orders_and_reports_of_a_zygote_decode_or_end_the_connection() -> None:
    dice = random.Random(33)
    valid = [
        msgspec.msgpack.encode(message)
        for message in (Spawn(1, b"token"), Started(1, 2), NotStarted(1, "why"), Exited(1, 2, 0, 3))
    ]
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        for _ in range(SHARE // 10):
            packet = mutated(dice, dice.choice(valid)) or b"x"
            for receive in (receive_spawn, receive_report):
                socket.send_fds(theirs, [packet], [0] if dice.random() < 0.5 else [])
                with suppress(ConnectionError):
                    received: Any = receive(ours)
                    if received is not None:
                        for descriptor in (
                            received[1] if isinstance(received[1], list) else [received[1]]
                        ):
                            os.close(descriptor)
