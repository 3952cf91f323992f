"""Runs a flow from the caller's thread: compile, run on an event loop, report or raise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from time import perf_counter
from typing import TypeAlias, TypedDict, Unpack

from executor.code import encode_code
from executor.limits import check_timeout
from executor.pool import Pool, usable_cores
from executor.retry import RetryPolicy
from executor.running_loop import enter_running_loop, leave_running_loop
from executor.surroundings import running_flow
from orchestrator.contexts import ContextFactory, Contexts
from orchestrator.coordinator import Coordinator
from orchestrator.errors import InvalidFlowError
from orchestrator.graph.capture import refuse_primitive
from orchestrator.graph.compile import compile_flow
from orchestrator.graph.flow import (
    Flow,
    StopAt,
    companions_of,
    event_loop_of,
    graph_of,
    publish,
    states_of,
)
from orchestrator.graph.limits import stop_limits
from orchestrator.instrumenting import Instrumented
from orchestrator.instruments import current_instrument
from orchestrator.keeping import in_use
from orchestrator.pump import Pump
from orchestrator.report import NodeReport, RunReport
from orchestrator.resources import check_resources
from orchestrator.runtime.job import Job
from orchestrator.runtime.machine import FlowMachine
from orchestrator.runtime.outcome import Done, LimitReached
from orchestrator.runtime.raising import exception_for
from orchestrator.runtime.results import RunResults
from orchestrator.spec import FlowSpec, Locals, ParameterSpec
from orchestrator.spill import DiskSpill
from protocol.serialization import SerializationError, dumps, renew
from protocol.values import Local, Value

Observer: TypeAlias = Callable[[FlowMachine], None]
"""Called after each turn of a run, to read how far it is; it must not block."""


class ParameterError(InvalidFlowError, ValueError):
    """A run was given a parameter the flow does not have, or not given one it needs."""


class RunOptions(TypedDict, total=False):
    """What :meth:`Flow.run` takes, and an observer."""

    workers: int | None
    pool: Pool | None
    stop_at_node_generation: StopAt
    terminate_on_node_error: bool
    timeout_s: float | None
    parameters: Mapping[str, object] | None
    context_factory: ContextFactory | None
    observe: Observer | None


def run_flow(flow: Flow, **options: Unpack[RunOptions]) -> RunReport:
    """Run a flow to its end or its stop limit; see :meth:`Flow.run`."""
    ended = _execute(flow, **options)
    if not isinstance(ended.machine.outcome, LimitReached):
        _raise_failure(ended)
    return report_of(ended.machine, ended.workers, ended.seconds)


def run_flow_until_complete(flow: Flow, **options: Unpack[RunOptions]) -> None:
    """Run a flow to its end; see :meth:`Flow.run_until_complete`."""
    _raise_failure(_execute(flow, **options))


@dataclass(frozen=True, slots=True)
class _Ended:
    machine: FlowMachine
    workers: int
    seconds: float


def _execute(  # noqa: PLR0913 - the options of a run
    flow: Flow,
    *,
    workers: int | None = None,
    pool: Pool | None = None,
    stop_at_node_generation: StopAt = (),
    terminate_on_node_error: bool = True,
    timeout_s: float | None = None,
    parameters: Mapping[str, object] | None = None,
    context_factory: ContextFactory | None = None,
    observe: Observer | None = None,
) -> _Ended:
    started = perf_counter()
    workers = _workers(workers, pool)
    check_timeout(timeout_s)
    check_inputs(parameters, context_factory)
    renew()  # classes that travel whole go as they are now
    spec, local = compile_flow(
        flow,
        workers=workers,
        encode_code=encode_code,
        encode_value=dumps,
        retry=RetryPolicy() if pool is None else pool.retry,
    )
    limits = stop_limits(flow, stop_at_node_generation)
    values = parameter_values(spec, local, dict(parameters or {}))
    spill = DiskSpill()
    instrument = current_instrument()
    watcher = None if instrument is None else Instrumented(instrument, flow)
    job = Job(
        spec,
        local,
        values,
        limits.nodes,
        limits.constants,
        timeout_s=timeout_s,
        terminate_on_node_error=terminate_on_node_error,
        watcher=watcher,
        spill=spill,
        observe=observe,
        states=states_of(flow),
        make_context=None
        if context_factory is None
        else Contexts(context_factory, graph_of(flow).nodes).make,
    )
    with ExitStack() as stack:
        stack.callback(spill.close)
        stack.enter_context(in_use(job.states, spec))
        if watcher is not None:
            stack.callback(watcher.ends)
        if not _needs_pool(spec):
            pool = None
        elif pool is None:
            pool = stack.enter_context(Pool(workers))
        if pool is not None:
            check_resources(spec, pool.totals)
        machine = _run(flow, job, pool)
        if pool is not None and pool.failure is not None:
            raise pool.failure  # says more than that a node was lost
    publish(flow, RunResults(spec, machine.newest))
    return _Ended(machine, workers, perf_counter() - started)


def _raise_failure(ended: _Ended) -> None:
    assert ended.machine.outcome is not None
    error = exception_for(ended.machine.outcome)
    if error is not None:
        raise error


def _run(flow: Flow, job: Job, pool: Pool | None) -> FlowMachine:
    # Pumps that the run leaves behind are closed with the loop's other tasks.
    coordinator = Coordinator(job, None if pool is None else Pump(pool), companions_of(flow))
    # The caller may be a coroutine of asyncio; plain bodies may call asyncio.run() all the same.
    callers_loop = leave_running_loop()
    token = running_flow.set(flow)
    try:
        machine = event_loop_of(flow).run_until_complete(
            coordinator.run(), join=True, wait_for_spawned_tasks=False
        )
    finally:
        running_flow.reset(token)
        enter_running_loop(callers_loop)
    assert isinstance(machine, FlowMachine)
    return machine


def _workers(workers: int | None, pool: Pool | None) -> int:
    if pool is not None:
        if not isinstance(pool, Pool):
            raise TypeError(f"pool= must be a Pool, not {pool!r}")
        if workers is not None:
            raise ValueError("give either workers= or pool=, not both")
        return pool.workers
    if workers is None:
        return usable_cores()
    if type(workers) is not int or workers < 0:
        raise ValueError(f"workers= must be a number of processes from 0 on, not {workers!r}")
    return workers


def check_inputs(parameters: object, context_factory: object) -> None:
    if parameters is not None and not isinstance(parameters, Mapping):
        raise TypeError(f"parameters= must be a mapping of names to values, not {parameters!r}")
    if context_factory is not None and not callable(context_factory):
        raise TypeError(f"context_factory= must be a function of a NodeInfo, not {context_factory!r}")


def _needs_pool(spec: FlowSpec) -> bool:
    return any(node.placement == "process" for node in spec.nodes)


def parameter_values(spec: FlowSpec, local: Locals, given: dict[str, object]) -> dict[str, Value]:
    """The values of a flow's parameters, encoded if any node runs in a worker.

    Raises:
        ParameterError: one is missing, unknown, or does not pickle.
    """
    known = {parameter.name: parameter for parameter in spec.parameters}
    for name in given:
        if name not in known:
            raise ParameterError(
                f"the flow has no parameter {name!r}; it has: {', '.join(known) or 'none'}"
            )
    missing = [name for name, spec in known.items() if spec.required and name not in given]
    if missing:
        raise ParameterError(
            f"the flow needs a value for {', '.join(map(repr, missing))}: "
            f"run(parameters={{{missing[0]!r}: ...}}) or --set {missing[0]}=..."
        )
    travels = any(node.placement != "inline" for node in spec.nodes)
    return {
        name: _parameter_value(parameter, local, given, travels=travels)
        for name, parameter in known.items()
    }


def _parameter_value(
    parameter: ParameterSpec, local: Locals, given: dict[str, object], *, travels: bool
) -> Value:
    name = parameter.name
    if name not in given:
        if parameter.payload is not None:
            return parameter.payload
        return Local(local.parameters[name])
    if not travels:
        return Local(given[name])
    refuse_primitive(given[name], f"the value given for parameter {name!r}")
    try:
        return dumps(given[name])
    except SerializationError as error:
        raise ParameterError(f"the value given for parameter {name!r}: {error}") from error


def report_of(machine: FlowMachine, workers: int, seconds: float) -> RunReport:
    """What a run that has ended did."""
    edges = machine.edges
    return RunReport(
        status="limit" if isinstance(machine.outcome, LimitReached) else "done",
        seconds=seconds,
        workers=workers,
        nodes={
            node.name: NodeReport(
                node.runs, node.chunks, node.seconds, node.bytes, node.skipped, node.retries
            )
            for node in machine.nodes
        },
        unfinished=machine.outcome.unfinished if isinstance(machine.outcome, Done) else (),
        widened={
            f"{edges[index].producer.name} -> {edges[index].consumer.name}": times
            for index, times in machine.widened.items()
        },
    )
