"""What a peer can do wrong."""

from __future__ import annotations


class ProtocolError(Exception):
    """A peer sent what it never should; its session cannot go on."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"protocol error: {self.problem}"


class MissingEnvelopes(ProtocolError):  # noqa: N818 - what it tells of is no fault of the peer's code
    """Envelopes between two that came are lost: whoever can has to ask for them on a new connection."""

    def __init__(self, number: int, received: int) -> None:
        super().__init__(f"envelope {number} came after envelope {received}")
        self.args = (number, received)
