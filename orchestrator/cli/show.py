"""What the command line prints: failures, the graph of a flow, what a service does."""

from __future__ import annotations

import textwrap
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final

import click
import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from executor.errors import RemoteTraceback
from orchestrator.cli.display import duration
from orchestrator.cli.tables import Column, output_console, table
from orchestrator.graph.describe import FlowDescription, InputDescription
from orchestrator.report import RunReport
from orchestrator.runtime.raising import NODE_NOTE, UNREACHED_NOTE
from protocol.client_messages import RunStatus, Status, Waits, WorkerStatus

_ENDED: Final = ("done", "failed", "cancelled")
_ENDED_SHOWN: Final = 10


def report(found: RunReport, *, as_json: bool) -> None:
    """What a run did: all of it as a line of JSON, or the main things in one for people."""
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        _summary(found)


def _summary(report: RunReport) -> None:
    """One line, on a terminal only."""
    console = Console(stderr=True)
    if console.is_terminal:
        runs = sum(node.runs for node in report.nodes.values())
        end = "stopped at its limit" if report.status == "limit" else "done"
        where = f"{report.workers} workers" if report.workers else "no workers, in this process"
        line = f"{end}: {len(report.nodes)} nodes, {runs} runs in {report.seconds:.2f} s, {where}"
        console.print(Text(line, style="dim"))


def is_of_node(error: BaseException) -> bool:
    """Whether an exception was raised by a node's body."""
    return any(note.startswith(NODE_NOTE) for note in getattr(error, "__notes__", ()))


def failure(error: BaseException) -> str:
    """What failed and where, with the user's own frames only."""
    group = error.__cause__
    if not (isinstance(group, BaseExceptionGroup) and error in group.exceptions):
        return _failure(error, error.__cause__, _notes(error))
    # The run went on after a failure; the first one says which nodes could not run.
    notes = {each: _notes(each) for each in group.exceptions}
    unreached = [note for note in notes[error] if note.startswith(UNREACHED_NOTE)]
    notes[error] = [note for note in notes[error] if note not in unreached]
    several = [
        _failure(each, group.__cause__ if each is error else each.__cause__, notes[each])
        for each in group.exceptions
    ]
    return "\n\n".join([*several, "; ".join([group.message, *unreached])])


def _notes(error: BaseException) -> list[str]:
    return list(getattr(error, "__notes__", ()))


def _failure(error: BaseException, cause: BaseException | None, notes: list[str]) -> str:
    name = type(error).__qualname__
    text = str(error)
    lines = [f"{name}: {text}" if text else name, *notes]
    if isinstance(cause, RemoteTraceback):
        lines.append(cause.text.rstrip())
    elif is_of_node(error):
        lines += [line.rstrip() for line in traceback.format_tb(_of_body(error.__traceback__))]
    return "\n".join(lines)


def _of_body(trace: TracebackType | None) -> TracebackType | None:
    """The frames of an inline body: those after the last of ours."""
    last = trace
    while trace is not None:
        if "/executor/life_cycle.py" in trace.tb_frame.f_code.co_filename:
            last = trace.tb_next
        trace = trace.tb_next
    return last


def graph(description: FlowDescription) -> None:
    """The nodes of a planned flow, what feeds each port, and the delays on cycles."""
    console = output_console()
    nodes = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("node", "kind", "placement", "inputs", "defined at"):
        nodes.add_column(heading, overflow="fold")
    for node in description.nodes:
        inputs = "\n".join(_input(given) for given in node.inputs)
        name = f"{node.name} (made by the builder)" if node.hidden else node.name
        nodes.add_row(name, node.kind, node.placement, inputs, _near(node.place))
    console.print(nodes)
    for parameter in description.parameters:
        default = "required" if parameter.default is None else f"default {parameter.default}"
        console.print(Text(f"parameter {parameter.name}: {default}"))
    delays = sum(given.delay for node in description.nodes for given in node.inputs)
    console.print(Text(f"ok: {len(description.nodes)} nodes, {delays} delayed edges"))


def _near(place: str) -> str:
    """A place as seen from the current directory, if it is below it."""
    here = f"{Path.cwd()}/"
    return place.removeprefix(here)


def _input(given: InputDescription) -> str:
    match given.kind:
        case "edge":
            output = f".output({given.output})" if given.output else ""
            what = "stream of " if given.run_level else ""
            delay = f", {given.delay} generation behind (default at first)" if given.delay else ""
            return f"{given.port} <- {what}{given.source}{output}{delay}"
        case "default":
            return f"{given.port} = its default"
        case "parameter":
            return f"{given.port} = parameter {given.source}"
        case _:
            return f"{given.port} = {given.source}"


