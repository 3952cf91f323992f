"""The state of a node that is a class, from one run of it to the next (SEMANTICS 37 and 16.1).

Theory of operation. A host makes the node's instance and keeps it while the flow runs; with each result
it reports what the run has left of the state, and both are committed together. The next attempt goes
on with that instance if its host still has it. After an attempt that failed, and on any other host, it
starts from the committed state.

    enter -> begin -+-> commit -> begin ...      (the host goes on with its instance)
                    +-> drop ---> begin ...      (from the committed state)
    leave: what is committed stays, for the next run of the flow
"""

from __future__ import annotations

from collections.abc import Callable

from executor.host import Start
from protocol.values import Value, size_bytes


class NodeState:
    """One node's state. ``committed``: after its last completed run, None if there was none.

    ``changes`` are the attributes that the user has set since; ``in_use``: the flow is running.
    ``written_bytes``: what was committed in this run of the flow, all together.
    """

    __slots__ = ("_encoded", "_is_held", "changes", "committed", "in_use", "written_bytes")

    def __init__(self) -> None:
        self.committed: Value | None = None
        self.changes: dict[str, object] = {}
        self.in_use = False
        self.written_bytes = 0
        self._encoded: Value | None = None
        self._is_held = False

    @classmethod
    def of(cls, start: Start) -> NodeState:
        """The state of a node of somebody else's, for one run."""
        state = cls()
        state.committed, state._encoded = start.state, start.changes
        return state

    def enter(self, encode: Callable[[object], Value]) -> None:
        """A run of the flow begins; ``encode`` makes a value of the changes.

        Raises:
            Exception: as ``encode`` does; the flow is then not running.
        """
        self._encoded = encode(dict(self.changes)) if self.changes else None
        self._is_held = False
        self.written_bytes = 0
        self.in_use = True

    def leave(self) -> None:
        """The run of the flow has ended."""
        self.in_use = False

    def begin(self) -> tuple[Start | None, bool]:
        """What the node's next attempt starts from, and whether its host may go on with what it has."""
        resumes, self._is_held = self._is_held, True
        if self.committed is None and self._encoded is None:
            return None, resumes
        return Start(self.committed, self._encoded), resumes

    def commit(self, state: Value | None) -> None:
        """A run is complete; ``state`` is None where it stays with the host."""
        if state is not None:
            self.committed = state
            self.written_bytes += size_bytes(state)
        if self.changes:
            self.changes.clear()
            self._encoded = None

    def drop(self) -> None:
        """What the host holds is not what was committed."""
        self._is_held = False
