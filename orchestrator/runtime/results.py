"""What a run leaves readable: each node's newest data (SEMANTICS 12)."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from dataclasses import dataclass, field

from executor.codec import BY_REFERENCE
from orchestrator.runtime.errors import ValueReleased
from orchestrator.runtime.state import Node
from orchestrator.spec import FlowSpec
from protocol.values import Value

KEPT_BYTES: typing.Final = 64 * 1024
"""A final value that others read is kept for ``get_data`` up to this size, unless ``keep=True``."""


class Emission(typing.NamedTuple):
    """The newest data of a node at one run level.

    ``outputs`` is None where there is no value (NO_VALUE), or where ``released_bytes`` tells how large
    the value was that was let go once its readers had it.
    """

    generation: tuple[int, ...]
    outputs: Sequence[Value] | None
    released_bytes: int = 0


@dataclass(slots=True)
class Newest:
    """The newest final value and chunk of each node, by number; a chunk until its run is final."""

    finals: dict[int, Emission] = field(default_factory=dict)
    chunks: dict[int, Emission] = field(default_factory=dict)

    def keep_final(self, node: Node, run: int, outputs: list[Value] | None, size: int) -> None:
        """The node's newest final value; ``size`` in bytes."""
        self.chunks.pop(node.index, None)
        keeps = size <= KEPT_BYTES or not node.finals_out or node.spec.keep
        self.finals[node.index] = Emission(
            (run,),
            outputs if keeps else None,
            0 if keeps else size,
        )

    def keep_chunk(self, node: Node, run: int, chunk: int, outputs: list[Value]) -> None:
        self.chunks[node.index] = Emission((run, chunk), outputs)


class RunResults:
    """The newest data of an ended run, unpickled when it is read (``orchestrator.graph.results``)."""

    def __init__(self, spec: FlowSpec, newest: Newest) -> None:
        self._spec = spec
        self._newest = newest

    def get(self, node: int, run_level: int) -> tuple[typing.Any, ...] | None:
        """One element per output; None where there is nothing to read.

        Raises:
            ValueReleased: there was a final value, too large to keep.
        """
        emissions = self._newest.chunks if run_level else self._newest.finals
        emission = emissions.get(node)
        if emission is None:
            return None
        if emission.released_bytes:
            raise ValueReleased(self._spec.nodes[node].name, emission.released_bytes)
        if emission.outputs is None:
            return None
        return tuple(BY_REFERENCE.loads(value) for value in emission.outputs)
