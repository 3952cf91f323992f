"""Reads what a client submits: plain data that is checked whole before anything of it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from executor.host import Start
from executor.scheduling import check_demand, check_priority
from orchestrator.node_state import NodeState
from orchestrator.runtime.chunk_log import Spill
from orchestrator.runtime.job import Job
from orchestrator.runtime.machine import FlowMachine
from orchestrator.spec import (
    ConstantInput,
    EdgeInput,
    FlowSpec,
    Locals,
    NodeSpec,
    ParameterInput,
    PortSpec,
    Unconnected,
)
from protocol.client_messages import Submit
from protocol.errors import ProtocolError
from protocol.framing import Envelope
from protocol.messages import WireStart
from protocol.values import Local, Value

_decoder = msgspec.msgpack.Decoder(FlowSpec)


class BadSubmission(Exception):  # noqa: N818 - says what it is
    """What was submitted cannot be run; the text is for the client."""


def encode_spec(spec: FlowSpec) -> bytes:
    return msgspec.msgpack.encode(spec)


def read_submission(
    message: Submit,
    envelope: Envelope[object],
    spill: Spill | None,
    observe: Callable[[FlowMachine], None],
) -> Job:
    """The job that a client wants to be run.

    Raises:
        BadSubmission: it does not decode, or does not fit together.
    """
    try:
        spec = _decoder.decode(_joined(envelope.value(message.spec)))
        parameters = {name: envelope.value(wire) for name, wire in message.parameters.items()}
        starts = {node: _start(wire, envelope) for node, wire in message.states.items()}
        context = None if message.context is None else envelope.value(message.context)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ProtocolError) as error:
        raise BadSubmission(f"the flow does not decode: {error}") from error
    problem = next(problems_of(spec), None) or _problem_of_run(spec, message, parameters)
    if problem is not None:
        raise BadSubmission(f"the flow does not fit together: {problem}")
    return Job(
        spec,
        Locals(),
        parameters,
        message.limits,
        message.constant_limit,
        timeout_s=message.timeout_s,
        terminate_on_node_error=message.terminate_on_node_error,
        spill=spill,
        observe=observe,
        states=_states(spec, starts),
        context=context,
    )


def _states(spec: FlowSpec, starts: dict[int, Start]) -> dict[int, NodeState]:
    """One for each node that keeps a state, so that it can be sent back."""
    pinned = [index for index, node in enumerate(spec.nodes) if node.pinned]
    return {index: NodeState.of(starts.get(index, Start())) for index in pinned}


def problems_of(spec: FlowSpec) -> Iterator[str]:
    """What keeps a decoded spec from being run by somebody else, a sentence each."""
    digests = set()
    for code in spec.codes:
        digests.add(code.digest)
        if code.payload is None:
            yield f"the code {code.digest.hex()} stayed with the client"
    for index, constant in enumerate(spec.constants):
        if constant.payload is None:
            yield f"constant {index} stayed with the client"
    parameters = {parameter.name for parameter in spec.parameters}
    for node in spec.nodes:
        if node.placement != "process":
            yield f"node {node.name!r} is placed {node.placement}, and a service has workers only"
        if node.code not in digests:
            yield f"node {node.name!r} has a code that is not there"
        try:
            check_demand(node.demand)
            check_priority(node.priority)
        except (TypeError, ValueError) as error:
            yield f"node {node.name!r}: {error}"
        yield from _problems_of_inputs(node, spec, parameters)


def _problems_of_inputs(node: NodeSpec, spec: FlowSpec, parameters: set[str]) -> Iterator[str]:
    for port in node.ports:
        problem = _problem_of_port(port, spec, parameters)
        if problem is not None:
            yield f"port {port.name!r} of node {node.name!r} reads {problem}"
    if node.kind == "map" and not (node.ports and node.ports[0].run_level):
        yield f"node {node.name!r} maps over no stream"


def _problem_of_port(port: PortSpec, spec: FlowSpec, parameters: set[str]) -> str | None:
    match port.input:
        case EdgeInput(producer, output, delay, window):
            if not 0 <= producer < len(spec.nodes) or min(output, delay, window) < 0:
                return "a node that is not there"
            if port.run_level and spec.nodes[producer].kind == "mono":
                return "a stream of a node that has none"
        case ConstantInput(constant):
            if not 0 <= constant < len(spec.constants):
                return "a constant that is not there"
        case ParameterInput(parameter):
            if parameter not in parameters:
                return "a parameter that is not there"
        case Unconnected():
            pass
    return None


def _problem_of_run(spec: FlowSpec, message: Submit, parameters: dict[str, Value]) -> str | None:
    for parameter in spec.parameters:
        if parameter.payload is not None:
            parameters.setdefault(parameter.name, parameter.payload)
    for node in spec.nodes:
        for port in node.ports:
            if isinstance(port.input, ParameterInput) and port.input.parameter not in parameters:
                return f"parameter {port.input.parameter!r} has no value"
    if not all(0 <= node < len(spec.nodes) for node in message.limits):
        return "a stop limit is for a node that is not there"
    if message.timeout_s is not None and not message.timeout_s >= 0:
        return f"a timeout of {message.timeout_s} s"
    return None


def _start(wire: WireStart, envelope: Envelope[object]) -> Start:
    return Start(
        None if wire.state is None else envelope.value(wire.state),
        None if wire.changes is None else envelope.value(wire.changes),
    )


def _joined(value: Value) -> bytes:
    if isinstance(value, bytes):
        return value
    assert not isinstance(value, Local)  # nothing local comes over a wire
    return b"".join(value)
