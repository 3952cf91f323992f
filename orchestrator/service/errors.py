"""What can go wrong between a client and a coordinator that runs as a service.

Every error's ``args`` are its fields, so that it crosses processes whole.
"""

from __future__ import annotations

import sys

from orchestrator.errors import FlowError, InvalidFlowError


class ServiceError(FlowError):
    """Base of the errors about a coordinator in another process."""


class SystemNotSupported(ServiceError, RuntimeError):  # noqa: N818 - says what happened
    """This system lacks what a coordinator in another process, its clients and workers are made with."""

    def __init__(self, system: str) -> None:
        super().__init__(system)
        self.system = system

    def __str__(self) -> str:
        return (
            f"coordinators in processes of their own need Linux, and this is {self.system}; "
            "here flows run with workers=0"
        )


def require_linux() -> None:
    """Refuse other systems.

    Raises:
        SystemNotSupported: this is one.
    """
    if sys.platform != "linux":
        raise SystemNotSupported(sys.platform)


class VersionMismatch(ServiceError):  # noqa: N818 - its name is in the documentation
    """The coordinator is of another version, or runs another Python."""

    def __init__(self, endpoint: str, pid: int, ours: str, theirs: str) -> None:
        super().__init__(endpoint, pid, ours, theirs)
        self.endpoint, self.pid, self.ours, self.theirs = self.args

    def __str__(self) -> str:
        return (
            f"the coordinator on {self.endpoint} (pid {self.pid}) is of another version: it has "
            f"{self.theirs}, and this process has {self.ours}; use one environment for both "
            f"(kill {self.pid} ends that coordinator in order)"
        )


class CoordinatorLost(ServiceError, ConnectionError):  # noqa: N818 - as above
    """The coordinator ended, or does not speak our protocol; what it ran is given up."""

    def __init__(self, endpoint: str, pid: int, why: str) -> None:
        super().__init__(endpoint, pid, why)
        self.endpoint = endpoint
        self.pid = pid
        self.why = why

    def __str__(self) -> str:
        return f"the coordinator on {self.endpoint} (pid {self.pid}) {self.why}"


class RequestRejected(ServiceError):  # noqa: N818 - as above
    """The coordinator does not do what it was asked; ``reason`` is its word."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return str(self.reason)


class FlowCancelled(ServiceError):  # noqa: N818 - as above
    """The flow was given up before its end."""

    def __init__(self, run: int, label: str) -> None:
        super().__init__(run, label)
        self.run, self.label = self.args

    def __str__(self) -> str:
        return f"run {self.run} ({self.label}) was cancelled"


class CoordinatorFailed(ServiceError):  # noqa: N818 - as above
    """A defect of the coordinator's, or its broken pool, ended the flow."""

    def __init__(self, run: int, label: str, detail: str) -> None:
        super().__init__(run, label, detail)
        self.run, self.label, self.detail = self.args

    def __str__(self) -> str:
        return f"run {self.run} ({self.label}) was ended by the coordinator: {self.detail}"


class AgentFailed(ServiceError):  # noqa: N818 - as above
    """A process that brought workers cannot go on; its workers have ended."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return str(self.reason)


class InstrumentNotSupported(ServiceError):  # noqa: N818 - as above
    """A flow instrument is installed in a process that does not run the flow itself."""

    def __init__(self, instrument: str, endpoint: str) -> None:
        super().__init__(instrument, endpoint)
        self.instrument, self.endpoint = self.args

    def __str__(self) -> str:
        return (
            f"the flow instrument {self.instrument} would hear nothing: it is called between the steps "
            f"of a run, by the process that runs it, and that is the coordinator on {self.endpoint}, "
            "which runs no code of yours. Use flow.run() for this flow, or leave the instrument's block "
            "and watch handle.progress and handle.on_progress"
        )


class ContextFactoryNotSent(InvalidFlowError):  # noqa: N818 - as above
    """``context_factory`` does not pickle; ``reason`` is the serializer's word."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"context_factory cannot be sent to the workers: {self.reason}. The workers of a "
            "coordinator in a process of its own call it themselves, so it must pickle; what it makes "
            "need not"
        )


class NotOnWorkers(InvalidFlowError):  # noqa: N818 - as above
    """Nodes ask to run in the coordinator, which runs no user code when it is a service."""

    def __init__(self, nodes: tuple[tuple[str, str, str], ...]) -> None:
        super().__init__(nodes)
        self.nodes = nodes
        """Name, placement and place of each."""

    def __str__(self) -> str:
        listed = ", ".join(f"{name!r} ({place}, {placement})" for name, placement, place in self.nodes)
        return (
            "a coordinator in a process of its own runs no code of yours, so every node must run in a "
            f'worker; remove the placement of {listed}, or run the flow without "--connect"'
        )
