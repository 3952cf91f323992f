"""A client's side: submit flows to a coordinator in another process, and follow them.

Theory of operation. A client has one connection and no thread: whatever waits (for an answer, for the
end of a flow) reads what the coordinator says and gives it to the handle that it is about. The
coordinator's process is watched by its pidfd, so its end is noticed at once and nothing waits for ever.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from operator import index
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

from executor.code import encode_code
from executor.limits import check_timeout
from executor.scheduling import Shortage
from executor.surroundings import ContextFactory, NodeInfo
from orchestrator.errors import NotEnoughResources
from orchestrator.graph.compile import compile_flow
from orchestrator.graph.flow import Flow, StopAt, states_of
from orchestrator.graph.limits import stop_limits
from orchestrator.instruments import current_instrument
from orchestrator.keeping import in_use
from orchestrator.node_state import NodeState
from orchestrator.report import RunReport
from orchestrator.running import check_inputs, parameter_values
from orchestrator.service.errors import (
    ContextFactoryNotSent,
    CoordinatorLost,
    InstrumentNotSupported,
    NotOnWorkers,
    RequestRejected,
)
from orchestrator.service.handle import FlowHandle, OfFlow, Submitted
from orchestrator.service.link import ServiceLink
from orchestrator.service.submission import encode_spec
from orchestrator.spec import FlowSpec
from protocol.client_messages import (
    Accepted,
    Answer,
    AskStatus,
    AskWaits,
    CancelRun,
    Confirmed,
    Dismissed,
    DrainService,
    FollowRun,
    Oversized,
    Rejected,
    Status,
    StopService,
    Submit,
    ToClient,
    Waits,
)
from protocol.framing import Envelope
from protocol.importing import Elsewhere, for_workers
from protocol.messages import RunId, WireStart
from protocol.serialization import SerializationError, dumps, renew
from protocol.values import Local, Value

_Envelope: TypeAlias = Envelope[ToClient]
_Question: TypeAlias = Submit | FollowRun | CancelRun | AskStatus | AskWaits | DrainService | StopService
_Answer = TypeVar("_Answer", bound=Answer)


def connect(endpoint: str) -> CoordinatorClient:
    """Connect to a coordinator that was started with ``orchestrator coordinator --listen``.

    Raises:
        NobodyListens: no coordinator is there.
        VersionMismatch: it is of another version or runs another Python.
        InsecureTransport: the endpoint is not an ``ipc://`` one.
        EndpointError: it cannot be an endpoint, or is another user's.
    """
    return CoordinatorClient(endpoint)


class CoordinatorClient:
    """A connection to a coordinator. Use it in a ``with`` block, in one thread.

    When it is closed, flows of its own that have not ended are cancelled, but for detached ones.
    """

    def __init__(self, endpoint: str) -> None:
        self._requests = itertools.count(1)
        self._answers: dict[int, Any] = {}
        self._handles: dict[RunId, FlowHandle] = {}
        # What was said of a flow before its number was known here.
        self._early: dict[RunId, list[tuple[Any, _Envelope]]] = {}
        self._link = ServiceLink(endpoint, self._hear)
        self.endpoint, self.pid = self._link.endpoint, self._link.pid
        self.workers = self._link.welcome.workers
        """How many the coordinator had when we connected."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect. Repeating changes nothing."""
        self._link.lost("can be asked no more: this client was closed")
        self._link.close()
        for handle in self._handles.values():
            handle.let_go()

    # -- flows -------------------------------------------------------------------------------------

    def run(
        self,
        flow: Flow,
        *,
        stop_at_node_generation: StopAt = (),
        terminate_on_node_error: bool = True,
        timeout_s: float | None = None,
        parameters: Mapping[str, object] | None = None,
        context_factory: Callable[[NodeInfo], object] | None = None,
        label: str = "",
    ) -> RunReport:
        """Run a flow on the coordinator's workers, like :meth:`Flow.run`; results are read as there.

        ``context_factory`` is called in the workers, so it must pickle, and what it makes need not.
        Whatever ends the waiting, Ctrl-C included, cancels the flow.

        Raises:
            Exception: as :meth:`Flow.run` does, and as :meth:`submit` does.
        """
        return self.submit(
            flow,
            stop_at_node_generation=stop_at_node_generation,
            terminate_on_node_error=terminate_on_node_error,
            timeout_s=timeout_s,
            parameters=parameters,
            context_factory=context_factory,
            label=label,
        ).finish()

    def submit(
        self,
        flow: Flow,
        *,
        stop_at_node_generation: StopAt = (),
        terminate_on_node_error: bool = True,
        timeout_s: float | None = None,
        parameters: Mapping[str, object] | None = None,
        context_factory: Callable[[NodeInfo], object] | None = None,
        label: str = "",
        detach: bool = False,
    ) -> FlowHandle:
        """Begin a flow and return at once. ``detach``: it goes on when this client is gone.

        Raises:
            InvalidFlowError: the flow cannot be run as it is written, or not on workers only.
            InstrumentNotSupported: an instrument is installed here, and would hear nothing.
            NotEnoughResources: it asks for more than the coordinator's workers have.
            RequestRejected: the coordinator drains.
            CoordinatorLost: it has ended.
        """
        if not isinstance(flow, Flow):
            raise TypeError(f"a coordinator runs a Flow, not {flow!r}")
        check_timeout(timeout_s)
        check_inputs(parameters, context_factory)
        if not isinstance(label, str):
            raise TypeError(f"label must be a string, not {label!r}")
        instrument = current_instrument()
        if instrument is not None:
            raise InstrumentNotSupported(type(instrument).__qualname__, self.endpoint)
        limits = stop_limits(flow, stop_at_node_generation)
        states = states_of(flow)
        with self._for_its_workers(), ExitStack() as running:
            spec, values = self._compiled(flow, dict(parameters or {}))
            context = None if context_factory is None else _encoded_factory(context_factory)
            running.enter_context(in_use(states, spec))
            attach = self._link.session.attach
            message = Submit(
                next(self._requests),
                label or type(flow).__name__,
                attach(encode_spec(spec)),
                # What no node reads has stayed here.
                {name: attach(value) for name, value in values.items() if not isinstance(value, Local)},
                limits.nodes,
                limits.constants,
                timeout_s,
                bool(terminate_on_node_error),
                {number: self._wire_start(state) for number, state in states.items()},
                None if context is None else attach(context),
                bool(detach),
            )
            run = self._ask(message, Accepted).run
            return self._begin_handle(run, message.label, Submitted(flow, spec, running.pop_all()))

    def handle(self, run: int) -> FlowHandle:
        """Follow a flow by its number: one that runs, whoever submitted it, or has ended lately.

        Its end, output and progress are told here too; the results of its nodes only to the client that
        submitted it. Closing this client does not cancel it.

        Raises:
            RequestRejected: there is no such flow, or how it ended is not known any more.
            CoordinatorLost: the coordinator has ended.
        """
        number = RunId(index(run))
        known = self._handles.get(number)
        if known is not None:
            return known
        question = FollowRun(next(self._requests), number)
        return self._begin_handle(number, self._ask(question, Accepted).label)

    def _begin_handle(self, run: RunId, label: str, submitted: Submitted | None = None) -> FlowHandle:
        handle = self._handles[run] = FlowHandle(self, run, label, submitted)
        for early, envelope in self._early.pop(run, ()):
            self._hear(early, envelope)
        return handle

    def _for_its_workers(self) -> AbstractContextManager[None]:
        """Inside, code and values are encoded for the coordinator's workers."""
        welcome = self._link.welcome
        return for_workers(Elsewhere(welcome.prefix, tuple(welcome.sys_path)))

    def _compiled(self, flow: Flow, parameters: dict[str, object]) -> tuple[FlowSpec, dict[str, Value]]:
        renew()  # classes that travel whole go as they are now
        spec, local = compile_flow(
            flow,
            workers=max(1, self.workers),
            encode_code=encode_code,
            encode_value=dumps,
        )
        _require_workers_only(spec)
        return spec, parameter_values(spec, local, parameters)

    def _wire_start(self, state: NodeState) -> WireStart:
        start, _ = state.begin()
        attach = self._link.session.attach
        if start is None:
            return WireStart(None, None)
        return WireStart(
            None if start.state is None else attach(start.state),
            None if start.changes is None else attach(start.changes),
        )

    # -- the service -------------------------------------------------------------------------------

    def status(self) -> Status:
        """What the coordinator's workers and flows do."""
        return self._ask(AskStatus(next(self._requests)), Status)

    def waits(self, flow: int | str, node: str) -> Waits:
        """What a node of a running flow, named by its number or label, waits for.

        Raises:
            RequestRejected: there is no such flow or node.
        """
        return self._ask(AskWaits(next(self._requests), str(flow), str(node)), Waits)

    def cancel(self, run: int) -> None:
        """Give a flow up, whoever submitted it.

        Raises:
            RequestRejected: no such flow is running.
        """
        self._ask(CancelRun(next(self._requests), RunId(index(run))), Confirmed)

    def drain(self) -> None:
        """Let the coordinator take no more flows and end with the last one."""
        self._ask(DrainService(next(self._requests)), Confirmed)

    def stop(self) -> None:
        """Let the coordinator cancel all flows and end."""
        self._ask(StopService(next(self._requests)), Confirmed)

    def wait_ended(self) -> None:
        """Wait until the coordinator's process has ended."""
        with suppress(CoordinatorLost):
            while True:
                self.pump()

    # -- the connection ----------------------------------------------------------------------------

    def pump(self, timeout_s: float | None = None) -> None:
        """Wait until the coordinator says something, and take it; or until the time is up.

        Raises:
            CoordinatorLost: it has ended.
        """
        self._link.pump(timeout_s)

    def _hear(self, message: ToClient, envelope: _Envelope) -> None:
        if isinstance(message, OfFlow):
            handle = self._handles.get(message.run)
            if handle is not None:
                handle.hear(message, envelope)
                if handle.is_over:
                    del self._handles[message.run]
            else:
                self._early.setdefault(message.run, []).append((message, envelope))
        elif isinstance(message, Answer):
            self._answers[message.request] = message
        elif isinstance(message, Dismissed):
            raise self._link.lost(f"has ended the connection: {message.reason}")

    def _ask(self, question: _Question, answer: type[_Answer]) -> _Answer:
        request = question.request
        self._link.session.add(question)
        self._link.wait_until(lambda: request in self._answers)
        given = self._answers.pop(request)
        if isinstance(given, Rejected):
            raise RequestRejected(given.reason)
        if isinstance(given, Oversized):
            lacks = tuple(Shortage(lack.name, lack.asked, lack.has) for lack in given.shortages)
            raise NotEnoughResources(given.node, given.place, lacks)
        if not isinstance(given, answer):
            raise self._link.lost(f"answered with {type(given).__name__}")
        return given


def _encoded_factory(factory: Callable[[NodeInfo], object]) -> Value:
    try:
        return dumps(ContextFactory(factory))
    except SerializationError as error:
        raise ContextFactoryNotSent(str(error)) from error


def _require_workers_only(spec: FlowSpec) -> None:
    elsewhere = tuple(
        (node.name, f"placement={node.placement!r}", node.place)
        for node in spec.nodes
        if node.placement != "process"
    )
    if elsewhere:
        raise NotOnWorkers(elsewhere)
