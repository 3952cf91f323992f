"""Envelopes: what one side writes the other reads, and nothing else gets through (FAULTS F19, F21)."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import framing
from protocol.delivery import Epoch
from protocol.errors import ProtocolError
from protocol.framing import (
    Envelope,
    Session,
    coordinator_session,
    first_message,
    worker_session,
)
from protocol.messages import (
    UNLIMITED,
    AttemptKey,
    Cancel,
    Chunk,
    Completed,
    DefaultInput,
    Deliver,
    Digest,
    FrameSpan,
    FromCoordinator,
    FromWorker,
    Goodbye,
    Hello,
    Invoke,
    NodeId,
    RunId,
    StreamInput,
    Welcome,
    WireInput,
    WireStart,
    WireValue,
)
from protocol.values import INLINE_LIMIT_BYTES, Local, Value

KEY = AttemptKey(RunId(1), NodeId(2), 3)

counts = st.integers(0, UNLIMITED)
keys = st.builds(AttemptKey, counts, counts, counts, st.integers(-1, 2**40), counts)
small = st.binary(max_size=40)
values: st.SearchStrategy[Value] = st.one_of(
    small,
    st.integers(INLINE_LIMIT_BYTES, 3 * INLINE_LIMIT_BYTES).map(bytes),
    st.lists(small, min_size=1, max_size=4).map(tuple),
)


def sent(source: Session[Any, Any], target: Session[Any, Any]) -> list[Envelope[Any]]:
    envelopes = [target.read(parts) for parts in source.take()]
    assert None not in envelopes
    return [envelope for envelope in envelopes if envelope is not None]


def as_parts(value: Value) -> tuple[bytes, ...]:
    assert not isinstance(value, Local)
    return (value,) if isinstance(value, bytes) else tuple(bytes(part) for part in value)


@given(st.lists(st.tuples(keys, st.lists(values, max_size=5)), max_size=20), st.data())
def test_values_arrive_in_their_messages_whatever_their_size(
    written: list[tuple[AttemptKey, list[Value]]], data: st.DataObject
) -> None:
    worker, coordinator = worker_session(), coordinator_session()
    arrived: list[tuple[AttemptKey, list[Value]]] = []
    for key, outputs in written:
        worker.add(Completed(key, 0, 0.5, [worker.attach(value) for value in outputs]))
        if data.draw(st.booleans()):
            arrived.extend(read_completed(worker, coordinator))
    arrived.extend(read_completed(worker, coordinator))
    assert [key for key, _ in arrived] == [key for key, _ in written]
    for (_, before), (_, after) in zip(written, arrived, strict=True):
        assert [as_parts(value) for value in before] == [as_parts(value) for value in after]


def read_completed(
    worker: Session[FromWorker, FromCoordinator], coordinator: Session[FromCoordinator, FromWorker]
) -> list[tuple[AttemptKey, list[Value]]]:
    found = []
    for envelope in sent(worker, coordinator):
        for message in envelope.messages:
            assert isinstance(message, Completed)
            found.append((message.key, [envelope.value(wire) for wire in message.outputs]))
    return found


@pytest.mark.parametrize("direction", [FromWorker, FromCoordinator], ids=["worker", "coordinator"])
def test_every_message_type_survives_the_way(direction: Any) -> None:
    @settings(max_examples=200)
    @given(st.one_of(*(messages(kind) for kind in get_args(direction))))
    def check(message: object) -> None:
        sides: list[Session[Any, Any]] = [worker_session(), coordinator_session()]
        source, target = sides if direction is FromWorker else reversed(sides)
        source.add(message)
        [envelope] = sent(source, target)
        assert envelope.messages == [message]

    check()


def messages(kind: Any) -> st.SearchStrategy[Any]:
    fields = msgspec.structs.fields(kind)
    return st.tuples(*(field_values(field.type) for field in fields)).map(lambda args: kind(*args))


def field_values(hint: Any) -> st.SearchStrategy[Any]:
    spans = st.builds(FrameSpan, counts, counts)
    wires = st.one_of(small, spans)
    known: dict[Any, st.SearchStrategy[Any]] = {
        int: st.integers(-(2**63), 2**64 - 1),
        float: st.floats(allow_nan=False),
        RunId: counts,
        NodeId: counts,
        Digest: small,
        WireValue: wires,
        list[WireValue]: st.lists(wires, max_size=3),
        list[int]: st.lists(counts, max_size=3),
        list[str]: st.lists(st.text(), max_size=3),
        list[AttemptKey]: st.lists(keys, max_size=3),
        list[WireInput]: st.lists(
            st.one_of(wires, st.just(StreamInput()), st.just(DefaultInput())), max_size=3
        ),
    }
    if hint in known:
        return known[hint]
    if get_args(hint):  # an optional one
        return st.one_of(*(field_values(option) for option in get_args(hint)))
    return messages(hint) if hasattr(hint, "__struct_fields__") else st.from_type(hint)


# -- the writer ------------------------------------------------------------------------------------


def test_what_is_written_in_one_turn_leaves_as_one_envelope() -> None:
    session = coordinator_session()
    for generation in range(100):
        session.add(Cancel(AttemptKey(RunId(1), NodeId(1), generation)))
    assert len(session.take()) == 1
    assert session.take() == []
    assert not session.has_output


@pytest.mark.parametrize(
    ("output", "messages_written"),
    [
        (b"", 5 * framing.MESSAGES_PER_ENVELOPE),
        (bytes(INLINE_LIMIT_BYTES), 100),
        ((b"head",), 3 * framing.FRAMES_PER_ENVELOPE),
        ((b"head", bytes(framing.PAYLOAD_BYTES // 2)), 7),
    ],
    ids=["many messages", "long header", "many frames", "long payload"],
)
def test_a_full_envelope_is_followed_by_another_and_none_passes_the_limits(
    output: Value, messages_written: int
) -> None:
    worker, coordinator = worker_session(), coordinator_session()
    for generation in range(messages_written):
        key = AttemptKey(RunId(1), NodeId(1), generation)
        worker.add(Completed(key, 0, 0.0, [worker.attach(output)]))
    envelopes = worker.take()
    assert len(envelopes) > 1
    for parts in envelopes:
        assert len(parts[0]) < framing.HEADER_BYTES + 2 * INLINE_LIMIT_BYTES
        assert len(parts) <= 1 + framing.FRAMES_PER_ENVELOPE + 1
        assert sum(map(len, parts[1:])) < 2 * framing.PAYLOAD_BYTES
    read = [coordinator.read(parts) for parts in envelopes]
    found = [message for envelope in read if envelope for message in envelope.messages]
    assert [message.key.generation for message in found] == list(range(messages_written))  # type: ignore[union-attr]


def test_a_message_with_thousands_of_inputs_is_one_envelope_with_a_short_header() -> None:
    worker, coordinator = worker_session(), coordinator_session()
    inputs: list[WireInput] = [coordinator.attach(bytes(INLINE_LIMIT_BYTES)) for _ in range(5_000)]
    coordinator.add(Invoke(KEY, Digest(b"code"), inputs, UNLIMITED, True, True))
    [parts] = coordinator.take()
    assert len(parts[0]) < 2 * framing.INLINE_TOTAL_BYTES
    envelope = worker.read(parts)
    assert envelope is not None
    [message] = envelope.messages
    assert isinstance(message, Invoke)
    for wire in message.inputs:
        assert isinstance(wire, bytes | FrameSpan)
        assert as_parts(envelope.value(wire)) == (bytes(INLINE_LIMIT_BYTES),)


@pytest.mark.parametrize("size", [45, 2 * framing.FRAME_WORTH_BYTES])
def test_a_message_with_a_hundred_thousand_inputs_is_sent_and_read(size: int) -> None:
    """It was refused when the flow ran, and nobody could use the pool from then on."""
    worker, coordinator = worker_session(), coordinator_session()
    inputs: list[WireInput] = [coordinator.attach(bytes(size)) for _ in range(100_000)]
    coordinator.add(Invoke(KEY, Digest(b"code"), inputs, UNLIMITED, True, True))
    [parts] = coordinator.take()
    envelope = worker.read(parts)
    assert envelope is not None
    [message] = envelope.messages
    assert isinstance(message, Invoke)
    assert len(message.inputs) == 100_000
    last = message.inputs[-1]
    assert isinstance(last, bytes | FrameSpan)
    assert as_parts(envelope.value(last)) == (bytes(size),)


@pytest.mark.parametrize("state", [b"small", bytes(INLINE_LIMIT_BYTES + 1), (b"head", b"buffer")])
def test_a_state_travels_both_ways_like_any_value(state: Value) -> None:
    worker, coordinator = worker_session(), coordinator_session()
    start = WireStart(coordinator.attach(state), coordinator.attach(b"changes"))
    coordinator.add(Invoke(KEY, Digest(b"code"), [], UNLIMITED, True, True, True, start))
    worker.add(Completed(KEY, 0, 0.0, [], None, worker.attach(state)))
    [invoked] = [worker.read(parts) for parts in coordinator.take()]
    [completed] = [coordinator.read(parts) for parts in worker.take()]
    assert invoked is not None
    assert completed is not None
    [invoke], [ended] = invoked.messages, completed.messages
    assert isinstance(invoke, Invoke)
    assert isinstance(ended, Completed)
    assert invoke.start is not None
    for envelope, wire in ((invoked, invoke.start.state), (completed, ended.state)):
        assert wire is not None
        assert as_parts(envelope.value(wire)) == as_parts(state)
    assert invoke.start.changes == b"changes"


def test_a_message_too_large_for_any_envelope_is_refused_where_it_is_written() -> None:
    session = coordinator_session()
    frames = (b"",) * (framing.FRAMES_LIMIT + 1)
    with pytest.raises(ValueError, match=r"frames .* at most"):
        session.add(Deliver(KEY, 0, 0, [session.attach(frames)]))


def test_a_local_value_is_not_sent() -> None:
    with pytest.raises(TypeError, match="must be serialized"):
        worker_session().attach(Local([1]))


# -- the reader ------------------------------------------------------------------------------------


def test_a_repeated_envelope_is_dropped_f21() -> None:
    worker, coordinator = worker_session(), coordinator_session()
    worker.add(Goodbye())
    [parts] = worker.take()
    assert coordinator.read(parts) is not None
    assert coordinator.read(parts) is None


def test_a_missing_envelope_is_an_error_f22() -> None:
    worker, coordinator = worker_session(), coordinator_session()
    worker.add(Goodbye())
    worker.take()
    worker.add(Goodbye())
    [parts] = worker.take()
    with pytest.raises(ProtocolError, match="envelope 2 came after envelope 0"):
        coordinator.read(parts)


def test_acknowledgements_are_cumulative_and_ride_on_what_goes_the_other_way() -> None:
    worker, coordinator = worker_session(), coordinator_session()
    for _ in range(3):
        coordinator.add(Welcome())
        sent(coordinator, worker)
    assert coordinator.delivery.acknowledged == 0
    worker.add(Goodbye())
    sent(worker, coordinator)
    assert coordinator.delivery.acknowledged == 3


def test_an_acknowledgement_of_what_was_never_sent_is_an_error() -> None:
    header = msgspec.msgpack.encode([0, 1, 7, [[9]]])
    with pytest.raises(ProtocolError, match="7 envelopes are acknowledged"):
        coordinator_session().read([header])


@pytest.mark.parametrize("span", [(0, 2), (1, 1), (-1, 1), (0, 0), (0, -1), (2**62, 2**62)])
def test_a_value_outside_the_envelopes_frames_is_an_error(span: tuple[int, int]) -> None:
    worker, coordinator = worker_session(), coordinator_session()
    worker.attach((b"frame",))
    worker.add(Chunk(KEY, 0, 1, 1, [FrameSpan(*span)]))
    [envelope] = sent(worker, coordinator)
    with pytest.raises(ProtocolError, match="the envelope has 1"):
        envelope.value(FrameSpan(*span))


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\x93",
        msgspec.msgpack.encode([0, 0, 0, [[9]]]),
        msgspec.msgpack.encode([0, -1, 0, []]),
        msgspec.msgpack.encode([0, 1, -1, [[9]]]),
        msgspec.msgpack.encode([0, 1, 0]),
        msgspec.msgpack.encode([0, 1, 0, [], 0]),
        msgspec.msgpack.encode([0, 1, 0, [[99]]]),
        msgspec.msgpack.encode([0, 1, 0, [[9, "more"]]]),
        msgspec.msgpack.encode([0, 1, 0, [[9]] * (framing.MESSAGES_LIMIT + 1)]),
        msgspec.msgpack.encode([0, "1", 0, []]),
        b"\x94\x00\x01\x00" + b"\x91" * 100_000,
    ],
)
def test_a_header_that_no_writer_makes_is_an_error_and_takes_nothing(header: bytes) -> None:
    worker, coordinator = worker_session(), coordinator_session()
    with pytest.raises(ProtocolError):
        coordinator.read([header])
    worker.add(Goodbye())
    assert sent(worker, coordinator)[0].messages == [Goodbye()]


def test_an_envelope_of_another_epoch_is_dropped_and_a_session_begins_with_its_first_f21() -> None:
    worker, coordinator = worker_session(Epoch(8)), coordinator_session(Epoch(9))
    hello = Hello(1, "3.11", 8, 2, b"token")
    worker.add(hello)
    [parts] = worker.take()
    assert coordinator.read(parts) is None
    assert coordinator.delivery.stale == 1
    assert first_message(parts) == (8, hello)
    worker.add(Goodbye())
    [parts] = worker.take()
    assert first_message(parts) is None


def test_a_first_envelope_that_acknowledges_anything_begins_no_session() -> None:
    assert first_message([msgspec.msgpack.encode([8, 1, 1, [[9]]])]) is None


def test_too_many_parts_or_none_are_an_error() -> None:
    for parts in ([], [b""] * (framing.FRAMES_LIMIT + 2)):
        with pytest.raises(ProtocolError, match="parts"):
            coordinator_session().read(parts)
