"""One flow on a coordinator elsewhere, as a client holds it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from executor.output import Print, pass_on
from executor.output import Printed as Output
from orchestrator.graph.flow import Flow, publish, states_of
from orchestrator.report import RunReport
from orchestrator.runtime.outcome import Interrupted, LimitReached
from orchestrator.runtime.raising import exception_for
from orchestrator.runtime.results import Emission, Newest, RunResults
from orchestrator.service.errors import (
    CoordinatorFailed,
    CoordinatorLost,
    FlowCancelled,
    RequestRejected,
)
from orchestrator.service.outcomes import AnyOutcome, Crashed, decode_outcome
from orchestrator.spec import FlowSpec
from protocol.client_messages import (
    Finished,
    NodeProgress,
    Printed,
    Progress,
    Result,
    StateKept,
    ToClient,
)
from protocol.framing import Envelope
from protocol.messages import RunId

if TYPE_CHECKING:
    from orchestrator.service.client import CoordinatorClient

_AT_ONCE_S: Final = 0.2  # nobody need be told what a cancelled flow waits for if it ends so soon

OfFlow: TypeAlias = Progress | Printed | Result | StateKept | Finished
"""What a coordinator says about one flow."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """What stays with who has submitted a flow. ``running`` lets go of its nodes' states when closed."""

    flow: Flow
    spec: FlowSpec
    running: ExitStack


class FlowHandle:
    """A flow that was submitted, here or by another client.

    ``progress`` holds its nodes by number, as last told; of a flow that had ended before it is empty.
    ``on_progress`` is called after each change of it, ``on_output`` with what a body printed (by default
    it is printed here too), ``on_cancel`` when ``finish`` gives the flow up; all only while something
    waits. ``on_cancel`` is not called where the flow then ends at once.
    """

    def __init__(
        self,
        client: CoordinatorClient,
        run: RunId,
        label: str,
        submitted: Submitted | None,
    ) -> None:
        """``submitted`` is None where another client has done that. For the client."""
        self.run = run
        self.label = label
        self.progress: dict[int, NodeProgress] = {}
        self.on_progress: Callable[[], None] | None = None
        self.on_output: Print = pass_on
        self.on_cancel: Callable[[], None] | None = None
        self._client = client
        self._submitted = submitted
        self._newest = Newest()
        self._outcome: AnyOutcome | None = None
        self._report: RunReport | None = None

    @property
    def is_over(self) -> bool:
        """Whether its end has been heard of."""
        return self._outcome is not None

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the flow has ended, however; False if the time was up first.

        Raises:
            CoordinatorLost: the coordinator has ended.
        """
        deadline = None if timeout_s is None else monotonic() + timeout_s
        while not self.is_over:
            remaining = None if deadline is None else deadline - monotonic()
            if remaining is not None and remaining <= 0:
                return False
            try:
                self._client.pump(remaining)
            except CoordinatorLost:
                self.let_go()
                raise
        return True

    def result(self, timeout_s: float | None = None) -> RunReport:
        """The flow's report once it has ended; its nodes' ``get_data`` then read its results.

        The results come only to the client that has submitted the flow.

        Raises:
            Exception: whatever a node raised, with the worker's traceback chained to it.
            FlowCancelled: it was given up.
            TimeoutError: it has not ended within ``timeout_s``, and goes on.
            CoordinatorLost: the coordinator has ended.
        """
        if not self.wait(timeout_s):
            raise TimeoutError(f"run {self.run} ({self.label}) has not ended within {timeout_s} s")
        outcome = self._outcome
        assert outcome is not None
        if isinstance(outcome, Interrupted):
            raise FlowCancelled(self.run, self.label)
        if isinstance(outcome, Crashed):
            raise CoordinatorFailed(self.run, self.label, outcome.detail)
        error = None if isinstance(outcome, LimitReached) else exception_for(outcome)
        if error is not None:
            raise error
        assert self._report is not None
        return self._report

    def finish(self) -> RunReport:
        """Like :meth:`result`, but whatever ends the waiting, Ctrl-C included, cancels the flow."""
        try:
            return self.result()
        except BaseException:
            if not self.is_over:
                with suppress(CoordinatorLost):
                    self.cancel()
                    if self.on_cancel is not None and not self.wait(_AT_ONCE_S):
                        self.on_cancel()
                    self.wait()
            raise

    def cancel(self) -> None:
        """Give the flow up; ``wait`` then returns when it has stopped. Nothing if it had ended."""
        if not self.is_over:
            with suppress(RequestRejected):  # it has ended meanwhile
                self._client.cancel(self.run)

    def let_go(self) -> None:
        """Let the flow be run again; for the client. Repeating changes nothing."""
        if self._submitted is not None:
            self._submitted.running.close()

    def hear(self, message: OfFlow, envelope: Envelope[ToClient]) -> None:
        """Take what the coordinator says about this flow; for the client."""
        match message:
            case Progress(_, nodes):
                self.progress.update(nodes)
                if self.on_progress is not None:
                    self.on_progress()
            case Printed(_, descriptor, data, key, node):
                self.on_output(Output(0, key, is_error=descriptor == 2, data=data, node=node))
            case Result(_, node, run_level, generation, outputs, released_bytes):
                values = None if outputs is None else tuple(map(envelope.value, outputs))
                emissions = self._newest.chunks if run_level else self._newest.finals
                emissions[node] = Emission(generation, values, released_bytes)
            case StateKept(_, node, state):
                assert self._submitted is not None, "sent only to who has submitted the flow"
                states_of(self._submitted.flow)[node].commit(envelope.value(state))
            case Finished(_, outcome, report, causes):
                if report:
                    self._report = msgspec.msgpack.decode(report, type=RunReport)
                self._outcome = decode_outcome(outcome, list(map(envelope.value, causes)))
                self.let_go()
                if self._submitted is not None:
                    publish(self._submitted.flow, RunResults(self._submitted.spec, self._newest))
