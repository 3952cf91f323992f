"""How far nodes are, told from the machine's state, and how fast they go."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from orchestrator.cli.display import node_table
from orchestrator.progress import WINDOW_S, Rates, left_s
from protocol.client_messages import NodeProgress


def node(name: str, **changes: int | str) -> NodeProgress:
    fields = {"state": "running", "runs": 0, "done": 0, "running": 0, "queued": 0, "total": 0} | changes
    return NodeProgress(name, **fields)  # type: ignore[arg-type]  # as given above


def test_a_rate_is_that_of_the_last_seconds() -> None:
    rates = Rates()
    assert rates.per_second("a", 0, 0.0) == 0.0
    assert rates.per_second("a", 10, 2.0) == 5.0
    assert rates.per_second("b", 10, 2.0) == 0.0
    # Ten more within the window that begins at 2.0: what was before is forgotten.
    assert rates.per_second("a", 20, 2.0 + WINDOW_S) == 10 / WINDOW_S


@pytest.mark.parametrize(
    ("done", "total", "per_second", "left"),
    [(10, 30, 4.0, 5.0), (10, 0, 4.0, None), (10, 30, 0.0, None), (30, 30, 4.0, None)],
)
def test_the_time_left_is_told_where_the_total_is_known(
    done: int, total: int, per_second: float, left: float | None
) -> None:
    assert left_s(node("a", done=done, total=total), per_second) == left


def test_where_there_are_more_nodes_than_lines_those_that_run_are_shown() -> None:
    nodes = [node(f"n{index}", state="done", done=1) for index in range(10)]
    nodes[7] = node("n7", running=2, queued=3, done=40, total=100)
    console = Console(width=100, record=True, file=StringIO())
    rates = Rates()
    rates.per_second("n7", 20, 0.0)
    console.print(node_table(nodes, rates, 2.0, 2, 100))
    lines = console.export_text().splitlines()
    assert len(lines) == 4
    assert lines[2].split() == ["n7", "running", "40/100", "2", "3", "10", "6", "s"]
    assert "8 more nodes" in lines[3]
