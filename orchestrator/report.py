"""What a run did, for the user."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

Status: TypeAlias = Literal["done", "limit"]


class NodeReport(Struct, frozen=True, gc=False):
    """One node's share. ``seconds`` is the time its body was being run, waits left out.

    ``bytes`` counts what its results and chunks took in serialized form; inline values take none.
    ``skipped`` counts the runs, among ``runs``, that gave SKIP or depended on what did; ``retries`` the
    attempts beyond the first of each run.
    """

    runs: int
    chunks: int
    seconds: float
    bytes: int
    skipped: int = 0
    retries: int = 0


class RunReport(Struct, frozen=True):
    """How a run ended and what each node did, in order of creation.

    ``status`` is ``"limit"`` where the run was ended by ``stop_at_node_generation``. ``seconds`` is the
    time of the whole run. ``unfinished`` names the generators that were closed because nobody read on.
    ``widened`` names the edges whose buffers were grown to avoid an artificial deadlock, and how often.
    """

    status: Status
    seconds: float
    workers: int
    nodes: dict[str, NodeReport]
    unfinished: tuple[str, ...] = ()
    widened: dict[str, int] = {}
