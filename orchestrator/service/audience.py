"""Who is told what happens to a flow, and what each has been told already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from executor.output import Printed as Output
from orchestrator.service.session import Client
from protocol.client_messages import Finished, NodeProgress, Printed, Progress
from protocol.messages import RunId
from protocol.values import Value, size_bytes


@dataclass(frozen=True, slots=True)
class End:
    """How a flow ended, as it is told: plain data, and exceptions of nodes, which nobody opens here."""

    outcome: bytes
    report: bytes
    causes: Sequence[Value]

    @property
    def size_bytes(self) -> int:
        return len(self.outcome) + len(self.report) + sum(map(size_bytes, self.causes))

    def tell(self, client: Client, run: RunId) -> None:
        attached = list(map(client.session.attach, self.causes))
        client.write(Finished(run, self.outcome, self.report, attached))


@dataclass(eq=False, slots=True)
class _Follower:
    client: Client
    shown: dict[int, NodeProgress] = field(default_factory=dict)
    dropped_bytes: int = 0  # of output that it was not told


class Audience:
    """The clients that follow one flow. Who does not keep up misses output and steps of progress."""

    def __init__(self, run: RunId) -> None:
        self._run = run
        self._followers: dict[Client, _Follower] = {}

    def __bool__(self) -> bool:
        return bool(self._followers)

    def admit(self, client: Client) -> None:
        """It is told all progress until now, and from now on what comes."""
        self._followers.setdefault(client, _Follower(client))

    def dismiss(self, client: Client) -> None:
        self._followers.pop(client, None)

    def tell_progress(self, nodes: Mapping[int, NodeProgress], *, is_last: bool = False) -> bool:
        """Tell what has changed; False if it is to be told again, to somebody who did not keep up."""
        everybody = True
        for follower in self._followers.values():
            if follower.client.is_behind and not is_last:
                everybody = False
                continue
            changed = {index: node for index, node in nodes.items() if follower.shown.get(index) != node}
            if changed:
                follower.shown.update(changed)
                follower.client.write(Progress(self._run, changed))
        return everybody

    def tell_output(self, output: Output) -> None:
        for follower in self._followers.values():
            if follower.client.is_behind:
                follower.dropped_bytes += len(output.data)
            else:
                self._note_dropped(follower)
                descriptor = 2 if output.is_error else 1
                follower.client.write(
                    Printed(self._run, descriptor, output.data, output.key, output.node)
                )

    def tell_end(self, end: End) -> None:
        """Nothing is told after it."""
        for follower in self._followers.values():
            self._note_dropped(follower)
            end.tell(follower.client, self._run)
        self._followers.clear()

    def _note_dropped(self, follower: _Follower) -> None:
        if follower.dropped_bytes:
            note = f"[{follower.dropped_bytes} bytes of output were left out: they came too fast]\n"
            follower.client.write(Printed(self._run, 2, note.encode()))
            follower.dropped_bytes = 0
