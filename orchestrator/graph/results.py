"""Where ``get_data`` reads: the seam between a flow's nodes and what a run left."""

from __future__ import annotations

from typing import Any, Protocol


class Results(Protocol):
    """The data of a run, readable by node number.

    ``get`` returns one element for each output, or None where there is nothing to read at that run
    level (SEMANTICS 12). It may raise what says why a value that existed cannot be read.
    """

    def get(self, node: int, run_level: int) -> tuple[Any, ...] | None: ...


class NoResults:
    """Before any run."""

    def get(self, node: int, run_level: int) -> tuple[Any, ...] | None:  # noqa: ARG002
        return None
