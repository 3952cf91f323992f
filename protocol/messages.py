"""Every message between a coordinator and its workers: one tagged union per direction.

A message is a frozen array on the wire, ``[tag, field, ...]``; one that does not decode strictly is
a protocol error of the peer that sent it. Values are never part of a message's own bytes unless they
are small: a larger one is a :class:`FrameSpan`, which points at payload frames of the envelope
(``protocol.framing``).

Words: an *attempt* is one try of one run of a node (``AttemptKey``); chunks of a stream are counted
from 0; ``upto`` fields are cumulative counts, so a message lost or repeated says nothing false.
"""

from __future__ import annotations

import enum
from typing import Final, NewType, TypeAlias

from msgspec import Struct

RunId = NewType("RunId", int)
NodeId = NewType("NodeId", int)
Digest = NewType("Digest", bytes)

PROTOCOL_VERSION: Final = 1
WHOLE: Final = -1
"""The ``element`` of an attempt that is not one element of a parallel map."""
UNLIMITED: Final = 2**62
"""The credit of a producer that nobody's reading holds back."""


class Message(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Base of all messages, and of what they consist of: how each looks on the wire."""


class AttemptKey(Message, frozen=True, cache_hash=True, gc=False):
    """Names one attempt; whatever carries another key than the one expected is dropped."""

    run: RunId
    node: NodeId
    generation: int
    element: int = WHOLE
    attempt: int = 0


class Failure(Message, frozen=True):
    """Why a stream breaks off: the producer's name, and its error as a sentence."""

    node: str
    reason: str


class FrameSpan(Message, frozen=True, tag=1):
    """A value in ``count`` payload frames of the same envelope, from frame ``first`` on."""

    first: int
    count: int


class StreamInput(Message, frozen=True, tag=2):
    """The port receives a stream: its chunks follow as ``Deliver``, its end as ``EndStream``."""


class DefaultInput(Message, frozen=True, tag=3):
    """The port takes its parameter's default."""


WireValue: TypeAlias = bytes | FrameSpan
WireInput: TypeAlias = bytes | FrameSpan | StreamInput | DefaultInput


class Absence(enum.Enum):
    """Why an attempt ended without a final value."""

    NO_VALUE = "no value"  # nothing was accumulated
    SKIP = "skip"  # the body asked that what depends on it be skipped


class Missing(Message, frozen=True):
    """The place of a final value that does not exist; ``reason`` is a sentence for the user."""

    absence: Absence
    reason: str = ""


class Fault(enum.Enum):
    """What an attempt failed at, which decides whose fault it is."""

    BODY = "body"  # the body raised
    CODE = "code"  # the code could not be loaded in the worker
    INPUT = "input"  # an input could not be unpickled
    OUTPUT = "output"  # a result or chunk could not be pickled
    SHAPE = "shape"  # a result is not what the node's outputs ask for
    STATE = "state"  # a class's state could not be pickled


class WireStart(Message, frozen=True):
    """What a class's instance is made from: see ``executor.host.Start``."""

    state: WireValue | None
    changes: WireValue | None


class ErrorReport(Message, frozen=True):
    """An exception as text, which always survives the way between processes.

    ``pid`` is that of the process it was raised in; 0 where no body was running. ``may_retry``: it is
    of a type after which the node's policy tries again.
    """

    fault: Fault
    type_name: str
    message: str
    traceback: str
    pid: int = 0
    may_retry: bool = False


# -- worker -> coordinator --------------------------------------------------------------------


class Hello(Message, frozen=True, tag=1):
    """Worker -> coordinator, first: who it is. ``token`` proves that we started it."""

    version: int
    python: str
    worker: int
    pid: int
    token: bytes


class Chunk(Message, frozen=True, tag=2):
    """Worker -> coordinator: chunks ``first .. first+count-1`` exist.

    ``values`` holds them row by row, ``width`` outputs each; it is empty if nobody reads them.
    """

    key: AttemptKey
    first: int
    count: int
    width: int
    values: list[WireValue]


class Read(Message, frozen=True, tag=3):
    """Worker -> coordinator: the body has taken the first ``upto`` chunks of a port's stream.

    This, not the delivery, is what barrier 1 counts.
    """

    key: AttemptKey
    port: int
    upto: int


class Wait(Message, frozen=True, tag=4):
    """Worker -> coordinator: a task of the body waits until ``chunk`` of ``port`` comes.

    Void if that chunk, or the stream's end, was already sent. The whole body is suspended if
    ``resting_on`` of its ports, this one included, wait and none of the waits is void; 0 means that
    other tasks of the body go on.
    """

    key: AttemptKey
    port: int
    chunk: int
    resting_on: int = 1


class CancelStream(Message, frozen=True, tag=5):
    """Worker -> coordinator: the body cancelled the stream it reads on ``port``."""

    key: AttemptKey
    port: int


class Completed(Message, frozen=True, tag=6):
    """Worker -> coordinator: the attempt ended after ``emitted`` chunks and ``seconds`` of stepping.

    ``outputs`` holds one value per output, or nothing where ``missing`` says why. ``state`` is what the
    run has left of the node's state, where ``Invoke`` asked for it: both count, or neither does.
    """

    key: AttemptKey
    emitted: int
    seconds: float
    outputs: list[WireValue]
    missing: Missing | None = None
    state: WireValue | None = None


class Failed(Message, frozen=True, tag=7):
    """Worker -> coordinator: the attempt ended by an exception.

    ``cause`` is the exception itself; its sender has seen it survive a pickle round trip.
    """

    key: AttemptKey
    emitted: int
    seconds: float
    error: ErrorReport
    cause: WireValue | None = None


class Cancelled(Message, frozen=True, tag=8):
    """Worker -> coordinator: answers ``Cancel``; the attempt holds nothing any more."""

    key: AttemptKey


class Goodbye(Message, frozen=True, tag=9):
    """Worker -> coordinator, last: answers ``Drain``; the process ends with status 0."""


class CancelThrown(Message, frozen=True, tag=10):
    """Worker -> coordinator: StreamCancelled was thrown at the yield of chunk ``emitted - 1``.

    The throw answers ``merged`` ``ThrowCancel`` at once. Until the next chunk, the body is past its
    gate. An attempt that was ended by the throw reports its end instead.
    """

    key: AttemptKey
    merged: int
    emitted: int


class LeftRunning(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=11):
    """Worker -> coordinator, after the end of an attempt: what its body has started and not ended.

    ``processes`` holds pids, ``threads`` names.
    """

    key: AttemptKey
    processes: list[int]
    threads: list[str]


class Revoked(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=12):
    """Worker -> coordinator: answers ``Revoke``. These were not begun here and never will be.

    What was asked for and is not among them has begun, or is over.
    """

    keys: list[AttemptKey]


FromWorker: TypeAlias = (
    Hello
    | Chunk
    | Read
    | Wait
    | CancelStream
    | Completed
    | Failed
    | Cancelled
    | Goodbye
    | CancelThrown
    | LeftRunning
    | Revoked
)


# -- coordinator -> worker --------------------------------------------------------------------


class Welcome(Message, frozen=True, tag=1):
    """Coordinator -> worker: answers ``Hello``; work may follow."""


class Define(Message, frozen=True, tag=2):
    """Coordinator -> worker: a body's code, sent before the first ``Invoke`` that names it.

    Once, but for what was forgotten meanwhile.
    """

    digest: Digest
    payload: WireValue


class Invoke(Message, frozen=True, tag=3):
    """Coordinator -> worker: run a body on these inputs, one per port.

    A generator may emit up to ``credit`` chunks before it hears ``Produce``. ``send_chunks``: their
    values are read by somebody. ``final_is_read``: so is the final value, however large.

    ``checkpoint``: send the state of the node's class with ``Completed``. ``start``: make its instance
    from this. ``resumes``: if there is one of an earlier run of the node, go on with that.

    ``name`` is the node's; ``context`` is for its body to ask for.
    """

    key: AttemptKey
    code: Digest
    inputs: list[WireInput]
    credit: int
    send_chunks: bool
    final_is_read: bool
    checkpoint: bool = False
    start: WireStart | None = None
    resumes: bool = False
    name: str = ""
    context: WireValue | None = None


class Deliver(Message, frozen=True, tag=4):
    """Coordinator -> worker: chunks ``first ..`` of the stream on ``port``."""

    key: AttemptKey
    port: int
    first: int
    values: list[WireValue]


class EndStream(Message, frozen=True, tag=5):
    """Coordinator -> worker: the stream on ``port`` ends after ``count`` chunks.

    With ``failure`` it breaks off there: reading on raises; ``cause`` is the producer's exception.
    """

    key: AttemptKey
    port: int
    count: int
    failure: Failure | None = None
    cause: WireValue | None = None


class Produce(Message, frozen=True, tag=6):
    """Coordinator -> worker: the gate is open until ``upto`` chunks have been emitted in all."""

    key: AttemptKey
    upto: int


class ThrowCancel(Message, frozen=True, tag=7):
    """Coordinator -> worker: a reader cancelled; throw StreamCancelled at the generator's yield."""

    key: AttemptKey


class Cancel(Message, frozen=True, tag=8):
    """Coordinator -> worker: give the attempt up; close its body; answer ``Cancelled``."""

    key: AttemptKey


class Release(Message, frozen=True, tag=9):
    """Coordinator -> worker: the flow run is over; drop the node states kept for it."""

    run: RunId


class Drain(Message, frozen=True, tag=10):
    """Coordinator -> worker: nothing more will come; answer ``Goodbye`` and end."""


class Revoke(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=11):
    """Coordinator -> worker: give back those of these that have not begun; answer ``Revoked``."""

    keys: list[AttemptKey]


class Forget(Message, frozen=True, tag=12):
    """Coordinator -> worker: drop every code; what an ``Invoke`` names from now on is defined anew."""


FromCoordinator: TypeAlias = (
    Welcome
    | Define
    | Invoke
    | Deliver
    | EndStream
    | Produce
    | ThrowCancel
    | Cancel
    | Release
    | Drain
    | Revoke
    | Forget
)