# -- a service -------------------------------------------------------------------------------------


def status(found: Status) -> None:
    """The flows and workers of a coordinator."""
    console = output_console()
    console.print(_status_view(found, console.width))


def watch_status(ask: Callable[[], Status], every_s: float) -> None:
    """Show it anew again and again, on a terminal in its place, until an exception comes."""
    console = output_console()
    if not console.is_terminal:
        while True:
            console.print(_status_view(ask(), console.width))
            time.sleep(every_s)
    with Live(_status_view(ask(), console.width), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(every_s)
            live.update(_status_view(ask(), console.width), refresh=True)


def as_json(found: Status) -> dict[str, object]:
    """A status with names for all its fields."""
    whole = msgspec.structs.asdict(found)
    del whole["request"]
    whole["workers"] = [msgspec.structs.asdict(worker) for worker in found.workers]
    whole["runs"] = [msgspec.structs.asdict(run) for run in found.runs]
    return whole


def _status_view(found: Status, room: int) -> Group:
    drains = ", takes no more flows" if found.draining else ""
    head = f"coordinator {found.pid}, up {duration(found.seconds)}{drains}"
    shown = _runs_to_show(found.runs)
    older = len(found.runs) - len(shown)
    more = [Text(f"and {older} that ended before (--json lists them)", style="dim")] if older else []
    problems = [_problem(run, room) for run in shown if run.detail]
    return Group(
        Text(head), _runs_table(shown, room), *more, *problems, _workers_table(found.workers, room)
    )


def _problem(run: RunStatus, room: int) -> Text:
    """Two lines at most; 'orchestrator follow' tells all of it."""
    return Text(textwrap.shorten(f"run {run.run}: {run.detail}", 2 * room, placeholder=" …"))


def _runs_to_show(runs: list[RunStatus]) -> list[RunStatus]:
    """Those that run, and the last that have ended, which come first."""
    ended = [run for run in runs if run.state in _ENDED]
    return [*ended[-_ENDED_SHOWN:], *(run for run in runs if run.state not in _ENDED)]


def _runs_table(runs: list[RunStatus], room: int) -> Table:
    going = [run.state not in _ENDED for run in runs]
    columns = [
        Column("run", [str(run.run) for run in runs]),
        Column("flow", [run.label for run in runs], is_name=True),
        Column("state", [run.state for run in runs]),
        Column("nodes", [f"{run.nodes}/{run.nodes_total}" for run in runs], rank=1),
        Column(
            "running",
            [_count(run.running, shown=is_on) for run, is_on in zip(runs, going, strict=True)],
            rank=3,
        ),
        Column(
            "queued",
            [_count(run.queued, shown=is_on) for run, is_on in zip(runs, going, strict=True)],
            rank=4,
        ),
        Column("time", [duration(run.seconds) for run in runs], rank=2),
        Column("client", ["detached" if run.detached else str(run.client) for run in runs], rank=5),
    ]
    return table(columns, room)


def _count(number: int, *, shown: bool) -> str:
    return str(number) if shown else ""


def _workers_table(workers: list[WorkerStatus], room: int) -> Table:
    columns = [
        Column("worker", [str(worker.worker) for worker in workers]),
        Column("pid", [str(worker.pid) for worker in workers]),
        Column("state", [worker.state for worker in workers]),
        Column("running", [str(worker.running) for worker in workers], rank=1),
        Column("suspended", [str(worker.suspended) for worker in workers], rank=2),
        Column(
            "brought by",
            [f"process {worker.agent}" if worker.agent else "" for worker in workers],
            rank=3,
        ),
    ]
    return table(columns, room)


def inputs_of(description: FlowDescription, name: str) -> None:
    """What feeds a node.

    Raises:
        click.UsageError: there is no such node.
    """
    node = next((each for each in description.nodes if each.name == name), None)
    if node is None:
        known = ", ".join(each.name for each in description.nodes if not each.hidden)
        raise click.UsageError(f"the flow has no node {name!r}; it has {known}")
    click.echo(f"{name} ({node.kind}, {_near(node.place)})")
    for given in node.inputs:
        click.echo(f"  {_input(given)}")
    if not node.inputs:
        click.echo("  it has no inputs: it runs as soon as a worker is free")


def waits(found: Waits) -> None:
    """What a node of a running flow waits for now."""
    node = found.node
    doing = f"{node.running} running, {node.queued} queued for a worker"
    click.echo(f"in run {found.run} {node.name!r} is {node.state}: {node.done} done, {doing}")
    for sentence in found.sentences:
        click.echo(f"  {sentence}")
    if not found.sentences and not node.running and not node.queued:
        click.echo("  it waits for nothing")
