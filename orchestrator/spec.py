"""A planned flow as plain data: all that a coordinator needs to run it, and nothing else.

A :class:`FlowSpec` holds no Python object of the user's: names, ports, edges with their delays, options,
and code and constants as opaque serialized values. ``msgspec.msgpack`` encodes and decodes it, so it may
run where it was made or be sent to a coordinator elsewhere.

What there is one of for each node or edge is left out of garbage collection (``gc=False``): it can be in
no reference cycle, and to look at hundreds of thousands of them takes a fifth of planning.

Code and constants that only inline nodes use stay in the process that made the flow: their payload is
None and the objects travel beside the spec, in :class:`Locals`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from protocol.messages import Digest

Placement: TypeAlias = Literal["process", "thread", "inline"]
OnSkip: TypeAlias = Literal["skip", "default"]
Kind: TypeAlias = Literal["mono", "stream", "map"]
StatePlace: TypeAlias = Literal["checkpoint", "resident"]
Payload: TypeAlias = bytes | tuple[bytes, ...]


class EdgeInput(Struct, frozen=True, gc=False, tag="edge"):
    """The port reads output ``output`` of node ``producer``, ``delay`` generations behind it.

    Run n of the consumer reads generation ``n - delay``; while that is negative, the default.
    ``window``: how many chunks the producer may be ahead of this reader (run level 1 only).
    """

    producer: int
    output: int
    delay: int
    window: int


class ConstantInput(Struct, frozen=True, gc=False, tag="constant"):
    """The port reads a constant, the same in every generation."""

    constant: int


class ParameterInput(Struct, frozen=True, gc=False, tag="parameter"):
    """The port reads a value given when the flow is run."""

    parameter: str


class Unconnected(Struct, frozen=True, gc=False, tag="default"):
    """The port takes its parameter's default in every run."""


InputSpec: TypeAlias = EdgeInput | ConstantInput | ParameterInput | Unconnected


class PortSpec(Struct, frozen=True, gc=False):
    name: str
    run_level: int
    input: InputSpec


class RetrySpec(Struct, frozen=True, gc=False):
    """When a run is tried again: :class:`executor.retry.RetryPolicy`, but for the types it is about."""

    attempts: int = 1
    delay_s: float = 0.0
    backoff: float = 2.0
    jitter: float = 0.0
    loss_attempts: int = 3


class NodeSpec(Struct, frozen=True, gc=False):
    """One node. Its place in ``FlowSpec.nodes`` is its number: the order of creation.

    ``kind``: ``mono`` returns once; ``stream`` yields chunks; ``map`` has no run of its own, it applies
    its code to each chunk of its first port, which is a stream, with the other ports' values beside
    it, at most ``ahead`` elements at a time, and emits the results as chunks in order.

    ``on_skip``: what the node does where something it reads was skipped: it skips too, or takes the
    port's default. ``needed_outputs``: every result must have at least so many outputs, because that
    many are read. ``place``: where it was written, ``file:line``. ``hidden``: made by the builder,
    not by the user. ``keep``: its final value stays readable whatever its size. ``pinned``: it keeps
    state between its runs, so all of them go to one worker. ``checkpointed``: the state after each run
    is committed with the run's result; else it is only in the worker. ``timeout_s``: how long one run
    may compute. ``memory_hard_bytes``: how large its worker may be then. ``priority``: lower numbers run
    first. ``criticality``: how many nodes are on the longest path from it. ``demand``: what a run claims
    of the pool's resources.
    """

    name: str
    kind: Kind
    code: Digest
    ports: tuple[PortSpec, ...]
    placement: Placement
    place: str
    needed_outputs: int = 1
    multiple_outputs: bool = False
    drain: bool = True
    on_skip: OnSkip = "skip"
    retry: RetrySpec = RetrySpec()
    pinned: bool = False
    checkpointed: bool = False
    hidden: bool = False
    keep: bool = False
    timeout_s: float | None = None
    memory_hard_bytes: int | None = None
    ahead: int = 0
    priority: float = 0
    criticality: int = 0
    demand: tuple[tuple[str, float], ...] = ()


class CodeSpec(Struct, frozen=True):
    """A body's code, by digest of ``payload``; None where it stays in this process."""

    digest: Digest
    payload: Payload | None


class ConstantSpec(Struct, frozen=True):
    """``node`` and ``port`` tell where it is used; ``payload`` is None where it stays here."""

    node: int
    port: int
    payload: Payload | None


class ParameterSpec(Struct, frozen=True):
    """A value given at run time. ``required``: it has no default."""

    name: str
    required: bool
    payload: Payload | None


class FlowSpec(Struct, frozen=True):
    nodes: tuple[NodeSpec, ...]
    codes: tuple[CodeSpec, ...]
    constants: tuple[ConstantSpec, ...]
    parameters: tuple[ParameterSpec, ...]


@dataclass(slots=True)
class Locals:
    """What of a flow stays in the process that made it: objects, by the place their spec has.

    ``codes`` maps a digest to the payload object that ``executor.code`` would otherwise unpickle.
    """

    codes: dict[Digest, Any] = field(default_factory=dict)
    constants: dict[int, object] = field(default_factory=dict)
    parameters: dict[str, object] = field(default_factory=dict)
