"""Every error of ours crosses processes whole: its fields are its ``args``, its text a sentence."""

from __future__ import annotations

import pickle

import pytest

from executor.errors import RemoteTraceback
from executor.scheduling import Shortage
from orchestrator.errors import (
    FlowDefinitionError,
    MissingDefaultError,
    MissingDefaults,
    NotEnoughResources,
    NotSerializableError,
    StateNotAvailable,
)
from orchestrator.runtime.errors import (
    AccumulationError,
    FlowDeadlockError,
    FlowTimeoutError,
    NodeError,
    NodeOutputError,
    RemoteError,
    TerminateLimitReached,
    ValueReleased,
)
from orchestrator.service.errors import (
    AgentFailed,
    ContextFactoryNotSent,
    CoordinatorFailed,
    CoordinatorLost,
    FlowCancelled,
    InstrumentNotSupported,
    NotOnWorkers,
    RequestRejected,
    SystemNotSupported,
    VersionMismatch,
)

ERRORS: list[tuple[Exception, str]] = [
    (FlowDefinitionError(("'a' is not connected",)), "'a' is not connected"),
    (
        NotEnoughResources("a", "x.py:3", (Shortage("memory", 3 << 30, 1 << 30),)),
        "memory=3 GiB, and the pool has memory=1 GiB. Ask for less, or give the pool more: Pool(",
    ),
    (NotSerializableError("the constant", "a lock"), 'placement="inline"'),
    (MissingDefaultError((MissingDefaults("a#0", "f.py:1", ("def a(x):", "      -")),), 1), "a#0"),
    (StateNotAvailable("'a'", "x", "it is resident"), "'x' of node 'a' cannot be read: it is"),
    (NodeError("a", "f.py:1", 3, "its result cannot be pickled", "x['y']"), "node 'a' (f.py:1), run 3"),
    (NodeOutputError("a", "f.py:1", 3, "does not fit", "it returned int"), "does not fit: it returned"),
    (AccumulationError("a", "b", "x", "int and str"), "accumulate=list"),
    (FlowDeadlockError(("'a' waits",), ("'a' waits",)), "form a cycle"),
    (FlowDeadlockError(("'a' waits",), ()), "wait for one another"),
    (TerminateLimitReached("a", (1, 2)), "a reached generation (1, 2)"),
    (FlowTimeoutError(1.5, ("a", "b")), "within 1.5 s; nodes still running: a, b"),
    (FlowTimeoutError(1.5, ("a",) * 21 + ("b",)), f"running: {'a, ' * 20}… and 2 more"),
    (FlowDeadlockError(("'a' waits",) * 25, ()), "… and 5 more"),
    (ValueReleased("a", 70_000), "keep=True"),
    (RemoteError("ValueError", "x"), "ValueError: x"),
    (RemoteTraceback("Traceback"), "Traceback"),
    (VersionMismatch("ipc://x", 7, "a", "b"), "it has b, and this process has a"),
    (CoordinatorLost("ipc://x", 7, "has ended"), "ipc://x (pid 7) has ended"),
    (SystemNotSupported("darwin"), "need Linux, and this is darwin"),
    (RequestRejected("there is no run 3"), "there is no run 3"),
    (FlowCancelled(3, "job.py"), "run 3 (job.py) was cancelled"),
    (
        CoordinatorFailed(3, "job.py", "a defect"),
        "was ended by the coordinator: a defect",
    ),
    (AgentFailed("no worker comes up"), "no worker comes up"),
    (InstrumentNotSupported("Tracer", "ipc://x"), "instrument Tracer would hear nothing"),
    (ContextFactoryNotSent("it holds a lock"), "workers: it holds a lock. The workers"),
    (NotOnWorkers((("a", "placement='inline'", "f.py:1"),)), "'a' (f.py:1, placement='inline')"),
]


@pytest.mark.parametrize(("error", "text"), ERRORS, ids=lambda value: type(value).__name__)
def test_an_error_says_what_happened_and_survives_a_pickle(error: Exception, text: str) -> None:
    assert text in str(error)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert copy.args == error.args
