"""May a producer go on? Barrier 1 as pure functions of a node's state (SEMANTICS 50, 51)."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.runtime.state import MapRun, Node, Reading, StreamEdge
from protocol.messages import UNLIMITED


def allowance(node: Node, *, is_wanted_again: bool) -> int:
    """How many chunks the node's run may have emitted in all before it must wait.

    It may emit the next one if every live reader has room for it, and somebody has a use for it: a
    reader that asks, a reader with a window, a reader of the final value, or the node's own next run,
    which is wanted already and begins when this one is drained.
    """
    run = node.run
    assert run is not None
    room = UNLIMITED
    has_use = bool(node.finals_out) or node.drains_itself or is_wanted_again
    # Readers take a chunk mostly in their order: from the end, one that has yet to is found at once.
    for edge in reversed(node.streams_out):
        reading = edge.readings[run.number]
        if reading.live:
            room = min(room, edge.capacity - edge.untaken)
            if room <= 0:
                return run.emitted
            # An edge that was widened has a window from then on.
            has_use = has_use or edge.capacity > 1 or is_asked(edge, reading)
    if not has_use:
        return run.emitted
    return UNLIMITED if room == UNLIMITED else run.emitted + room


def is_asked(edge: StreamEdge, reading: Reading) -> bool:
    """Whether the reader waits for the producer's next chunk."""
    reader = reading.run
    if reader is None:
        return reading.emitted == 0  # the first chunk is what starts the reader
    return edge.port in reader.waiting


def goes_on(node: Node) -> bool:
    """Whether the node's run can go on without anything new from the coordinator."""
    run = node.run
    if run is None or run.held is not None:
        return False
    if isinstance(run, MapRun):
        return bool(run.in_flight)
    if run.rests:
        return False
    if run.is_between_attempts or run.replay is not None:
        return True
    # A cancel is thrown at a closed gate too, and what it leads to is yet to be heard.
    return not rests_at_gate(node) or run.cancels_unanswered > 0


def rests_at_gate(node: Node) -> bool:
    """Whether the node has something to emit and may not."""
    run = node.run
    assert run is not None
    if isinstance(run, MapRun):
        return run.settled in run.elements
    if node.spec.kind != "stream" or run.rests or run.replay is not None:
        return False
    return run.emitted >= run.credit and run.emitted != run.thrown_at


def is_parked(node: Node, is_wanted_again: Callable[[Node], bool]) -> bool:
    """Whether the node rests at its gate for good: its readers have left, or are parked too (rule 51).

    It reads on only if its next run is wanted, which drains it; so nothing that it reads may wait
    for it, and nothing that it has not read may be dropped.
    """
    pending = [node]
    seen = {node.index}
    while pending:
        node = pending.pop()
        run = node.run
        if run is None or node.finals_out or is_wanted_again(node):
            return False
        if run.held is not None or goes_on(node) or not rests_at_gate(node):
            return False
        for edge in node.streams_out:
            reading = edge.readings[run.number]
            if reading.live and (reading.run is None or is_asked(edge, reading)):
                return False
            if reading.live and edge.consumer.index not in seen:
                seen.add(edge.consumer.index)
                pending.append(edge.consumer)
    return True
