"""Random flows whose values tell what was read, and what a run of them must give (rule 19)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from executor.body import Stream
from orchestrator.graph.flow import Flow
from orchestrator.graph.node import node

Read = tuple[str, int]  # a node's name and the generation that was read
UNREAD: Read = ("default", -1)


def tagger(name: str, inputs: int, reads: list[tuple[str, int, Sequence[Read]]] | None) -> Any:
    """A mono node that counts its runs and gives (name, run, what it read); it defaults every port.

    ``reads`` is where it logs; only inline bodies share it.
    """

    @node(name=name)
    class Tagged:
        run = -1

        def call(
            self, a: Any = UNREAD, b: Any = UNREAD, c: Any = UNREAD, d: Any = UNREAD
        ) -> tuple[str, int, tuple[Read, ...]]:
            self.run += 1
            seen = tuple((given[0], given[1]) for given in (a, b, c, d)[:inputs])
            if reads is not None:
                reads.append((name, self.run, seen))
            return name, self.run, seen

    return Tagged


def mono_flow(
    seed: int, *, cyclic: bool, reads: list[tuple[str, int, Sequence[Read]]] | None
) -> tuple[Flow, dict[str, list[str]]]:
    """A random graph of mono nodes, and for each node the names of its producers, port by port."""
    draw = random.Random(seed)
    count = draw.randint(2, 7)
    names = [f"n{index}" for index in range(count)]
    producers: dict[str, list[str]] = {}
    flow = Flow()
    with flow:
        for index, name in enumerate(names):
            pool = names if cyclic else names[:index]
            wanted = draw.randint(0, min(3, len(pool)))
            producers[name] = [draw.choice(pool) for _ in range(wanted)]
            inputs = [getattr(flow, producer) for producer in producers[name]]
            setattr(flow, name, tagger(name, wanted, reads)(*inputs))
    return flow, producers


def check_rule_19(
    flow: Flow, producers: dict[str, list[str]], reads: list[tuple[str, int, Sequence[Read]]]
) -> None:
    """Every read was of generation n - d(e), or the default while that is negative (I1)."""
    delays = {
        (node.name, index): given.delay
        for node in flow.plan().nodes
        for index, given in enumerate(node.inputs)
        if given.kind == "edge"
    }
    for name, run, seen in reads:
        for port, (producer, read) in enumerate(zip(producers[name], seen, strict=True)):
            generation = run - delays[name, port]
            expected = (producer, generation) if generation >= 0 else UNREAD
            assert read == expected, (name, run, port, read, expected)


# -- streams ---------------------------------------------------------------------------------------


def numbers(count: int, start: int) -> Any:
    for index in range(count):
        yield start + index


def scaled(a: Stream[int], factor: int) -> Any:
    for chunk in a:
        yield chunk * factor + 1


def merged(a: Stream[int], b: Stream[int], c: Stream[int]) -> Any:
    """Reads one stream after the other, which bounded edges alone could not serve."""
    for stream in (a, b, c):
        for chunk in stream:
            yield chunk


def alternating(a: Stream[int], b: Stream[int]) -> Any:
    for left, right in zip(a, b, strict=False):
        yield left * 3 + right


async def shifted(a: Stream[int]) -> Any:
    async for chunk in a:
        yield chunk - 5


def summed(a: Stream[int], b: Stream[int]) -> tuple[int, int]:
    return sum(b), sum(a)


def squared(a: int) -> int:
    return a * a


def offset_by(a: Stream[int], by: int) -> Any:
    for chunk in a:
        yield chunk + by


def stream_flow(seed: int, window: int | None) -> Flow:
    """A random acyclic graph of generators, stream readers, maps and mono nodes."""
    draw = random.Random(seed)
    options: dict[str, Any] = {"window": window}
    source = node(**options)(numbers)
    stages: list[tuple[Any, int, tuple[Any, ...]]] = [
        (node(**options)(scaled), 1, (2,)),
        (node(**options)(merged), 3, ()),
        (node(**options)(alternating), 2, ()),
        (node(**options)(shifted), 1, ()),
    ]
    square = node(**options)(squared)
    by_final = node(**options)(offset_by)
    total = node(**options)(summed)
    flow = Flow()
    with flow:
        streams: list[Any] = []
        for index in range(draw.randint(1, 2)):
            streams.append(source(draw.randint(0, 9), index * 100))
        for _ in range(draw.randint(1, 5)):
            kind = draw.randrange(6)
            if kind == 4:
                streams.append(square.map(draw.choice(streams)))
            elif kind == 5:
                # Reads one node's chunks beside the final value of another.
                of = draw.choice([stream for stream in streams if not _is_map(stream)])
                streams.append(by_final(draw.choice(streams), safe(of)))
            else:
                template, inputs, rest = stages[kind]
                streams.append(template(*(draw.choice(streams) for _ in range(inputs)), *rest))
        for index, stream in enumerate(streams):
            setattr(flow, f"s{index}", stream)
        flow.total = total(draw.choice(streams), draw.choice(streams))
        flow.collected = listed(draw.choice(streams))
    return flow


@node
def listed(a: Stream[int]) -> list[int]:
    return list(a)


@node
def counted(a: Stream[int]) -> int:
    return sum(1 for _ in a)


def safe(stream: Any) -> Any:
    """A final value that exists even for an empty stream."""
    return counted(stream)


def _is_map(draft: Any) -> bool:
    return bool(draft._record.is_map)


def values_of(flow: Flow) -> dict[str, Any]:
    """What the named nodes of a flow show after a run."""
    return {name: draft.get_data() for name, draft in vars(flow).items() if not name.startswith("_")}
