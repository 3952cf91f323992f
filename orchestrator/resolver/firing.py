"""What fires next, by counting: demand, freshness and order (SEMANTICS 19, 33, 34).

Theory of operation. A planned flow is a homogeneous synchronous dataflow graph: run n of a node needs
generation n - delay on every edge. So it is enough to count, per edge, the generations that have
come, and per node, the runs started and demanded, and how many of its edges still lack what the next
run needs. A node is *ready* when its next run is demanded, no edge lacks anything and its last run
has ended. Each event costs the degree of its node; nothing is searched and no history is kept.

Knows nothing of values, streams or processes: for a stream, a generation has *come* when its first
chunk has, or its end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Protocol

from msgspec import Struct


class Link(Struct, frozen=True, gc=False):
    """An edge as far as firing is concerned; its index is its place in the sequence given."""

    producer: int
    consumer: int
    delay: int


class Listener(Protocol):
    """Told of what becomes ready, as it happens."""

    def queued(self, node: int) -> None:
        """The node's next run can start."""

    def solved(self, head: int, solution: list[int]) -> None:
        """A run of ``head`` was demanded; that made these ready."""


class Firing:
    """The counters of one flow run. ``ready`` holds the nodes that may start, by order of demand."""

    def __init__(self, nodes: int, links: Sequence[Link]) -> None:
        self._links = links
        self._inputs: list[list[int]] = [[] for _ in range(nodes)]
        # Invariant: how many inputs of the node lack what its next run reads.
        self._lacking = [0] * nodes
        for index, link in enumerate(links):
            self._inputs[link.consumer].append(index)
            self._lacking[link.consumer] += link.delay == 0
        self._came = [0] * len(links)  # generations that have come, per link
        self._next_run = [0] * nodes
        self._demanded = [-1] * nodes  # the latest run that is demanded
        self._busy = [False] * nodes
        self._queued = [False] * nodes
        self.listener: Listener | None = None
        self.ready: deque[int] = deque()
        self.wanted_again: list[int] = []  # busy nodes whose next run has come to be demanded
        # Idle nodes whose next run is demanded and has come to lack something.
        self.held_up: list[int] = []

    def begin(self) -> None:
        """Demand run 0 of every node, in order of creation (rule 33, Start)."""
        for node in range(len(self._next_run)):
            self._demand(node, 0)
        self.held_up.clear()  # nothing has run, so nothing is full and all of them will be served

    def next_run(self, node: int) -> int:
        """The run that the node starts next; it has started all before."""
        return self._next_run[node]

    def demanded(self, node: int) -> int:
        """The latest run of the node that somebody demands; -1 before any."""
        return self._demanded[node]

    def is_wanted(self, node: int) -> bool:
        """Whether a further run of the node is demanded that has not started."""
        return self._demanded[node] >= self._next_run[node]

    def is_queued(self, node: int) -> bool:
        """Whether its next run can start and has not."""
        return self._queued[node]

    def lacking(self, node: int) -> Iterator[int]:
        """The links whose generation for the node's next run has not come."""
        run = self._next_run[node]
        return (index for index in self._inputs[node] if not self._is_fresh(index, run))

    def arrive(self, index: int) -> None:
        """The next generation of a link's producer has come to it (rule 33, Trigger)."""
        link = self._links[index]
        generation = self._came[index]
        self._came[index] = generation + 1
        run = generation + link.delay
        # An element for a later run than the next is looked at when that run is the next.
        if run == self._next_run[link.consumer]:
            self._lacking[link.consumer] -= 1
            self._demand(link.consumer, run)
            self._enqueue_if_ready(link.consumer)

    def start(self, node: int) -> int:
        """The node's next run begins; returns its number."""
        run = self._next_run[node]
        self._busy[node] = True
        self._next_run[node] = following = run + 1
        inputs = self._inputs[node]
        lacking = len(inputs)
        is_triggered = False
        for index in inputs:
            if self._is_fresh(index, following):
                lacking -= 1
                # A default makes an edge fresh, but is no emission and triggers nothing.
                is_triggered = is_triggered or self._links[index].delay <= following
        self._lacking[node] = lacking
        if is_triggered:
            self._demand(node, following)
        return run

    def end(self, node: int) -> None:
        """The node's run is over: its final value is written."""
        self._busy[node] = False
        if self._lacking[node] and self.is_wanted(node):
            self.held_up.append(node)
        self._enqueue_if_ready(node)

    def _demand(self, node: int, run: int) -> None:
        """Demand a run, and recursively what it lacks (rule 33, Demand); cheap if demanded before."""
        if self._demanded[node] >= run:
            return
        queued = len(self.ready)
        self._demand_all(node, run)
        if self.listener is not None:
            self.listener.solved(node, [self.ready[index] for index in range(queued, len(self.ready))])

    def _demand_all(self, node: int, run: int) -> None:
        pending = [(node, run)]
        while pending:
            node, run = pending.pop()
            if self._demanded[node] >= run:
                continue
            self._demanded[node] = run
            if self._busy[node]:
                self.wanted_again.append(node)
            elif self._lacking[node]:
                self.held_up.append(node)
            self._enqueue_if_ready(node)
            for index in reversed(self._inputs[node]):
                link = self._links[index]
                if self._came[index] + link.delay <= run:  # it is not fresh
                    pending.append((link.producer, run - link.delay))

    def _is_fresh(self, index: int, run: int) -> bool:
        return self._came[index] + self._links[index].delay > run

    def _enqueue_if_ready(self, node: int) -> None:
        if (
            not self._lacking[node]
            and not self._busy[node]
            and not self._queued[node]
            and self._demanded[node] >= self._next_run[node]
        ):
            self._queued[node] = True
            self.ready.append(node)
            if self.listener is not None:
                self.listener.queued(node)

    def take_ready(self) -> int | None:
        """The node to start now, or None."""
        if not self.ready:
            return None
        node = self.ready.popleft()
        self._queued[node] = False
        return node

    def retry(self, node: int) -> None:
        """Offer a node again whose start was put off by something that firing does not know."""
        self._enqueue_if_ready(node)
