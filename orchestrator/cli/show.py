"""What the command line prints: progress on a terminal, failures, and the graph of a flow."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.graph.describe import FlowDescription, InputDescription
from orchestrator.report import RunReport
from orchestrator.runtime.errors import RemoteTraceback
from orchestrator.runtime.machine import FlowMachine
from orchestrator.runtime.outcome import Interrupted
from orchestrator.runtime.raising import NODE_NOTE
from orchestrator.runtime.state import Node

_REFRESHES_PER_SECOND: Final = 8


class Progress:
    """A line per node while a flow runs, on standard error if that is a terminal; else nothing.

    ``observe`` remembers the machine, which a thread of rich's draws several times a second. What keeps
    an interrupted run from ending at once is said in any case.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._machine: FlowMachine | None = None
        self._said_waiting = False
        self._live = Live(
            get_renderable=self._render,
            console=self._console,
            refresh_per_second=_REFRESHES_PER_SECOND,
            transient=True,
        )

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def observe(self, machine: FlowMachine) -> None:
        self._machine = machine
        if isinstance(machine.outcome, Interrupted) and machine.live and not self._said_waiting:
            self._said_waiting = True
            nodes = ", ".join(machine.running())
            line = f"interrupted; waiting for {nodes} to stop (Ctrl-C again: at once)"
            self._console.print(Text(line))

    def _render(self) -> Table | Text:
        machine = self._machine
        if machine is None:
            return Text("starting workers…")
        table = Table.grid(padding=(0, 2))
        room = max(3, self._console.height - 2)
        shown = [node for node in machine.nodes if not node.spec.hidden]
        # Where there are more nodes than lines, those that are running are worth them.
        lines = sorted(shown, key=lambda node: node.run is None)[:room]
        for node in sorted(lines, key=lambda node: node.index):
            table.add_row(*_progress_of(node))
        if len(shown) > room:
            table.add_row(f"… and {len(shown) - room} more nodes")
        return table


def _progress_of(node: Node) -> tuple[str, str, str, str]:
    run = node.run
    if run is None:
        state = "done" if node.runs else "waiting"
    elif node.progresses:
        state = "running"
    else:
        state = "suspended"
    runs = f"{node.runs} runs" if node.runs != 1 else "1 run"
    chunks = f"{node.chunks} chunks" if node.spec.kind != "mono" else ""
    return node.name, state, runs, chunks


def summary(report: RunReport) -> None:
    """One line at the end, on a terminal only."""
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
    name = type(error).__qualname__
    text = str(error)
    lines = [f"{name}: {text}" if text else name, *getattr(error, "__notes__", ())]
    cause = error.__cause__
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
    console = Console()
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("node", "kind", "placement", "inputs", "defined at"):
        table.add_column(heading, overflow="fold")
    for node in description.nodes:
        inputs = "\n".join(_input(given) for given in node.inputs)
        name = f"{node.name} (made by the builder)" if node.hidden else node.name
        table.add_row(name, node.kind, node.placement, inputs, _near(node.place))
    console.print(table)
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
