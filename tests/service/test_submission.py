"""What a client submits is checked whole before anything of it runs."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from executor.code import encode_code
from orchestrator.graph.compile import compile_flow
from orchestrator.graph.draft import parameter
from orchestrator.graph.flow import Flow
from orchestrator.graph.node import node
from orchestrator.service.submission import BadSubmission, encode_spec, read_submission
from orchestrator.spec import (
    CodeSpec,
    ConstantInput,
    EdgeInput,
    FlowSpec,
    NodeSpec,
    ParameterInput,
    PortSpec,
)
from protocol.client_messages import Submit
from protocol.framing import Envelope
from protocol.messages import Digest, FrameSpan
from protocol.serialization import dumps

NOTHING: Envelope[object] = Envelope([], [])


@node
def add(a: int, b: int) -> int:
    return a + b


def good() -> FlowSpec:
    with Flow() as f:
        f.sum = add(parameter("a", 1), 2)
    spec, _ = compile_flow(f, workers=1, encode_code=encode_code, encode_value=dumps)
    return spec


def submit(spec: Any, **others: Any) -> Submit:
    fields = {
        "request": 1, "label": "x", "spec": spec, "parameters": {}, "limits": {}, "constant_limit": None,
        "timeout_s": None, "terminate_on_node_error": True, "states": {}, "context": None,
            "detached": False,
    }  # fmt: skip
    return Submit(**(fields | others))


def refused(message: Submit) -> str:
    with pytest.raises(BadSubmission) as caught:
        read_submission(message, NOTHING, None, print)
    return str(caught.value)


def test_a_flow_as_it_was_compiled_is_accepted_and_defaults_are_filled_in() -> None:
    job = read_submission(submit(encode_spec(good())), NOTHING, None, print)
    assert job.spec == good()
    assert job.parameters == {"a": dumps(1)}


def test_a_spec_in_frames_of_its_own_is_put_together() -> None:
    encoded = encode_spec(good())
    frames: Envelope[object] = Envelope([], [encoded[:10], encoded[10:]])
    assert read_submission(submit(FrameSpan(0, 2)), frames, None, print).spec == good()


@pytest.mark.parametrize("spec", [b"", b"\xc1", b"\x93\x01", msgspec.msgpack.encode({"nodes": 1})])
def test_bytes_that_are_no_flow_do_not_decode(spec: bytes) -> None:
    assert "the flow does not decode" in refused(submit(spec))


def test_frames_that_are_not_there_do_not_decode() -> None:
    assert "does not decode" in refused(submit(FrameSpan(0, 1)))


CODE = CodeSpec(Digest(b"d"), b"code")


def with_node(**changes: Any) -> FlowSpec:
    fields: dict[str, Any] = {
        "name": "n", "kind": "mono", "code": Digest(b"d"), "ports": (), "placement": "process",
        "place": "f.py:1",
    }  # fmt: skip
    return FlowSpec((NodeSpec(**(fields | changes)),), (CODE,), (), ())


def port(read: Any, run_level: int = 0) -> tuple[PortSpec, ...]:
    return (PortSpec("x", run_level, read),)


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (with_node(placement="inline"), "node 'n' is placed inline"),
        (with_node(code=Digest(b"other")), "node 'n' has a code that is not there"),
        (with_node(kind="map"), "node 'n' maps over no stream"),
        (with_node(ports=port(EdgeInput(1, 0, 0, 0))), "port 'x' of node 'n' reads a node that"),
        (with_node(ports=port(EdgeInput(0, -1, 0, 0))), "port 'x' of node 'n' reads a node that"),
        (with_node(ports=port(EdgeInput(0, 0, 1, 0), 1)), "reads a stream of a node that has none"),
        (with_node(ports=port(ConstantInput(0))), "reads a constant that is not there"),
        (with_node(ports=port(ParameterInput("p"))), "reads a parameter that is not there"),
        (FlowSpec((), (CodeSpec(Digest(b"d"), None),), (), ()), "stayed with the client"),
    ],
)
def test_a_flow_that_does_not_fit_together_is_refused_with_the_place(
    spec: FlowSpec, problem: str
) -> None:
    assert problem in refused(submit(encode_spec(spec)))


def test_limits_and_times_that_mean_nothing_are_refused() -> None:
    assert "a stop limit" in refused(submit(encode_spec(good()), limits={7: (1,)}))
    assert "a timeout of nan s" in refused(submit(encode_spec(good()), timeout_s=float("nan")))


def test_a_spec_that_was_tampered_with_is_accepted_or_refused_and_nothing_else_f19() -> None:
    dice = random.Random(19)
    valid = encode_spec(good())
    accepted = 0
    for _ in range(5_000):
        spec = bytearray(valid)
        for _ in range(dice.randrange(1, 4)):
            spec[dice.randrange(len(spec))] = dice.randrange(256)
        with suppress(BadSubmission):
            read_submission(submit(bytes(spec)), NOTHING, None, print)
            accepted += 1
    assert 0 < accepted < 4_000
