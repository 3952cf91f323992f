"""What may be wrong with a flow, each error with the places to look at and what to change.

Every error's ``args`` are its fields, so that it crosses processes whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from executor.scheduling import Shortage


class FlowError(Exception):
    """Base of all errors that are ours and not a node's own."""


class InvalidFlowError(FlowError):
    """The flow as it is written cannot be run. Raised before any body has started."""


class NotEnoughResources(InvalidFlowError):  # noqa: N818 - says what happened
    """A node asks for more of a resource than the pool has; ``shortages`` says of which."""

    def __init__(self, node: str, place: str, shortages: tuple[Shortage, ...]) -> None:
        super().__init__(node, place, shortages)
        self.node = node
        self.place = place
        self.shortages = shortages

    def __str__(self) -> str:
        lacks = "; it ".join(map(str, self.shortages))
        more = ", and ".join(shortage.remedy for shortage in self.shortages)
        return f"node {self.node!r} ({self.place}) {lacks}. Ask for less, or give the pool {more}"


class FlowDefinitionError(InvalidFlowError, AttributeError):
    """Nodes are connected wrongly; ``problems`` holds a sentence for each mistake found.

    It is an AttributeError because most of these mistakes are names that stand for nothing.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return self.problems[0]
        problems = [f"  - {problem}" for problem in first_of(self.problems)]
        return "\n".join([f"the flow has {len(self.problems)} mistakes:", *problems])


MOST_SHOWN: Final = 20
"""A message lists so many things of a kind; the fields of the error hold all."""


def first_of(things: Sequence[str]) -> list[str]:
    """What a message shows of them: the first, and how many more there are."""
    more = len(things) - MOST_SHOWN
    return [*things[:MOST_SHOWN], f"… and {more} more"] if more > 0 else list(things)


class NotSerializableError(InvalidFlowError, TypeError):
    """A value or a node's code has to go to a worker and cannot be pickled.

    ``subject`` says which value of which node, with its place; ``reason`` is the serializer's word.
    """

    def __init__(self, subject: str, reason: str) -> None:
        super().__init__(subject, reason)
        self.subject = subject
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"{self.subject} cannot be sent to a worker: {self.reason}. Make it picklable, "
            'or let the node run here: @node(placement="inline"), or workers=0'
        )


class SharedPrimitiveError(InvalidFlowError, TypeError):
    """A lock, a queue or the like has to go to a worker, but reaches no other process.

    ``subject`` says which variable or value of which node, with its place.
    """

    def __init__(self, subject: str, kind: str) -> None:
        super().__init__(subject, kind)
        self.subject = subject
        self.kind = kind

    def __str__(self) -> str:
        return (
            f"{self.subject} is a {self.kind}. It cannot be shared by nodes in several processes: let "
            "them exchange values and streams, or let each node that uses it run here: "
            '@node(placement="inline"), or workers=0'
        )


class TerminalInputError(InvalidFlowError):
    """A node reads from the terminal, but is to run in a worker, which has none."""

    def __init__(self, node: str, reads: str, place: str) -> None:
        super().__init__(node, reads, place)
        self.node = node
        self.reads = reads
        self.place = place

    def __str__(self) -> str:
        return (
            f"node {self.node} reads {self.reads} at {self.place}, but a worker has no terminal; "
            'let the node run here: @node(placement="inline"), or workers=0'
        )


class StateNotAvailable(FlowError, AttributeError):  # noqa: N818 - says what happened
    """An attribute of a node's state cannot be read here, or not yet."""

    def __init__(self, node: str, attribute: str, reason: str) -> None:
        super().__init__(node, attribute, reason)
        self.node = node
        self.attribute = attribute
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.attribute!r} of node {self.node} cannot be read: {self.reason}"


@dataclass(frozen=True, slots=True)
class MissingDefaults:
    """A node that could begin a cycle if the underlined parameters had defaults.

    ``signature`` holds the lines of its signature, the last one of dashes.
    """

    node: str
    place: str
    signature: tuple[str, ...]

    def describe(self) -> str:
        return "\n".join(
            f"  {line}"
            for line in (
                f"{self.node} must have defaults for EACH/ALL the underlined parameters:",
                f"Defined at {self.place}",
                "Full Signature:",
                *self.signature,
            )
        )


class MissingDefaultError(InvalidFlowError):
    """A cycle that no node can begin, because none has defaults for all that the cycle feeds it.

    ``nodes`` holds the members of the cycle, any of which could begin it; ``parameters`` is the number
    of underlined parameters.
    """

    def __init__(self, nodes: tuple[MissingDefaults, ...], parameters: int) -> None:
        super().__init__(nodes, parameters)
        self.nodes = nodes
        self.parameters = parameters

    def __str__(self) -> str:
        blocks = "\nOR\n".join(node.describe() for node in self.nodes)
        if self.parameters == 1:
            return blocks
        return (
            "Detected a cycle without default values. You must add defaults to the indicated "
            f"arguments for at least ONE of the following nodes:\n{blocks}"
        )
