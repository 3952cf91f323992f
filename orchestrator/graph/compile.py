"""From a planned graph to a FlowSpec: code and constants encoded once, options spelled out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

from msgspec import structs

from executor.code import DIGEST_BYTES, BodyCode, digest_of
from executor.retry import RetryPolicy
from orchestrator.errors import NotSerializableError
from orchestrator.graph.capture import refuse_primitive, refuse_shared
from orchestrator.graph.finalized import (
    ConstantSource,
    DefaultSource,
    EdgeSource,
    Graph,
    GraphNode,
    ParameterSource,
    Source,
)
from orchestrator.graph.flow import Flow, graph_of
from orchestrator.graph.planning import Plan, plan_graph
from orchestrator.graph.template import NodeTemplate
from orchestrator.resolver.criticality import criticalities
from orchestrator.spec import (
    CodeSpec,
    ConstantInput,
    ConstantSpec,
    EdgeInput,
    FlowSpec,
    InputSpec,
    Locals,
    NodeSpec,
    ParameterInput,
    ParameterSpec,
    Payload,
    Placement,
    PortSpec,
    RetrySpec,
    Unconnected,
)
from protocol.messages import Digest
from protocol.values import Local, Value

EncodeCode: TypeAlias = Callable[[BodyCode], Value]
EncodeValue: TypeAlias = Callable[[object], Value]

NO_RETRY: Final = RetryPolicy()
"""For nodes that say nothing: a body's error counts, and the loss of a worker does not at once."""


def compile_flow(
    flow: Flow,
    *,
    workers: int,
    encode_code: EncodeCode,
    encode_value: EncodeValue,
    retry: RetryPolicy = NO_RETRY,
) -> tuple[FlowSpec, Locals]:
    """Plan a flow; returns it as plain data, and the objects that stay here.

    With no workers, nodes that are placed on processes are inline; those in the thread stay there, as
    their bodies may need asyncio. What only inline nodes use is not encoded: its payload is None and
    the object is in the ``Locals``, so it need not be picklable; neither need the code of nodes in the
    thread (a :class:`~executor.code.BodyCode` there). A parameter's default is encoded if any of its
    readers is not inline.

    Raises:
        FlowDefinitionError: nodes are connected wrongly.
        MissingDefaultError: a cycle has no node that could begin it on its defaults.
        NotSerializableError: a constant, a default or a node's code that a worker needs does not
            pickle; the error names the node and the port.
    """
    graph = graph_of(flow)
    compiler = _Compiler(graph, plan_graph(graph), workers, encode_code, encode_value, retry)
    nodes = tuple(compiler.node(node) for node in graph.nodes)
    parameters = tuple(compiler.parameters())
    spec = FlowSpec(nodes, tuple(compiler.codes), tuple(compiler.constants), parameters)
    return spec, compiler.locals


