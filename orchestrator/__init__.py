"""Dataflow for CPU-heavy Python: cyclic graphs, streams and barriers, run across worker processes."""

from __future__ import annotations

from executor.body import NO_VALUE, SKIP, Stream, StreamCancelled
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

__all__ = [
    "NO_VALUE",
    "SKIP",
    "Flow",
    "FlowDefinitionError",
    "FlowError",
    "InvalidFlowError",
    "MissingDefaultError",
    "NodeTemplate",
    "NotSerializableError",
    "Stream",
    "StreamCancelled",
    "node",
    "parameter",
]
