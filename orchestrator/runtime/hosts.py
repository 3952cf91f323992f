"""Brings each attempt to the host that its node is placed on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import structs

from executor.host import Broken, Host, Input, Invocation
from orchestrator.runtime.errors import NodeError
from orchestrator.spec import EdgeInput, FlowSpec, Placement
from protocol.messages import AttemptKey, RunId
from protocol.serialization import SerializationError
from protocol.values import Local, Value


class Router:
    """The one host a flow machine sees: ``hosts`` by the placement they serve.

    Values of inline nodes are objects by reference; ``dumps`` serializes one where it leaves for
    a worker, and also what ``make_context`` makes for an attempt there; ``context`` is for all of
    them. The verbs that carry values raise NodeError where that fails, which ends the run.
    """

    def __init__(
        self,
        spec: FlowSpec,
        hosts: Mapping[Placement, Host],
        dumps: Callable[[object], Value],
        make_context: Callable[[AttemptKey], object] | None = None,
        context: Value | None = None,
    ) -> None:
        self._hosts = hosts
        self._dumps = dumps
        self._context_for: Callable[[AttemptKey], Value] | None = None
        if make_context is not None:
            self._context_for = lambda key: self._encoded_context(make_context(key), key)
        elif context is not None:
            self._context_for = lambda _: context
        self._nodes = spec.nodes
        self._is_inline = [node.placement == "inline" for node in spec.nodes]
        self._by_node = [hosts[node.placement] for node in spec.nodes]

    def invoke(self, invocation: Invocation) -> None:
        if not self._is_inline[invocation.key.node]:
            invocation = self._portable(invocation)
            if self._context_for is not None:
                invocation = structs.replace(invocation, context=self._context_for(invocation.key))
        self._by_node[invocation.key.node].invoke(invocation)

    def deliver(self, key: AttemptKey, port: int, first: int, values: list[Value]) -> None:
        if not self._is_inline[key.node]:
            values = [self._encoded(value, key, port) for value in values]
        self._of(key).deliver(key, port, first, values)

    def end_stream(self, key: AttemptKey, port: int, count: int, broken: Broken | None = None) -> None:
        if broken is not None and isinstance(broken.cause, Local) and not self._is_inline[key.node]:
            broken = Broken(broken.failure, None)  # the sentence travels
        self._of(key).end_stream(key, port, count, broken)

    def produce(self, key: AttemptKey, upto: int) -> None:
        self._of(key).produce(key, upto)

    def throw_cancel(self, key: AttemptKey) -> None:
        self._of(key).throw_cancel(key)

    def cancel(self, key: AttemptKey) -> None:
        self._of(key).cancel(key)

    def recall(self, key: AttemptKey) -> None:
        self._of(key).recall(key)

    def release(self, run: RunId) -> None:
        for host in self._hosts.values():
            host.release(run)

    def _of(self, key: AttemptKey) -> Host:
        return self._by_node[key.node]

    def _portable(self, invocation: Invocation) -> Invocation:
        inputs: Sequence[Input] = invocation.inputs
        if not any(isinstance(given, Local) for given in inputs):
            return invocation
        encoded = [
            self._encoded(given, invocation.key, port) if isinstance(given, Local) else given
            for port, given in enumerate(inputs)
        ]
        return structs.replace(invocation, inputs=encoded)

    def _encoded(self, value: Value, reader: AttemptKey, port: int) -> Value:
        if not isinstance(value, Local):
            return value
        try:
            return self._dumps(value.object)
        except SerializationError as error:
            raise self._cannot_leave(error, reader, port) from error

    def _encoded_context(self, context: object, key: AttemptKey) -> Value:
        try:
            return self._dumps(context)
        except SerializationError as error:
            node = self._nodes[key.node]
            what = "what context_factory has made for it cannot go to the worker that runs it"
            raise NodeError(node.name, node.place, key.generation, what, str(error)) from error

    def _cannot_leave(self, error: SerializationError, reader: AttemptKey, port: int) -> NodeError:
        """Names the inline node whose value it is; constants and parameters were encoded before."""
        node = self._nodes[reader.node]
        source = node.ports[port].input
        producer = self._nodes[source.producer] if isinstance(source, EdgeInput) else node
        what = f"its value cannot go to node {node.name!r}, which runs in a worker"
        return NodeError(producer.name, producer.place, reader.generation, what, str(error))