class _Compiler:
    def __init__(
        self,
        graph: Graph,
        plan: Plan,
        workers: int,
        encode_code: EncodeCode,
        encode_value: EncodeValue,
        retry: RetryPolicy,
    ) -> None:
        self.locals = Locals()
        self.codes: list[CodeSpec] = []
        self.constants: list[ConstantSpec] = []
        self._graph = graph
        self._plan = plan
        self._criticality = criticalities(len(graph.nodes), plan.undelayed_edges(graph))
        self._workers = workers
        self._encode_code = encode_code
        self._encode_value = encode_value
        self._retry = retry
        self._specs: dict[NodeTemplate[..., Any], NodeSpec] = {}
        self._encoded: set[Digest] = set()  # templates of equal code share it
        # By identity: equal objects may differ, as 1 and True do. The graph keeps them all alive.
        self._constant_numbers: dict[tuple[int, Placement], int] = {}
        # By parameter, the first reader of its value that runs in a worker.
        self._remote_readers: dict[str, tuple[GraphNode, int]] = {}

    def node(self, node: GraphNode) -> NodeSpec:
        ports = [
            PortSpec(port.name, port.run_level, self._input(node, index, source))
            for index, (port, source) in enumerate(zip(node.ports, node.inputs, strict=True))
        ]
        of_template = self._specs.get(node.template)
        if of_template is None:
            of_template = self._specs[node.template] = self._spec_of_template(node)
        return structs.replace(
            of_template,
            name=node.name,
            kind=node.kind,
            ports=tuple(ports),
            place=node.place,
            needed_outputs=node.needed_outputs,
            criticality=self._criticality[node.number],
            hidden=node.hidden,
            ahead=self._ahead(node),
        )

    def _spec_of_template(self, node: GraphNode) -> NodeSpec:
        """What all nodes of a template have in common; ``node`` is the first."""
        template = node.template
        options = template.options
        return NodeSpec(
            name=template.name,
            kind=node.kind,
            code=self._code(node),
            ports=(),
            placement=self._placement(node),
            place=template.place,
            multiple_outputs=options.multiple_outputs,
            drain=options.drain,
            on_skip=options.on_skip,
            keep=options.keep,
            timeout_s=options.timeout_s,
            memory_hard_bytes=options.memory_hard_bytes,
            retry=_retry_spec(options.retry or self._retry),
            priority=options.priority,
            demand=options.demand,
            pinned=template.blueprint.is_class,
            checkpointed=template.blueprint.is_class and options.state != "resident",
        )

    def parameters(self) -> Iterator[ParameterSpec]:
        """The parameters, once all nodes have been compiled."""
        for name, given in self._graph.parameters.items():
            payload = None
            reader = self._remote_readers.get(name)
            if not given.is_required:
                if reader is None:
                    self.locals.parameters[name] = given.default
                else:
                    subject = f"the default of parameter {name!r} ({given.place}), {_port(*reader)}"
                    payload = self._encode(given.default, subject)
            yield ParameterSpec(name, given.is_required, payload)

    def _placement(self, node: GraphNode) -> Placement:
        placement = node.template.options.placement
        return "inline" if placement == "process" and not self._workers else placement

    def _ahead(self, node: GraphNode) -> int:
        if node.kind != "map":
            return 0
        return node.ahead or max(1, 2 * self._workers)

    # -- inputs -------------------------------------------------------------------------------------

    def _input(self, node: GraphNode, index: int, source: Source) -> InputSpec:
        match source:
            case EdgeSource():
                producer = source.producer
                delay = self._plan.delay(node.number, index)
                reads_stream = node.ports[index].run_level == 1
                window = self._window(self._graph.nodes[producer], node) if reads_stream else 0
                return EdgeInput(producer, source.output, delay, window)
            case ConstantSource():
                return ConstantInput(self._constant(node, index, source.value))
            case ParameterSource():
                if self._placement(node) != "inline":
                    self._remote_readers.setdefault(source.name, (node, index))
                return ParameterInput(source.name)
            case DefaultSource():
                return Unconnected()

    def _window(self, producer: GraphNode, consumer: GraphNode) -> int:
        window = producer.template.options.window
        if window is not None:
            return window
        return 0 if self._placement(producer) == self._placement(consumer) == "inline" else 1

    def _constant(self, node: GraphNode, index: int, value: object) -> int:
        placement = self._placement(node)
        number = self._constant_numbers.get((id(value), placement))
        if number is not None:
            return number
        number = len(self.constants)
        payload = None
        if placement == "inline":
            self.locals.constants[number] = value
        else:
            payload = self._encode(value, f"the constant {_port(node, index)}")
        self.constants.append(ConstantSpec(node.number, index, payload))
        self._constant_numbers[id(value), placement] = number
        return number

    def _encode(self, value: object, subject: str) -> Payload:
        refuse_primitive(value, subject)
        try:
            return _payload(self._encode_value(value))
        except Exception as error:
            raise NotSerializableError(subject, str(error)) from error

    # -- code ---------------------------------------------------------------------------------------

    def _code(self, node: GraphNode) -> Digest:
        template = node.template
        options = template.options
        code = BodyCode(
            template.__wrapped__,
            options.stream_in,
            options.multiple_outputs,
            options.accumulate,
            (options.retry or self._retry).retry_on,
        )
        if self._placement(node) != "process":
            digest = _made_up_digest()
            self.codes.append(CodeSpec(digest, None))
            self.locals.codes[digest] = code
            return digest
        refuse_shared(template.__wrapped__, node.label)
        try:
            payload = _payload(self._encode_code(code))
        except Exception as error:
            subject = f"the code of {template.name} ({template.place}), used by node {node.label}"
            raise NotSerializableError(subject, str(error)) from error
        digest = digest_of(payload)
        if digest not in self._encoded:
            self._encoded.add(digest)
            self.codes.append(CodeSpec(digest, payload))
        return digest


def _retry_spec(policy: RetryPolicy) -> RetrySpec:
    return RetrySpec(
        policy.attempts, policy.delay_s, policy.backoff, policy.jitter, policy.worker_loss_attempts
    )


def _port(node: GraphNode, index: int) -> str:
    return f"for parameter {node.ports[index].name!r} of node {node.label}"


def _payload(value: Value) -> Payload:
    if isinstance(value, bytes):
        return value
    if isinstance(value, Local):
        raise TypeError("an encoder kept the object instead of serializing it")
    return tuple(bytes(frame) for frame in value)


_made_up: Final = itertools.count(1)


def _made_up_digest() -> Digest:
    """A digest for code that is not encoded, used for nothing else in this process."""
    return Digest(next(_made_up).to_bytes(DIGEST_BYTES, "big"))
