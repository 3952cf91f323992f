"""Every outcome of a run crosses processes whole."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from executor.host import WorkerLoss
from orchestrator.runtime.outcome import (
    Deadlocked,
    Done,
    Failed,
    Interrupted,
    LimitReached,
    NodeFailed,
    NodeLost,
    NothingAccumulated,
    Outcome,
    Replayed,
    TimedOut,
    TooFewOutputs,
)
from orchestrator.service.outcomes import AnyOutcome, Crashed, decode_outcome, encode_outcome
from protocol.messages import AttemptKey, ErrorReport, Fault, NodeId, RunId

KEY = AttemptKey(RunId(1), NodeId(2), 3, 4, 5)
ERROR = ErrorReport(Fault.BODY, "ValueError", "x", "Traceback")
OUTCOMES: list[AnyOutcome] = [
    Done(("a", "b")),
    LimitReached("a", (1, 2)),
    NodeFailed("a", "job.py:1", KEY, ERROR, None),
    NodeFailed("a", "job.py:1", KEY, ERROR, b"pickled"),
    NodeFailed("a", "job.py:1", KEY, ERROR, (b"head", bytearray(3))),
    NodeLost("a", KEY, WorkerLoss(1, 2, -9, charged=True)),
    NodeLost("a", KEY, WorkerLoss(1, 2, 3, charged=True), (WorkerLoss(1, 2, 3, charged=True),), True),
    Replayed("a", KEY, 3),
    NothingAccumulated("a", "b", "x", "because"),
    TooFewOutputs("a", "f.py:1", 1, 2),
    Failed(
        (NodeFailed("a", "job.py:1", KEY, ERROR, b"1"), NodeFailed("b", "job.py:1", KEY, ERROR, b"2")),
        ("c",),
    ),
    Deadlocked(("a waits",), ()),
    TimedOut(1.5, ("a",)),
    Interrupted(),
    Crashed("a defect"),
]


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: type(outcome).__name__)
def test_an_outcome_comes_back_as_it_was(outcome: AnyOutcome) -> None:
    assert decode_outcome(*encode_outcome(outcome)) == outcome


def test_every_kind_of_outcome_is_tried_here() -> None:
    assert {type(outcome) for outcome in OUTCOMES} == {*get_args(Outcome), Crashed}


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode(["Done"]),
        msgspec.msgpack.encode({"kind": "Nothing", "fields": {}}),
        msgspec.msgpack.encode({"kind": "Done", "fields": {"unfinished": 3}}),
        msgspec.msgpack.encode({"kind": "Done", "fields": {"other": ()}}),
        msgspec.msgpack.encode({"kind": "NodeFailed", "fields": {"cause": 7}}),
        msgspec.msgpack.encode({"kind": "Failed", "fields": {"failures": [1], "unreached": ()}}),
    ],
)
def test_what_is_no_outcome_is_refused(encoded: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode_outcome(encoded, [])
