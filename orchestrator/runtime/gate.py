"""May a producer go on? Barrier 1 as pure functions of a node's state (SEMANTICS 50, 51)."""

from __future__ import annotations

from orchestrator.runtime.state import Node, Reading
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
    for edge in node.streams_out:
        reading = edge.readings[run.number]
        if reading.live:
            room = min(room, edge.capacity - edge.untaken)
            # An edge that was widened has a window from then on.
            has_use = has_use or edge.capacity > 1 or is_asked(reading)
    if not has_use or room <= 0:
        return run.emitted
    return UNLIMITED if room == UNLIMITED else run.emitted + room


def is_asked(reading: Reading) -> bool:
    """Whether the reader stands still until the producer's next chunk comes."""
    reader = reading.run
    if reader is None:
        return reading.emitted == 0  # the first chunk is what starts the reader
    return reader.waiting is not None and reader.waiting.reading is reading


def goes_on(node: Node) -> bool:
    """Whether the node's run can go on without anything new from the coordinator."""
    run = node.run
    if run is None or run.held is not None:
        return False
    if node.spec.kind == "map":
        return bool(run.in_flight)
    if run.waiting is not None:
        return False
    # A cancel is thrown at a closed gate too, and what it leads to is yet to be heard.
    return not rests_at_gate(node) or run.cancels_unanswered > 0


def rests_at_gate(node: Node) -> bool:
    """Whether the node has something to emit and may not."""
    run = node.run
    assert run is not None
    if node.spec.kind == "map":
        return run.emitted in run.elements
    return node.spec.kind == "stream" and run.waiting is None and run.emitted >= run.credit
