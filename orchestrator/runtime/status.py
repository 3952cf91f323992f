"""What a node does or waits for, as people ask for it (SEMANTICS 86)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from orchestrator.resolver.firing import Firing
from orchestrator.runtime import gate
from orchestrator.runtime.state import Node


@dataclass(frozen=True, slots=True)
class Waiting:
    """For its inputs, or until its final value may be written (0); or at its gate (1)."""

    run_level: int


@dataclass(frozen=True, slots=True)
class Queued:
    """Its next run can start."""


@dataclass(frozen=True, slots=True)
class Executing:
    """Its body runs, or waits for a worker."""


@dataclass(frozen=True, slots=True)
class Stalled:
    """Its body waits for a chunk of the stream that it reads as ``port``."""

    port: str


@dataclass(frozen=True, slots=True)
class Error:
    """It has failed, or needed what had."""


NodeStatus: TypeAlias = Waiting | Queued | Executing | Stalled | Error

_IDLE = Waiting(0)
_AT_GATE = Waiting(1)
_QUEUED = Queued()
_EXECUTING = Executing()
_ERROR = Error()


def status_of(node: Node, firing: Firing) -> NodeStatus:
    """The node's status now."""
    run = node.run
    if node.is_dead:
        return _ERROR
    if run is None:
        return _QUEUED if firing.is_queued(node.index) else _IDLE
    if run.held is not None:
        return _IDLE
    if run.rests:
        return Stalled(node.spec.ports[next(iter(run.waiting))].name)
    return _EXECUTING if gate.goes_on(node) or not gate.rests_at_gate(node) else _AT_GATE
