"""A line per node while a flow runs, here or on a coordinator elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from orchestrator.cli.tables import Column, plain_table
from orchestrator.progress import Rates, left_s, progress_of
from orchestrator.runtime.machine import FlowMachine
from orchestrator.runtime.outcome import Interrupted
from protocol.client_messages import NodeProgress

if TYPE_CHECKING:
    from orchestrator.service.handle import FlowHandle

_REFRESHES_PER_SECOND: Final = 8
_SHARE: Final = 20  # it takes one part in so many of the time, at most
_COLUMNS: Final = (
    Column("node", (), is_name=True),
    Column("", (), rank=1),
    Column("done", (), is_number=True),
    Column("running", (), rank=3, is_number=True),
    Column("queued", (), rank=4, is_number=True),
    Column("per s", (), rank=5, is_number=True),
    Column("left", (), rank=2, is_number=True),
)


class Display:
    """On standard error if that is a terminal; else it shows nothing.

    A thread of rich's draws several times a second what ``observe`` or ``follow`` has named. What keeps
    an interrupted run from ending at once is said in any case.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._nodes: Callable[[], Iterable[NodeProgress]] | None = None
        self._rates = Rates()
        self._machine: FlowMachine | None = None
        self._said_waiting = False
        self._next_at = 0.0
        self._table: Group | Text = Text()
        self._live = Live(
            get_renderable=self._render,
            console=self._console,
            refresh_per_second=_REFRESHES_PER_SECOND,
            transient=True,
            # What goes to a file must not come out on the terminal.
            redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
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
        """A run in this process had a turn."""
        if self._machine is not machine:
            self._machine = machine
            self._nodes = lambda: [node for _, node in progress_of(machine)]
        if isinstance(machine.outcome, Interrupted) and machine.live:
            self.say_waiting(machine.running())

    def follow(self, handle: FlowHandle) -> None:
        """Show a flow that runs elsewhere."""
        self._nodes = lambda: list(handle.progress.values())
        handle.on_cancel = lambda: self.say_waiting(
            [node.name for node in list(handle.progress.values()) if node.running]
        )

    def say_waiting(self, nodes: Iterable[str]) -> None:
        """Say once why an interrupted run has not ended yet."""
        if not self._said_waiting:
            self._said_waiting = True
            names = ", ".join(nodes) or "its nodes"
            line = f"interrupted; waiting for {names} to stop (Ctrl-C again: at once)"
            self._console.print(Text(line))

    def _render(self) -> Group | Text:
        if self._nodes is None:
            return Text("starting workers…")
        began = monotonic()
        if began >= self._next_at:
            lines = max(3, self._console.height - 3)
            nodes = list(self._nodes())
            self._table = node_table(nodes, self._rates, began, lines, self._console.width)
            # Where there are very many nodes, looking at them must not take the run's time.
            self._next_at = began + _SHARE * (monotonic() - began)
        return self._table


def node_table(nodes: list[NodeProgress], rates: Rates, now: float, lines: int, room: int) -> Group:
    """At most so many nodes; where there are more, those that run are worth the lines."""
    order = sorted(
        range(len(nodes)), key=lambda index: not (nodes[index].running or nodes[index].queued)
    )
    shown = [nodes[index] for index in sorted(order[:lines])]
    rows = [_cells(node, rates.per_second(node.name, node.done, now)) for node in shown]
    cells = [[row[place] for row in rows] for place in range(len(_COLUMNS))]
    columns = [replace(column, cells=given) for column, given in zip(_COLUMNS, cells, strict=True)]
    more = [Text(f"… and {len(nodes) - lines} more nodes")] if len(nodes) > lines else []
    return Group(plain_table(columns, room), *more)


def _cells(node: NodeProgress, per_second: float) -> tuple[str, ...]:
    left = left_s(node, per_second)
    return (
        node.name,
        node.state,
        f"{node.done}/{node.total}" if node.total else str(node.done),
        str(node.running or ""),
        str(node.queued or ""),
        f"{per_second:.3g}" if per_second else "",
        "" if left is None else duration(left),
    )


def duration(seconds: float) -> str:
    """A time for people.

    >>> duration(3.21), duration(75), duration(7265)
    ('3 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
