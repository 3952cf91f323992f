"""Dataflow for CPU-heavy Python: cyclic graphs, streams and barriers, run across worker processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from executor.body import NO_VALUE, Stream, StreamCancelled
from executor.errors import PoolBroken, WorkerCrashed
from orchestrator.errors import (
    FlowDefinitionError,
    FlowError,
    InvalidFlowError,
    MissingDefaultError,
    NotSerializableError,
)
from orchestrator.graph.draft import parameter
from orchestrator.graph.flow import Flow
from orchestrator.graph.node import node
from orchestrator.graph.template import NodeTemplate
from orchestrator.report import NodeReport, RunReport
from orchestrator.runtime.errors import (
    AccumulationError,
    FlowDeadlockError,
    FlowTimeoutError,
    NodeError,
    RemoteError,
    RemoteTraceback,
    TerminateLimitReached,
    ValueReleased,
)

if TYPE_CHECKING:
    from executor.pool import Pool

__all__ = [
    "NO_VALUE",
    "AccumulationError",
    "Flow",
    "FlowDeadlockError",
    "FlowDefinitionError",
    "FlowError",
    "FlowTimeoutError",
    "InvalidFlowError",
    "MissingDefaultError",
    "NodeError",
    "NodeReport",
    "NodeTemplate",
    "NotSerializableError",
    "Pool",
    "PoolBroken",
    "RemoteError",
    "RemoteTraceback",
    "RunReport",
    "Stream",
    "StreamCancelled",
    "TerminateLimitReached",
    "ValueReleased",
    "WorkerCrashed",
    "node",
    "parameter",
]


def __getattr__(name: str) -> Any:
    # The pool brings ZeroMQ with it, which a worker that imports this for its names need not load.
    if name == "Pool":
        from executor.pool import Pool  # noqa: PLC0415 - see above

        return Pool
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
