"""The flows that a service runs: begun, followed, given up, and remembered for a while.

Each is a :class:`~orchestrator.coordinator.Coordinator` of its own, in a task of its own, on the one
pool. What is wrong with one ends that one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

import msgspec

from executor.host import Demand
from executor.output import Printed as Output
from executor.pool import Pool
from executor.scheduling import amount_text, shortages
from executor.showing import DroppingPrint
from orchestrator.coordinator import Coordinator
from orchestrator.event_loop import TaskCancelled, TaskHandle, current_event_loop, sleep
from orchestrator.progress import progress_of
from orchestrator.pump import Pump
from orchestrator.resources import check_resources
from orchestrator.running import report_of
from orchestrator.runtime.job import Job
from orchestrator.runtime.machine import FlowMachine
from orchestrator.runtime.outcome import Done, Failed, Interrupted, LimitReached, NodeFailed
from orchestrator.runtime.raising import exception_for
from orchestrator.runtime.results import Emission
from orchestrator.service.audience import Audience, End
from orchestrator.service.ended import EndedFlows
from orchestrator.service.outcomes import AnyOutcome, Crashed, encode_outcome
from orchestrator.service.session import Client
from orchestrator.service.submission import read_submission
from orchestrator.spill import DiskSpill
from protocol.client_messages import (
    Accepted,
    AskWaits,
    FollowRun,
    FromClient,
    NodeProgress,
    Rejected,
    Result,
    RunStatus,
    StateKept,
    Submit,
    Waits,
)
from protocol.framing import Envelope
from protocol.messages import RunId

log = logging.getLogger(__name__)

PROGRESS_S: Final = 0.2
_PROGRESS_SHARE: Final = 20  # one part in so many of the time, at most


@dataclass(eq=False, slots=True)
class Running:
    """A flow that has not ended. ``client`` is who has submitted it, ``audience`` who follows it.

    ``wants`` says what its nodes wait for that the pool does not have.
    """

    job: Job
    spill: DiskSpill
    coordinator: Coordinator
    label: str
    client: Client
    detached: bool
    started: float
    audience: Audience
    is_cancelling: bool = False
    has_changed: bool = True
    wants: list[str] = field(default_factory=list)
    task: TaskHandle[None] | None = None


class Flows:
    """All flows of a service."""

    def __init__(self) -> None:
        self._pool: Pool
        self._pump: Pump
        self._running: dict[RunId, Running] = {}
        self._ended = EndedFlows()
        # No flow may wait for whoever reads what this process prints.
        self._print = DroppingPrint()

    def attach(self, pool: Pool, pump: Pump) -> None:
        """Where they are to run; to be called before anything else."""
        self._pool = pool
        self._pump = pump

    @property
    def count(self) -> int:
        """How many have not ended."""
        return len(self._running)

    # -- beginning and ending ----------------------------------------------------------------------

    def submit(self, client: Client, message: Submit, envelope: Envelope[FromClient]) -> None:
        """Begin a flow.

        Raises:
            BadSubmission: it does not decode or fit together.
            NotEnoughResources: it asks for more than the pool has.
        """
        # The run's number is not known before there is a job.
        place: list[Running] = []
        spill = DiskSpill()
        job = read_submission(message, envelope, spill, lambda _: _note_change(place))
        check_resources(job.spec, self._pool.totals)
        coordinator = Coordinator(job, self._pump)
        number, label = coordinator.number, message.label
        audience = Audience(number)
        flow = Running(job, spill, coordinator, label, client, message.detached, monotonic(), audience)
        place.append(flow)
        self._running[number] = flow
        client.write(Accepted(message.request, number, label))
        audience.admit(client)
        log.info("run %d (%s) of process %d begins", number, label, client.pid)
        flow.task = current_event_loop().create_task(self._run(flow))
        current_event_loop().create_task(self._tell_progress(flow))

    def cancel(self, run: RunId) -> str | None:
        """Give a flow up; why that cannot be done, if it cannot."""
        flow = self._running.get(run)
        if flow is None:
            ended = self._ended.status_of(run)
            return f"there is no run {run}" if ended is None else f"run {run} has ended: {ended.state}"
        self._give_up(flow)
        return None

    def cancel_all(self) -> None:
        for flow in self._running.values():
            self._give_up(flow)

    def client_gone(self, client: Client) -> None:
        """Give up what a client has left, but for what it detached."""
        for flow in self._running.values():
            flow.audience.dismiss(client)
            if flow.client is client and not flow.detached:
                log.info("run %d (%s) lost its client", flow.coordinator.number, flow.label)
                self._give_up(flow)

    def _give_up(self, flow: Running) -> None:
        # Twice would disturb the flow while it unwinds.
        if not flow.is_cancelling and flow.task is not None:
            flow.is_cancelling = True
            flow.task.cancel()

    async def _run(self, flow: Running) -> None:
        outcome = await self._outcome_of(flow)
        number = flow.coordinator.number
        del self._running[number]
        try:
            self._end(flow, outcome)
        except Exception as error:
            # A defect of ours must not leave the client waiting.
            log.exception("the end of run %d (%s) cannot be told", number, flow.label)
            encoded, _ = encode_outcome(Crashed(f"{type(error).__name__}: {error}"))
            flow.audience.tell_end(End(encoded, b"", ()))
        finally:
            flow.spill.close()

    async def _outcome_of(self, flow: Running) -> AnyOutcome:
        """Run it to the end, whatever that is."""
        try:
            outcome = (await flow.coordinator.run()).outcome
        except TaskCancelled:
            return Interrupted()
        except Exception as error:
            log.exception("run %d (%s) could not go on", flow.coordinator.number, flow.label)
            return Crashed(f"{type(error).__name__}: {error}")
        assert outcome is not None, "a run that ended has an outcome"
        if self._pool.failure is not None and not isinstance(outcome, Done):
            return Crashed(str(self._pool.failure))
        return outcome

    def _end(self, flow: Running, outcome: AnyOutcome) -> None:
        number, machine = flow.coordinator.number, flow.coordinator.machine
        status = self._status(number, flow, _ended_state(outcome), _first_line(outcome))
        encoded, causes = encode_outcome(outcome)
        report = report_of(machine, self._pool.workers, status.seconds)
        end = End(encoded, msgspec.msgpack.encode(report), causes)
        self._ended.add(status, end)
        log.info("run %d (%s) is over: %s", number, flow.label, status.state)
        flow.audience.tell_progress(dict(progress_of(machine)), is_last=True)
        if not flow.client.is_gone:
            _send_results(flow.client, number, machine)
            _send_states(flow.client, number, flow.job)
        flow.audience.tell_end(end)

    def show(self, output: Output) -> None:
        """Pass on what was printed to who follows that flow; if nobody does, to where ours goes."""
        flow = None if output.key is None else self._running.get(output.key.run)
        if flow is not None and flow.audience:
            flow.audience.tell_output(output)
        else:
            self._print(output)

    # -- looking -----------------------------------------------------------------------------------

    def follow(self, client: Client, question: FollowRun) -> None:
        """Tell a client what happens to a flow, or how it has ended."""
        run, flow = question.run, self._running.get(question.run)
        if flow is not None:
            client.write(Accepted(question.request, run, flow.label))
            flow.audience.admit(client)
            flow.has_changed = True  # for this client all is new
            return
        status, end = self._ended.status_of(run), self._ended.end_of(run)
        if status is None:
            client.write(Rejected(question.request, f"there is no run {run}"))
        elif end is None:
            problem = f"run {run} has ended: {status.state}; more than that is not known any more"
            client.write(Rejected(question.request, problem))
        else:
            client.write(Accepted(question.request, run, status.label))
            end.tell(client, run)

    def statuses(self) -> list[RunStatus]:
        """Those that have ended, oldest first, then those that run."""
        going = [
            self._status(
                number, flow, "cancelling" if flow.is_cancelling else "running", "; ".join(flow.wants)
            )
            for number, flow in self._running.items()
        ]
        return [*self._ended.statuses(), *going]

    def explain(self, question: AskWaits) -> Waits | Rejected:
        """What a node of a running flow waits for."""
        found = self._find(question.flow)
        if isinstance(found, str):
            return Rejected(question.request, found)
        machine = found.coordinator.machine
        nodes = [node for node in machine.nodes if node.name == question.node]
        if not nodes:
            known = ", ".join(node.name for node in machine.nodes if not node.spec.hidden)
            problem = f"{found.label} has no node {question.node!r}; it has {known}"
            return Rejected(question.request, problem)
        waits = [wait.describe() for wait in machine.waits_of(nodes[0])]
        node = dict(progress_of(machine))[nodes[0].index]
        waits += self._lacks({nodes[0].index: node}, machine) or self._claimed(
            node, nodes[0].spec.demand
        )
        return Waits(question.request, found.coordinator.number, node, waits)

    def _lacks(self, nodes: Mapping[int, NodeProgress], machine: FlowMachine) -> list[str]:
        """What nodes need of the pool that agents have not brought, or have taken away."""
        queued = [index for index, node in nodes.items() if node.queued]
        if queued and not self._pool.workers:
            return ["no workers are there; 'orchestrator worker ENDPOINT' brings some"]
        demands = [(nodes[index].name, machine.nodes[index].spec.demand) for index in queued]
        totals = self._pool.totals
        return [f"{name!r} {lack}" for name, demand in demands for lack in shortages(demand, totals)]

    def _claimed(self, node: NodeProgress, demand: Demand) -> list[str]:
        """What a node needs that others have claimed, for now."""
        free, totals = self._pool.free, self._pool.totals
        return [
            f"{node.name!r} waits for {name}={amount_text(name, asked)}: "
            f"{amount_text(name, free[name])} of {amount_text(name, totals[name])} is free"
            for name, asked in demand
            if node.queued and asked > free[name]
        ]

    def _find(self, flow: str) -> Running | str:
        """A running flow by number or label, the newest of several; or what is wrong."""
        for number, each in reversed(self._running.items()):
            if flow in (str(number), each.label):
                return each
        ended = self._ended.status_of(RunId(int(flow))) if flow.isdecimal() else None
        if ended is not None:
            return f"run {flow} has ended: {ended.state}"
        names = ", ".join(f"{number} ({each.label})" for number, each in self._running.items())
        return f"no flow called {flow} is running; running: {names or 'none'}"

    def _status(self, number: RunId, flow: Running, state: str, detail: str) -> RunStatus:
        nodes = dict(progress_of(flow.coordinator.machine))
        return RunStatus(
            number,
            flow.label,
            state,
            flow.client.pid,
            flow.detached,
            monotonic() - flow.started,
            sum(node.state == "done" for node in nodes.values()),
            len(nodes),
            sum(node.running for node in nodes.values()) if number in self._running else 0,
            sum(node.queued for node in nodes.values()) if number in self._running else 0,
            detail,
        )

    async def _tell_progress(self, flow: Running) -> None:
        """Tell who follows it now and then which nodes have changed."""
        number, machine = flow.coordinator.number, flow.coordinator.machine
        there: tuple[int, dict[str, float]] | None = None
        while number in self._running:
            began = monotonic()
            before, there = there, (self._pool.workers, dict(self._pool.totals))
            if flow.has_changed or there != before:
                nodes = dict(progress_of(machine))
                flow.has_changed = not flow.audience.tell_progress(nodes)
                self._note_wants(flow, self._lacks(nodes, machine))
            # Where there are very many nodes, looking at them must not take the coordinator's time.
            await sleep(max(PROGRESS_S, _PROGRESS_SHARE * (monotonic() - began)))

    def _note_wants(self, flow: Running, wants: list[str]) -> None:
        """Say what a flow has begun to wait for, so that nobody takes it for slow."""
        for want in wants:
            if want not in flow.wants:
                note = f"run {flow.coordinator.number} waits: {want}\n"
                log.info("%s", note.rstrip())
                flow.audience.tell_output(Output(0, None, is_error=True, data=note.encode()))
        flow.wants = wants


def _note_change(place: list[Running]) -> None:
    for flow in place:
        flow.has_changed = True


def _send_results(client: Client, run: RunId, machine: FlowMachine) -> None:
    levels = (machine.newest.finals, machine.newest.chunks)
    for run_level, emissions in enumerate(levels):
        for node, emission in emissions.items():
            client.write(_result(client, run, node, run_level, emission))


def _send_states(client: Client, run: RunId, job: Job) -> None:
    for node, state in job.states.items():
        if state.committed is not None:
            client.write(StateKept(run, node, client.session.attach(state.committed)))


def _result(client: Client, run: RunId, node: int, run_level: int, emission: Emission) -> Result:
    outputs = emission.outputs
    attached = None if outputs is None else list(map(client.session.attach, outputs))
    return Result(run, node, run_level, emission.generation, attached, emission.released_bytes)


def _ended_state(outcome: AnyOutcome) -> str:
    if isinstance(outcome, Done | LimitReached):
        return "done"
    return "cancelled" if isinstance(outcome, Interrupted) else "failed"


def _first_line(outcome: AnyOutcome) -> str:
    """What went wrong; the exception of a node stays unopened (no user code runs here)."""
    if isinstance(outcome, Done | LimitReached | Interrupted):
        return ""
    if isinstance(outcome, Crashed):
        return outcome.detail
    if isinstance(outcome, Failed):
        return _first_line(outcome.failures[0])
    if isinstance(outcome, NodeFailed):
        text = f"node {outcome.node!r}: {outcome.error.type_name}: {outcome.error.message}"
    else:
        text = str(exception_for(outcome))
    return text.partition("\n")[0]
