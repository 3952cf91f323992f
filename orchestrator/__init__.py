"""Dataflow for CPU-heavy Python: cyclic graphs, streams and barriers, run across worker processes.

Names are imported when they are first used: ``orchestrator.event_loop`` can be had without the rest, and
a worker loads only what its bodies name.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from executor.body import NO_VALUE, SKIP, Stream, StreamCancelled, UpstreamFailed
    from executor.errors import (
        MemoryLimitExceeded,
        NodeTimeoutError,
        PoisonTask,
        PoolBroken,
        RemoteTraceback,
        WorkerCrashed,
    )
    from executor.pool import Pool
    from executor.process_executor import ProcessExecutor
    from executor.retry import RetryPolicy
    from executor.showing import TaggedPrint
    from executor.surroundings import (
        FlowInfo,
        NodeInfo,
        current_context,
        current_flow,
        current_node,
    )
    from orchestrator.errors import (
        FlowDefinitionError,
        FlowError,
        InvalidFlowError,
        MissingDefaultError,
        NotEnoughResources,
        NotSerializableError,
        SharedPrimitiveError,
        StateNotAvailable,
        TerminalInputError,
    )
    from orchestrator.graph.capture import NodeSharingWarning
    from orchestrator.graph.draft import parameter
    from orchestrator.graph.flow import Flow
    from orchestrator.graph.groups import GroupTemplate, GroupView
    from orchestrator.graph.node import node
    from orchestrator.graph.template import NodeTemplate
    from orchestrator.instruments import FlowInstrument
    from orchestrator.report import NodeReport, RunReport
    from orchestrator.runtime.errors import (
        AccumulationError,
        FlowDeadlockError,
        FlowTimeoutError,
        NodeError,
        NodeOutputError,
        NonDeterministicReplay,
        RemoteError,
        TerminateLimitReached,
        ValueReleased,
    )
    from orchestrator.service.client import CoordinatorClient, connect
    from orchestrator.service.errors import (
        CoordinatorFailed,
        CoordinatorLost,
        FlowCancelled,
        NotOnWorkers,
        RequestRejected,
        VersionMismatch,
    )
    from orchestrator.service.handle import FlowHandle
    from protocol.endpoints import EndpointError, NobodyListens

__all__ = [
    "NO_VALUE",
    "SKIP",
    "AccumulationError",
    "CoordinatorClient",
    "CoordinatorFailed",
    "CoordinatorLost",
    "EndpointError",
    "Flow",
    "FlowCancelled",
    "FlowDeadlockError",
    "FlowDefinitionError",
    "FlowError",
    "FlowHandle",
    "FlowInfo",
    "FlowInstrument",
    "FlowTimeoutError",
    "GroupTemplate",
    "GroupView",
    "InvalidFlowError",
    "MemoryLimitExceeded",
    "MissingDefaultError",
    "NobodyListens",
    "NodeError",
    "NodeInfo",
    "NodeOutputError",
    "NodeReport",
    "NodeSharingWarning",
    "NodeTemplate",
    "NodeTimeoutError",
    "NonDeterministicReplay",
    "NotEnoughResources",
    "NotOnWorkers",
    "NotSerializableError",
    "PoisonTask",
    "Pool",
    "PoolBroken",
    "ProcessExecutor",
    "RemoteError",
    "RemoteTraceback",
    "RequestRejected",
    "RetryPolicy",
    "RunReport",
    "SharedPrimitiveError",
    "StateNotAvailable",
    "Stream",
    "StreamCancelled",
    "TaggedPrint",
    "TerminalInputError",
    "TerminateLimitReached",
    "UpstreamFailed",
    "ValueReleased",
    "VersionMismatch",
    "WorkerCrashed",
    "connect",
    "current_context",
    "current_flow",
    "current_node",
    "node",
    "parameter",
]

_HOMES: Final = {
    "executor.body": ("NO_VALUE", "SKIP", "Stream", "StreamCancelled", "UpstreamFailed"),
    "executor.errors": (
        "MemoryLimitExceeded",
        "NodeTimeoutError",
        "PoisonTask",
        "PoolBroken",
        "RemoteTraceback",
        "WorkerCrashed",
    ),
    "executor.pool": ("Pool",),
    "executor.showing": ("TaggedPrint",),
    "executor.process_executor": ("ProcessExecutor",),
    "executor.surroundings": (
        "FlowInfo",
        "NodeInfo",
        "current_context",
        "current_flow",
        "current_node",
    ),
    "executor.retry": ("RetryPolicy",),
    "orchestrator.errors": (
        "FlowDefinitionError",
        "FlowError",
        "InvalidFlowError",
        "MissingDefaultError",
        "NotEnoughResources",
        "NotSerializableError",
        "SharedPrimitiveError",
        "TerminalInputError",
        "StateNotAvailable",
    ),
    "orchestrator.graph.capture": ("NodeSharingWarning",),
    "orchestrator.graph.draft": ("parameter",),
    "orchestrator.graph.flow": ("Flow",),
    "orchestrator.graph.groups": ("GroupTemplate", "GroupView"),
    "orchestrator.graph.node": ("node",),
    "orchestrator.graph.template": ("NodeTemplate",),
    "orchestrator.instruments": ("FlowInstrument",),
    "orchestrator.report": ("NodeReport", "RunReport"),
    "orchestrator.runtime.errors": (
        "AccumulationError",
        "FlowDeadlockError",
        "FlowTimeoutError",
        "NodeError",
        "NodeOutputError",
        "NonDeterministicReplay",
        "RemoteError",
        "TerminateLimitReached",
        "ValueReleased",
    ),
    "orchestrator.service.client": ("CoordinatorClient", "connect"),
    "orchestrator.service.handle": ("FlowHandle",),
    "orchestrator.service.errors": (
        "CoordinatorFailed",
        "CoordinatorLost",
        "FlowCancelled",
        "NotOnWorkers",
        "RequestRejected",
        "VersionMismatch",
    ),
    "protocol.endpoints": ("EndpointError", "NobodyListens"),
}
_HOME_OF: Final = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
