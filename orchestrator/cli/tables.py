"""Tables of one line to a row: where there is little room, what matters least is left out."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

_GAP: Final = 3  # between two columns
_FILE_WIDTH: Final = 1 << 20  # whoever reads a file or a pipe wants each row in one line
_SHORTEST: Final = 8


@dataclass(frozen=True, slots=True)
class Column:
    """``rank`` says when it is left out: the highest first, 0 never. A name is shortened instead."""

    heading: str
    cells: Sequence[str]
    rank: int = 0
    is_number: bool = False
    is_name: bool = False

    @property
    def width(self) -> int:
        return max(map(len, (self.heading, *self.cells)))


def output_console() -> Console:
    """For standard output: as wide as the terminal, or as anything if that is none."""
    width = None if sys.stdout is None or sys.stdout.isatty() else _FILE_WIDTH
    return Console(width=width)


def table(columns: Sequence[Column], room: int) -> Table:
    """A table that fits into ``room`` characters, if that can be."""
    made = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    return _filled(made, fitting(columns, room))


def plain_table(columns: Sequence[Column], room: int) -> Table:
    """As :func:`table`, with nothing between the heading and the rows."""
    made = Table(box=None, show_edge=False, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="dim")
    return _filled(made, fitting(columns, room))


def fitting(columns: Iterable[Column], room: int) -> list[Column]:
    """The columns that fit into ``room`` characters, with names shortened if they alone do not."""
    left = list(columns)
    while (excess := _width(left) - room) > 0:
        last = max(left, key=lambda column: column.rank)
        if last.rank == 0:
            return [_shortened(column, excess) if column.is_name else column for column in left]
        left.remove(last)
    return left


def shortened(name: str, width: int) -> str:
    """A name in so many characters: its beginning and its end, which tell it from others.

    >>> shortened("measurement_17", 9)
    'meas…t_17'
    """
    if len(name) <= width:
        return name
    head = width // 2
    return f"{name[:head]}…{name[len(name) - (width - head - 1) :]}"


def _width(columns: Sequence[Column]) -> int:
    return sum(column.width + _GAP for column in columns) - _GAP


def _shortened(column: Column, excess: int) -> Column:
    width = max(_SHORTEST, column.width - excess)
    return replace(column, cells=[shortened(cell, width) for cell in column.cells])


def _filled(made: Table, columns: Sequence[Column]) -> Table:
    for column in columns:
        justify = "right" if column.is_number else "left"
        made.add_column(column.heading, justify=justify, no_wrap=True)  # type: ignore[arg-type]  # one of its literals
    for cells in zip(*(column.cells for column in columns), strict=True):
        made.add_row(*map(Text, cells))
    return made
