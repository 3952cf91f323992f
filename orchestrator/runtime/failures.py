"""The nodes that failed in a run that goes on without them (rule 67)."""

from __future__ import annotations

from executor.body import UpstreamFailed
from executor.host import Broken
from orchestrator.runtime.outcome import Done, Failed, Failure, LimitReached, NodeFailed, Outcome
from orchestrator.runtime.state import Node
from protocol import messages


class Failures:
    """What failed, in order, and what could not run because of it."""

    def __init__(self) -> None:
        self._failures: list[Failure] = []
        self._unreached: list[str] = []
        self._broken: dict[int, Broken] = {}  # by node

    def note(self, node: Node, failure: Failure, *, has_broken_input: bool) -> None:
        """A node's run has failed; it is not to blame if it met the end of a broken stream."""
        cause = failure.cause if isinstance(failure, NodeFailed) else None
        reason = messages.Failure(node.name, _sentence(failure))
        self._broken[node.index] = Broken(reason, cause)
        if has_broken_input and _is_passed_on(failure):
            self._unreached.append(node.name)
        else:
            self._failures.append(failure)

    def note_unreached(self, node: Node) -> None:
        """A node cannot run because something that it reads has failed."""
        self._unreached.append(node.name)
        reason = messages.Failure(node.name, "it needs a node that failed")
        self._broken[node.index] = Broken(reason, None)

    def broken_by(self, node: Node) -> Broken:
        """What readers of the failed node's stream are told."""
        return self._broken[node.index]

    def instead_of(self, outcome: Outcome) -> Outcome:
        """How the run ends that would otherwise have ended well."""
        if self._failures and isinstance(outcome, Done | LimitReached):
            return Failed(tuple(self._failures), tuple(self._unreached))
        return outcome


def _is_passed_on(failure: Failure) -> bool:
    return isinstance(failure, NodeFailed) and failure.error.type_name == UpstreamFailed.__name__


def _sentence(failure: Failure) -> str:
    match failure:
        case NodeFailed():
            error = failure.error
            return f"{error.type_name}: {error.message}" if error.message else error.type_name
        case _:
            return type(failure).__name__
