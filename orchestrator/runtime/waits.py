"""Who waits for whom: finding the cycle when a flow cannot go on (SEMANTICS 46, 52, 65).

Theory of operation. Bounded edges can deadlock a flow that unbounded ones would not (Parks 1995). A
node that rests waits for others: a reader for its stream's producer, a producer at a full edge for that
edge's slow consumer, an unstarted node for the producers of what it lacks. All of a node's waits must
end before it goes on, so every cycle of waits is a deadlock; one that contains a full edge is
*artificial*, and widening the smallest full edge on it repairs it (Geilen & Basten 2003: at once,
for each cycle by itself, not only when the whole flow is still). The exception is a body that reads
several streams in several tasks: any chunk wakes it, so a cycle through it proves nothing until the
whole flow is at rest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from orchestrator.runtime.gate import goes_on, rests_at_gate
from orchestrator.runtime.state import Edge, Node, Run, StreamEdge


@dataclass(frozen=True, slots=True)
class Wait:
    """``waiter`` rests until ``awaited`` goes on; ``is_full``: because the edge has no room.

    ``is_one_of_several``: the end of any other wait of the waiter would do as well.
    """

    waiter: Node
    awaited: Node
    edge: Edge
    is_full: bool
    is_one_of_several: bool = False

    def describe(self) -> str:
        """A sentence for the user."""
        producer = self.edge.producer.name
        if self.is_full:
            what = "chunk" if isinstance(self.edge, StreamEdge) else "final value"
            return (
                f"{self.waiter.name!r} waits until {self.awaited.name!r} takes a {what} "
                f"({self.edge.capacity} wait on the edge {producer!r} -> {self.awaited.name!r})"
            )
        if self.waiter is self.edge.producer:
            return f"{self.waiter.name!r} waits until {self.awaited.name!r} asks for a chunk"
        what = "a chunk" if isinstance(self.edge, StreamEdge) else "a final value"
        return f"{self.waiter.name!r} waits for {what} of {producer!r}"


def waits_to_start(node: Node, lacking: Iterable[Edge]) -> list[Wait]:
    """The waits of a node whose next run is wanted but has not begun."""
    stale = [Wait(node, edge.producer, edge, is_full=False) for edge in lacking]
    return stale + _full(node, node.streams_out)


def waits_in_run(node: Node, run: Run) -> list[Wait]:
    """The waits of a node in a run: for room, for a chunk, or none."""
    if run.held is not None:
        return _full(node, node.finals_out)
    if goes_on(node):
        return []
    if rests_at_gate(node):
        # Without a full edge it waits to be asked: no reason to widen, but part of a cycle.
        return _full(node, node.streams_out) or _to_be_asked(node, run)
    several = len(run.waiting) > 1
    return [
        Wait(node, edge.producer, edge, is_full=False, is_one_of_several=several)
        for edge in run.waiting.values()
    ]


def _to_be_asked(node: Node, run: Run) -> list[Wait]:
    return [
        Wait(node, edge.consumer, edge, is_full=False)
        for edge in node.streams_out
        if edge.readings[run.number].live
    ]


def _full(node: Node, edges: Iterable[Edge]) -> list[Wait]:
    return [Wait(node, edge.consumer, edge, is_full=True) for edge in edges if edge.is_full]


def find_deadlock(
    suspects: deque[Node],
    waits_of: Callable[[Node], list[Wait]],
    is_parked: Callable[[Node], bool],
) -> list[Wait] | None:
    """Waits, reached from a suspect, that cannot end; None if there are none.

    They are a cycle, or a single wait for room that a parked node would have to make. Suspects that
    lead to none are taken out; the one that does is left first, as it may lead to more. Linear in the
    waits followed.
    """
    finished: set[int] = set()  # by node index; membership only, never iterated
    while suspects:
        cycle = _follow(suspects[0], waits_of, is_parked, finished)
        if cycle is not None:
            return cycle
        suspects.popleft()
    return None


def _follow(
    start: Node,
    waits_of: Callable[[Node], list[Wait]],
    is_parked: Callable[[Node], bool],
    finished: set[int],
) -> list[Wait] | None:
    if start.index in finished:
        return None
    path: list[Wait] = []
    depth = {start.index: 0}  # nodes on the path, by their place on it
    stack = [(start, iter(waits_of(start)))]
    while stack:
        node, remaining = stack[-1]
        wait = next(remaining, None)
        if wait is None:
            stack.pop()
            if path:
                path.pop()
            del depth[node.index]
            finished.add(node.index)
        elif wait.is_full and is_parked(wait.awaited):
            return [wait]
        elif wait.awaited.index in depth:
            return [*path[depth[wait.awaited.index] :], wait]
        elif wait.awaited.index not in finished:
            depth[wait.awaited.index] = len(stack)
            path.append(wait)
            stack.append((wait.awaited, iter(waits_of(wait.awaited))))
    return None


def is_certain(deadlock: Iterable[Wait]) -> bool:
    """Whether these waits alone keep their waiters from ever going on."""
    return not any(wait.is_one_of_several for wait in deadlock)


def waits_behind(deadlock: Iterable[Wait], waits_of: Callable[[Node], list[Wait]]) -> Iterator[Wait]:
    """All waits that can be reached from a deadlock's."""
    pending = [wait.waiter for wait in deadlock]
    seen = {node.index for node in pending}  # membership only, never iterated
    while pending:
        for wait in waits_of(pending.pop()):
            yield wait
            if wait.awaited.index not in seen:
                seen.add(wait.awaited.index)
                pending.append(wait.awaited)


def edge_to_widen(deadlock: Iterable[Wait]) -> Edge | None:
    """The smallest full edge in a deadlock, or None where it is a real one."""
    return min(
        (wait.edge for wait in deadlock if wait.is_full),
        key=lambda edge: (edge.capacity, edge.index),
        default=None,
    )
