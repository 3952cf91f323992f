"""Envelopes: how messages and the payload frames they point at travel between two peers.

Theory of operation. An envelope is a multipart message ``[header, *payload frames]``. The header is
``[epoch, number, acknowledged, messages]`` in msgpack; what its numbers mean is the matter of
``protocol.delivery``. The writer encodes each message when it is added and begins a new envelope when
one is full, so that what is written in one turn leaves as few envelopes as possible. The reader refuses
what no writer of ours would send. No socket and no clock is known here.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cache
from typing import Any, Final, Generic, TypeAlias, TypeVar

import msgspec
from msgspec import Struct, msgpack

from protocol.client_messages import FromClient, ToClient
from protocol.delivery import Delivery, Epoch, Resending
from protocol.errors import ProtocolError
from protocol.messages import FrameSpan, FromCoordinator, FromWorker, WireValue
from protocol.values import INLINE_LIMIT_BYTES, Buffer, Frames, Local, Value

M_co = TypeVar("M_co", covariant=True)
Out = TypeVar("Out")
In = TypeVar("In")

Parts: TypeAlias = Sequence[Buffer]
"""The parts of a multipart message: a header, then payload frames."""

# The writer ends an envelope that has reached one of these.
MESSAGES_PER_ENVELOPE: Final = 1024
HEADER_BYTES: Final = 256 * 1024
FRAMES_PER_ENVELOPE: Final = 256
PAYLOAD_BYTES: Final = 8 << 20

# The reader refuses more. One message may pass the writer's marks (a node with a million inputs), so
# these are far above them: a message that cannot be sent is the end of its session.
MESSAGES_LIMIT: Final = MESSAGES_PER_ENVELOPE
HEADER_LIMIT_BYTES: Final = 1 << 30
FRAMES_LIMIT: Final = 1 << 20

INLINE_TOTAL_BYTES: Final = 1 << 20
"""Beyond this in one envelope, small values too get a frame each, so that headers stay small."""

FRAME_WORTH_BYTES: Final = 256
"""But not those to which a frame would add as much again."""


NO_EPOCH: Final = Epoch(0)
"""Of sessions that have their connection to themselves."""


class Envelope(Generic[M_co]):
    """What one multipart message has brought."""

    __slots__ = ("frames", "messages")

    def __init__(self, messages: Sequence[M_co], frames: Parts) -> None:
        self.messages = messages
        self.frames = frames

    def value(self, wire: WireValue) -> Value:
        """The value that a message of this envelope carries or points at; frames are not copied.

        Raises:
            ProtocolError: it points at frames that are not there.
        """
        if isinstance(wire, bytes):
            return wire
        end = wire.first + wire.count
        if wire.first < 0 or wire.count < 1 or end > len(self.frames):
            raise ProtocolError(
                f"a value is said to be in {wire.count} frames from frame {wire.first} on, "
                f"and the envelope has {len(self.frames)}"
            )
        return tuple(self.frames[wire.first : end])


class Session(Generic[Out, In]):
    """One side of a session: writes messages of one direction and reads those of the other.

    >>> ours, theirs = coordinator_session(), worker_session()
    >>> theirs.add(Goodbye())
    >>> [envelope] = theirs.take()
    >>> ours.read(envelope).messages
    [Goodbye()]
    """

    def __init__(self, decoder: msgpack.Decoder[_Header[In]], delivery: Delivery[list[Buffer]]) -> None:
        self._decoder = decoder
        self.delivery = delivery
        self._full: list[list[Buffer]] = []
        self._open()

    # -- writing ----------------------------------------------------------------------------------

    @property
    def has_output(self) -> bool:
        return self._count > 0 or bool(self._full)

    @property
    def output_bytes(self) -> int:
        """About how much has been written into the envelope that is not full yet."""
        return len(self._header) + self._payload_bytes

    def attach(self, value: Value) -> WireValue:
        """Put a value beside the message that is added next, which refers to it by the result.

        Raises:
            TypeError: the value is local to this process.
        """
        if isinstance(value, bytes):
            size = len(value)
            if size <= INLINE_LIMIT_BYTES and (
                self._inline_bytes < INLINE_TOTAL_BYTES or size <= FRAME_WORTH_BYTES
            ):
                self._inline_bytes += size
                return value
            value = (value,)
        elif isinstance(value, Local):
            raise TypeError(f"{value!r} is local to its process; it must be serialized to be sent")
        return self._attach_frames(value)

    def add(self, message: Out) -> None:
        """Write a message; the values it refers to were attached since the last one."""
        _encoder.encode_into(message, self._header, -1)
        self._count += 1
        if (
            self._count >= MESSAGES_PER_ENVELOPE
            or len(self._header) >= HEADER_BYTES
            or len(self._frames) >= FRAMES_PER_ENVELOPE
            or self._payload_bytes >= PAYLOAD_BYTES
        ):
            self._seal()

    def take(self) -> list[list[Buffer]]:
        """The envelopes written since the last call, each ready to be sent as a multipart message."""
        if self._count:
            self._seal()
        full, self._full = self._full, []
        return full

    def bare(self, number: int) -> list[Buffer]:
        """An envelope without messages that acknowledges all that was read (``Delivery.take``)."""
        assert not self._count, "what was written goes first"
        _pack(self._header, self.delivery, number, 0)
        self.delivery.told()
        parts: list[Buffer] = [self._header]
        self._open()
        return parts

    def _attach_frames(self, frames: Frames) -> FrameSpan:
        span = FrameSpan(len(self._frames), len(frames))
        self._frames.extend(frames)
        for frame in frames:
            self._payload_bytes += frame.nbytes if isinstance(frame, memoryview) else len(frame)
        return span

    def _seal(self) -> None:
        header, frames = self._header, self._frames
        if len(header) > HEADER_LIMIT_BYTES or len(frames) > FRAMES_LIMIT:
            raise ValueError(
                f"a message has {len(frames)} frames and {len(header)} bytes of its own; at most "
                f"{FRAMES_LIMIT} frames and {HEADER_LIMIT_BYTES} bytes can be sent at once"
            )
        delivery = self.delivery
        number = delivery.next_number()
        _pack(header, delivery, number, self._count)
        parts = [header, *frames]
        if delivery.resending is not None:
            delivery.keep(parts, len(header) + self._payload_bytes)
        self._full.append(parts)
        self._open()

    def _open(self) -> None:
        self._header = bytearray(_PREFIX.size)
        self._frames: list[Buffer] = []
        self._count = 0
        self._inline_bytes = 0
        self._payload_bytes = 0

    # -- reading ----------------------------------------------------------------------------------

    def read(self, parts: Parts, now: float = 0.0) -> Envelope[In] | None:
        """Take a multipart message of the peer's; None if it brings nothing new.

        ``now`` matters only where the peer keeps what we have not acknowledged.

        Raises:
            ProtocolError: it is not an envelope, or not the next one; nothing of it was taken.
        """
        header = _decode(self._decoder, parts)
        delivery = self.delivery
        size = 0 if delivery.resending is None else sum(map(len, parts))
        messages = header.messages
        bare = not messages
        if delivery.take(header.epoch, header.number, header.acknowledged, bare, size, now):
            return Envelope(messages, parts[1:])
        return None


def coordinator_session(
    epoch: Epoch = NO_EPOCH, resending: Resending | None = None
) -> Session[FromCoordinator, FromWorker]:
    """The coordinator's side of a session with one worker."""
    return Session(_decoder_of(FromWorker), Delivery(epoch, resending))


