"""What a flow must compute, straight from the rules: one thread, no event loop, nothing of the runtime.

``delays`` follows rules 19-31 by symbolic execution: it runs nodes in the order that the rules ask for
and counts the defaults they take. ``Reference`` then evaluates runs by rule 19, each as a whole: run n
of a node reads generation n - d of each producer, which was evaluated before it. Streams need no
interleaving, because without cancels the chunks of a run depend on its inputs alone.

Where readers cancel, the moment at which a producer hears of it depends on the schedule (A4). The
``Observed`` runs say where that was, and everything else follows: readers see a prefix, those that do
not cancel see exactly what was emitted, and the final value is the fold of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.differential.description import MOST_PORTS, UNREAD, Node
from tests.differential.scripts import CANCELLED, END, map_element, new_state, perform

# -- planning: rules 19-31 -------------------------------------------------------------------------


class Unsatisfiable(Exception):
    """No member of a cycle has the defaults to begin it (rule 31); ``args`` holds its members."""


def delays(nodes: Sequence[Node]) -> dict[tuple[int, int], int]:
    """d(e) of each port (node, index): how many runs took its default although it is connected.

    Each round requests the next run of every node and lets the leaves run until all have run.
    """
    runs = dict.fromkeys(range(len(nodes)), 0)
    stitches = {(node.number, index): 0 for node in nodes for index in range(len(node.ports))}

    def is_stale(node: Node, index: int) -> bool:
        # Rule 23 for whole runs, where generation (g,) is what run g leaves and None is g = -1.
        seen = runs[node.ports[index].producer] - 1 + stitches[node.number, index]
        return seen <= runs[node.number] - 1

    for done in range(3):
        while waiting := [node for node in nodes if runs[node.number] == done]:
            stale = {
                node.number: [index for index in range(len(node.ports)) if is_stale(node, index)]
                for node in waiting
            }
            for node, defaulted in _runnable(waiting, stale):
                for index in defaulted:
                    stitches[node.number, index] += 1
                runs[node.number] += 1
    assert max(stitches.values(), default=0) <= 1, "rule 21: a port took its default twice"
    return stitches


def _runnable(waiting: Sequence[Node], stale: Mapping[int, list[int]]) -> list[tuple[Node, list[int]]]:
    """The node to run of each leaf component, with the ports that take their defaults (rules 27-31)."""
    by_number = {node.number: node for node in waiting}
    edges = {
        node.number: {node.ports[index].producer for index in stale[node.number]} for node in waiting
    }
    reaches = {number: _reachable(number, edges) for number in edges}
    chosen = []
    for number in sorted(edges):
        component = {number} | {other for other in reaches[number] if number in reaches[other]}
        is_leaf = all(edges[member] <= component for member in component)
        if number != min(component) or not is_leaf:
            continue
        for member in sorted(component):
            node = by_number[member]
            if all(node.ports[index].has_default for index in stale[member]):
                chosen.append((node, stale[member]))
                break
        else:
            raise Unsatisfiable(sorted(component))
    return chosen


def _reachable(start: int, edges: Mapping[int, set[int]]) -> set[int]:
    found: set[int] = set()
    pending = list(edges[start])
    while pending:
        number = pending.pop()
        if number not in found:
            found.add(number)
            pending.extend(edges[number])
    return found


# -- running: rules 19, 24, 35-44, 48-61, A5, A8 --------------------------------------------------

NO_FINAL = "no final value"
"""In place of the outputs of a run whose final value is NO_VALUE (rule 44)."""

SKIPPED = "skipped"
"""Likewise of a run that gave SKIP, or was skipped itself (rule 41)."""


@dataclass
class Observed:
    """What was seen of one run: its chunks, if it ended its outputs, and where cancels were thrown.

    A value of None in ``chunks`` was not seen: it was only counted.
    """

    chunks: list[tuple[Any, ...] | None] = field(default_factory=list)
    ended: bool = False
    outputs: Any = None
    thrown_at: list[int] = field(default_factory=list)


@dataclass
class Evaluated:
    """One run as it must be. ``blocked``: it waits for a chunk that was not seen to be emitted.

    ``cancelled``: the ports whose stream it cancels, and how many chunks it emits before.
    """

    chunks: list[tuple[Any, ...]] = field(default_factory=list)
    outputs: Any = None
    blocked: bool = False
    cancelled: dict[int, int] = field(default_factory=dict)
    throws: int = 0
    state: dict[str, int] = field(default_factory=new_state)  # of a class, after the run


class Reference:
    """Evaluates the observed runs of a planned graph."""

    def __init__(
        self,
        nodes: Sequence[Node],
        delay: Mapping[tuple[int, int], int],
        observed: Mapping[tuple[int, int], Observed],
    ) -> None:
        self._nodes = nodes
        self._delay = delay
        self._observed = observed
        self._evaluated: dict[tuple[int, int], Evaluated] = {}

    def run(self, number: int, n: int) -> Evaluated:
        """Run ``n`` of a node; with the throw that ended it, if only that explains what was seen."""
        found = self._evaluated.get((number, n))
        if found is None:
            seen = self._observed.get((number, n), Observed())
            found = self._evaluate(number, n, seen.thrown_at)
            if seen.ended and not agrees(found, seen):
                # A throw that ends the run has no report of its own.
                cut = self._evaluate(number, n, [*seen.thrown_at, len(seen.chunks)])
                found = cut if agrees(cut, seen) else found
            self._evaluated[number, n] = found
        return found

    def _evaluate(self, number: int, n: int, throws: Sequence[int]) -> Evaluated:
        node = self._nodes[number]
        inputs = [self._input(node, index, n) for index in range(len(node.ports))]
        state = dict(self.run(number, n - 1).state) if node.is_class and n else new_state()
        if SKIPPED in inputs:
            return Evaluated(outputs=SKIPPED, state=state)
        if node.kind == "map":
            return _map(node, inputs, throws)
        if node.kind == "split":
            chunks = [(item,) for item in inputs[0]][: throws[0] if throws else None]
            return Evaluated(chunks, accumulated("sum", chunks), throws=len(throws))
        if node.kind == "fold":
            chunks, is_open = inputs[0]
            return Evaluated(outputs=(list(chunks),), blocked=is_open)
        return _Body(node, inputs, state, throws).run()

    def _input(self, node: Node, index: int, n: int) -> Any:
        """Rule 24: the default iff n < d(e), else generation n - d(e); a stream as (chunks, is open)."""
        port = node.ports[index]
        generation = n - self._delay[node.number, index]
        if generation < 0:
            return UNREAD
        producer = self.run(port.producer, generation)
        seen = self._observed.get((port.producer, generation), Observed())
        if producer.outputs == SKIPPED and not (port.is_stream and producer.chunks):
            return UNREAD if node.takes_default else SKIPPED
        if not port.is_stream:
            return producer.outputs[port.output]
        chunks = producer.chunks[: len(seen.chunks)]
        return [chunk[port.output] for chunk in chunks], not seen.ended


class _Body:
    """Performs a node's script on lists."""

    def __init__(
        self, node: Node, inputs: list[Any], state: dict[str, int], throws: Sequence[int]
    ) -> None:
        self._node = node
        self._streams = {
            index: given
            for index, (port, given) in enumerate(zip(node.ports, inputs, strict=True))
            if port.is_stream and given != UNREAD
        }
        self._taken = dict.fromkeys(self._streams, 0)
        given = [None if index in self._streams else given for index, given in enumerate(inputs)]
        self._given = (*given, *[UNREAD] * (MOST_PORTS - len(given)))  # the others are not connected
        self._throws = throws
        self._run = Evaluated(state=state)

    def run(self) -> Evaluated:
        run, script = self._run, self._node.script
        steps = perform(script, self._given, run.state)
        answer: Any = None
        while True:
            action, *arguments = steps.send(answer)
            answer = None
            match action:
                case "take":
                    answer = self._take(arguments[0])
                    if answer is None:
                        run.blocked = True
                        return run
                case "cancel":
                    if arguments[0] in self._streams:
                        run.cancelled.setdefault(arguments[0], len(run.chunks))
                case "emit":
                    run.chunks.append(_outputs(self._node, arguments[0]))
                    if len(run.chunks) in self._throws:
                        run.throws += 1
                        answer = CANCELLED
                case _:
                    run.outputs = self._final(action, *arguments)
                    return run

    def _final(self, action: str, *given: Any) -> Any:
        if action == "skip":
            return SKIPPED
        if action == "reraise":  # rule 59a: the run ends, and what it reads is cancelled
            for port in self._streams:
                self._run.cancelled.setdefault(port, len(self._run.chunks))
        if self._generates and given in ((), (None,)) and (action, given) != ("raise", (None,)):
            return accumulated(self._node.accumulate, self._run.chunks)
        return _outputs(self._node, *given)

    @property
    def _generates(self) -> bool:
        return self._node.kind == "stream"

    def _take(self, port: int) -> tuple[Any, ...] | None:
        """The next chunk or the end; None if neither was seen."""
        if port not in self._streams or port in self._run.cancelled:
            return END  # rule 56
        chunks, is_open = self._streams[port]
        taken = self._taken[port]
        if taken < len(chunks):
            self._taken[port] += 1
            return ("chunk", chunks[taken])
        return None if is_open else END


