"""What is shown of a table where there is little room."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO

import pytest
from rich.console import Console
from rich.table import Table

from orchestrator.cli.tables import Column, fitting, plain_table, shortened, table

COLUMNS = [
    Column("run", ["1", "12"]),
    Column("flow", ["a_long_name_1", "a_long_name_2"], is_name=True),
    Column("time", ["3 s", "4 s"], rank=1),
    Column("client", ["77", "78"], rank=2),
]


@pytest.mark.parametrize(
    ("room", "headings", "names"),
    [
        (35, ["run", "flow", "time", "client"], ["a_long_name_1", "a_long_name_2"]),
        (34, ["run", "flow", "time"], ["a_long_name_1", "a_long_name_2"]),
        (25, ["run", "flow"], ["a_long_name_1", "a_long_name_2"]),
        (17, ["run", "flow"], ["a_lon…ame_1", "a_lon…ame_2"]),
        (3, ["run", "flow"], ["a_lo…e_1", "a_lo…e_2"]),
    ],
)
def test_columns_are_left_out_by_their_rank_and_names_are_shortened_last(
    room: int, headings: list[str], names: list[str]
) -> None:
    shown = fitting(COLUMNS, room)
    assert [column.heading for column in shown] == headings
    assert shown[1].cells == names


@pytest.mark.parametrize("make", [table, plain_table])
@pytest.mark.parametrize("room", [14, 16, 25, 26, 34, 35, 100])
def test_each_row_is_one_line_and_what_fits_is_whole(
    make: Callable[[list[Column], int], Table], room: int
) -> None:
    console = Console(width=room, file=StringIO(), record=True)
    console.print(make(COLUMNS, room))
    lines = console.export_text().splitlines()
    assert len(lines) == (4 if make is table else 3)
    assert lines[-1].split()[0] == "12"
    whole = fitting(COLUMNS, room)
    assert lines[-1].split() == " ".join(column.cells[1] for column in whole).split()


def test_a_name_keeps_its_ends() -> None:
    assert shortened("a_name", 6) == "a_name"
    assert [len(shortened("a_long_name", width)) for width in range(3, 12)] == list(range(3, 12))