def worker_session(
    epoch: Epoch = NO_EPOCH, resending: Resending | None = None
) -> Session[FromWorker, FromCoordinator]:
    """The worker's side of its session with the coordinator."""
    return Session(_decoder_of(FromCoordinator), Delivery(epoch, resending))


def first_message(parts: Parts) -> tuple[Epoch, FromWorker] | None:
    """What a worker's session begins with, and its epoch; None if the parts begin none."""
    try:
        header = _decode(_decoder_of(FromWorker), parts)
    except ProtocolError:
        return None
    if header.number != 1 or header.acknowledged or not header.messages:
        return None
    return Epoch(header.epoch), header.messages[0]


def service_session() -> Session[ToClient, FromClient]:
    """A service's side of a session with one client."""
    return Session(_decoder_of(FromClient), Delivery(NO_EPOCH))


def client_session() -> Session[FromClient, ToClient]:
    """A client's side of its session with a service."""
    return Session(_decoder_of(ToClient), Delivery(NO_EPOCH))


class _Header(Struct, Generic[In], array_like=True, forbid_unknown_fields=True, gc=False):
    epoch: int
    number: int
    acknowledged: int
    messages: list[In]


def _decode(decoder: msgpack.Decoder[_Header[In]], parts: Parts) -> _Header[In]:
    if not 1 <= len(parts) <= 1 + FRAMES_LIMIT:
        raise ProtocolError(f"an envelope of {len(parts)} parts; 1 to {1 + FRAMES_LIMIT} are legal")
    if len(parts[0]) > HEADER_LIMIT_BYTES:
        raise ProtocolError(f"a header of {len(parts[0])} bytes; {HEADER_LIMIT_BYTES} are legal")
    try:
        header = decoder.decode(parts[0])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"a header that does not decode: {error}") from error
    messages = len(header.messages)
    if header.number < (messages > 0) or header.acknowledged < 0 or messages > MESSAGES_LIMIT:
        raise ProtocolError(
            f"envelope {header.number} of {messages} messages acknowledges {header.acknowledged}; "
            f"envelopes count from 1, and {MESSAGES_LIMIT} messages are legal"
        )
    return header


def _pack(header: bytearray, delivery: Delivery[list[Buffer]], number: int, messages: int) -> None:
    _PREFIX.pack_into(
        header, 0, _ARRAY_OF_4, _UINT64, delivery.epoch, _UINT64, number,
        _UINT64, delivery.received, _ARRAY32, messages,
    )  # fmt: skip


@cache
def _decoder_of(messages: Any) -> msgpack.Decoder[Any]:
    """Made when it is needed: that takes milliseconds, and no process needs them all."""
    return msgpack.Decoder(_Header[messages])


_encoder: Final = msgpack.Encoder()

# The header up to its messages, in msgpack: [uint64, uint64, uint64, [...
_PREFIX: Final = struct.Struct(">BBQBQBQBI")
_ARRAY_OF_4: Final = 0x94
_UINT64: Final = 0xCF
_ARRAY32: Final = 0xDD