def _map(node: Node, inputs: list[Any], throws: Sequence[int]) -> Evaluated:
    """A8: the elements in order; a cancel stops it after what was emitted, and cancels its source."""
    chunks, is_open = inputs[0]
    beside = inputs[1] if len(inputs) > 1 else UNREAD
    elements = [map_element(node.name, node.script.skips, chunk, beside) for chunk in chunks]
    run = Evaluated([(element,) for element in elements if element is not None], NO_FINAL, is_open)
    if throws:
        return Evaluated(run.chunks[: throws[0]], NO_FINAL, cancelled={0: throws[0]}, throws=1)
    return run


def _outputs(node: Node, value: Any) -> tuple[Any, ...]:
    return value if node.script.outputs > 1 else (value,)


def accumulated(how: str, chunks: Sequence[tuple[Any, ...]]) -> Any:
    """Rules 42-44 and A5: the final value of a generator that gives none."""
    if not chunks:
        return NO_FINAL
    columns = []
    for column in zip(*chunks, strict=True):
        if how == "list":
            columns.append(list(column))
            continue
        total = column[0]
        for chunk in column[1:]:
            if how == "join":
                total = join(total, chunk)
            elif _summable(total) is not None and _summable(total) is _summable(chunk):
                total = total + chunk
            else:
                return NO_FINAL
        columns.append(total)
    return tuple(columns)


def join(total: Any, chunk: Any) -> Any:
    """The ``accumulate=`` function of the random graphs."""
    return f"{total}|{chunk}"


def _summable(value: Any) -> type | None:
    return next((kind for kind in (int, float, str, bytes) if isinstance(value, kind)), None)


# -- comparing ---------------------------------------------------------------------------------------


def agrees(must: Evaluated, seen: Observed) -> bool:
    """Whether a run was as it must be, as far as it was seen."""
    if len(seen.chunks) > len(must.chunks):
        return False
    if any(
        was is not None and not same(was, is_)
        for was, is_ in zip(seen.chunks, must.chunks, strict=False)
    ):
        return False
    if not seen.ended:
        return True
    return not must.blocked and len(seen.chunks) == len(must.chunks) and same(seen.outputs, must.outputs)


def same(one: Any, other: Any) -> bool:
    """Equal, and of equal types all through: 1, 1.0 and True are not the same."""
    return repr(one) == repr(other)
