"""How far the nodes of a running flow are, as plain data to show or to send."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from typing import Final

from orchestrator.runtime.machine import FlowMachine
from orchestrator.runtime.state import MapRun, Node
from protocol.client_messages import NodeProgress

WINDOW_S: Final = 5.0
"""Rates are those of the last seconds."""


def progress_of(machine: FlowMachine) -> Iterator[tuple[int, NodeProgress]]:
    """Every node's number and how far it is; hidden nodes are left out.

    It only reads, and may be called while another thread runs the machine: then it is a snapshot in
    which numbers may be a moment apart.
    """
    running: Counter[int] = Counter()
    queued: Counter[int] = Counter()
    for key in list(machine.live):
        (queued if machine.is_in_line(key) else running)[key.node] += 1
    for node in machine.nodes:
        if not node.spec.hidden:
            yield node.index, _progress(node, running[node.index], queued[node.index])


def _progress(node: Node, running: int, queued: int) -> NodeProgress:
    is_mono = node.spec.kind == "mono"
    total = 0
    run = node.run
    if isinstance(run, MapRun):
        reading = node.streams_in[0].reading_of(run)
        if reading is not None:
            queued += reading.emitted - reading.delivered
            total = node.chunks + reading.emitted - run.settled if reading.ended else 0
    return NodeProgress(
        node.name,
        _state(node, running, queued),
        node.runs,
        node.runs if is_mono else node.chunks,
        running,
        queued,
        total,
    )


def _state(node: Node, running: int, queued: int) -> str:
    if node.is_dead:
        return "given up"
    if node.run is None:
        return "done" if node.runs else "waiting"
    if not running and queued:
        return "queued"
    return "running" if running and node.progresses else "suspended"


class Rates:
    """How fast counts grow, as seen by who looks now and then."""

    def __init__(self) -> None:
        self._samples: dict[str, deque[tuple[float, int]]] = {}

    def per_second(self, name: str, count: int, now: float) -> float:
        """The rate of a count that is ``count`` now; 0.0 where nothing is known yet."""
        samples = self._samples.setdefault(name, deque())
        samples.append((now, count))
        while samples[0][0] < now - WINDOW_S:
            samples.popleft()
        since, before = samples[0]
        return (count - before) / (now - since) if now > since else 0.0


def left_s(node: NodeProgress, per_second: float) -> float | None:
    """How long a node still takes at this rate; None where that cannot be told."""
    if node.total <= node.done or per_second <= 0:
        return None
    return (node.total - node.done) / per_second
