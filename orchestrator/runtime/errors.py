"""What a flow run raises when it does not end well."""

from __future__ import annotations

from orchestrator.errors import FlowError, first_of


class NodeError(FlowError):
    """A node could not be run, or what it gave could not be used; ``detail`` says why."""

    def __init__(self, node: str, place: str, generation: int, what: str, detail: str) -> None:
        super().__init__(node, place, generation, what, detail)
        self.node, self.place, self.generation, self.what, self.detail = self.args

    def __str__(self) -> str:
        return f"node {self.node!r} ({self.place}), run {self.generation}: {self.what}: {self.detail}"


class NodeOutputError(NodeError, ValueError):
    """What a node gave does not fit its outputs (SEMANTICS 43)."""


class AccumulationError(FlowError):
    """A generator has no final value, but another node reads it (SEMANTICS 44)."""

    def __init__(self, node: str, consumer: str, port: str, reason: str) -> None:
        super().__init__(node, consumer, port, reason)
        self.node, self.consumer, self.port, self.reason = self.args

    def __str__(self) -> str:
        return (
            f"node {self.node!r} has no final value, but {self.consumer!r} reads it as "
            f"{self.port!r}: {self.reason}. Set it with 'return value' or "
            "'raise StopAsyncIteration(value)', give the node accumulate=list, "
            "or read its stream by annotating the parameter Stream[...]"
        )


class FlowDeadlockError(FlowError):
    """Nodes wait for one another and no wait can end (SEMANTICS 65)."""

    def __init__(self, waits: tuple[str, ...], cycle: tuple[str, ...]) -> None:
        super().__init__(waits, cycle)
        self.waits, self.cycle = self.args

    def __str__(self) -> str:
        lines = ["the flow cannot go on; nodes wait for one another:"]
        if self.cycle:
            lines = ["the flow cannot go on; these waits form a cycle:", *self._list(self.cycle)]
            lines.append("all waits:")
        return "\n".join([*lines, *self._list(self.waits)])

    @staticmethod
    def _list(sentences: tuple[str, ...]) -> list[str]:
        return [f"  - {sentence}" for sentence in first_of(sentences)]


class TerminateLimitReached(FlowError):  # noqa: N818 - its name is the contract
    """A node emitted the generation at which the run was to stop."""

    def __init__(self, node: str, generation: tuple[int, ...]) -> None:
        super().__init__(node, generation)
        self.node, self.generation = self.args

    def __str__(self) -> str:
        return f"stopped: {self.node} reached generation {self.generation}"


class FlowTimeoutError(FlowError, TimeoutError):
    """The run took longer than ``timeout_s``; what was still going on was given up."""

    def __init__(self, timeout_s: float, unfinished: tuple[str, ...]) -> None:
        super().__init__(timeout_s, unfinished)
        self.timeout_s, self.unfinished = self.args

    def __str__(self) -> str:
        nodes = ", ".join(first_of(self.unfinished)) or "none"
        return f"the flow did not end within {self.timeout_s:g} s; nodes still running: {nodes}"


class ValueReleased(FlowError):  # noqa: N818 - says what happened, as KeyError does not
    """A final value was let go once its readers had it."""

    def __init__(self, node: str, size_bytes: int) -> None:
        super().__init__(node, size_bytes)
        self.node, self.size_bytes = self.args

    def __str__(self) -> str:
        return (
            f"the final value of node {self.node!r} ({self.size_bytes} bytes) was released when its "
            "readers had it; give the node keep=True to read it after the run"
        )


class NonDeterministicReplay(FlowError):  # noqa: N818 - says what happened
    """A generator had to run again, and did not yield what its readers had had already."""

    def __init__(self, node: str, generation: int, attempt: int, chunk: int) -> None:
        super().__init__(node, generation, attempt, chunk)
        self.node, self.generation, self.attempt, self.chunk = self.args

    def __str__(self) -> str:
        return (
            f"node {self.node!r}, run {self.generation}, attempt {self.attempt}: the body had to run "
            f"again, and its chunk {self.chunk} is not what it was the first time, when readers had it. "
            "Make the body depend on its inputs alone (not on time, chance or outside state), or give "
            "the node retries=0, so that the loss of a worker is an error at once"
        )


class SpillError(FlowError):
    """Values have to be put on the disk, and it is full; ``reason`` says how."""

    def __init__(self, directory: str, reason: str) -> None:
        super().__init__(directory, reason)
        self.directory, self.reason = self.args

    def __str__(self) -> str:
        return (
            f"what waits for its reader cannot be put into {self.directory!r}: {self.reason}. Make room "
            "there, let TMPDIR name another directory, or let the reader take its streams in turns"
        )


class RemoteError(FlowError):
    """Stands for an exception that could not be brought over from the worker it was raised in."""

    def __init__(self, type_name: str, message: str) -> None:
        super().__init__(type_name, message)
        self.type_name, self.message = self.args

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message}" if self.message else str(self.type_name)
