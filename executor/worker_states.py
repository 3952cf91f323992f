"""A worker process as its pool sees it, and the states it may be in."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from executor.lease import Lease
from executor.placement import Load
from protocol.messages import AttemptKey, Digest

if TYPE_CHECKING:
    from executor.revocation import Revocation


class WorkerState(enum.Enum):
    STARTING = "starting"
    READY = "ready"
    RETIRING = "retiring"  # it gets nothing new, and is drained when it has nothing left
    DRAINING = "draining"
    KILLED = "killed"
    EXITED = "exited"


class WorkerEvent(enum.Enum):
    HELLO = "hello"
    RETIRE = "retire"
    DRAIN = "drain"
    KILL = "kill"
    EXIT = "exit"


_S: Final = WorkerState
_E: Final = WorkerEvent

# Every transition is here; nothing else assigns a WorkerState.
TRANSITIONS: Final = MappingProxyType(
    {
        (_S.STARTING, _E.HELLO): _S.READY,
        (_S.STARTING, _E.KILL): _S.KILLED,
        (_S.STARTING, _E.EXIT): _S.EXITED,
        (_S.READY, _E.RETIRE): _S.RETIRING,
        (_S.READY, _E.DRAIN): _S.DRAINING,
        (_S.READY, _E.KILL): _S.KILLED,
        (_S.READY, _E.EXIT): _S.EXITED,
        (_S.RETIRING, _E.DRAIN): _S.DRAINING,
        (_S.RETIRING, _E.KILL): _S.KILLED,
        (_S.RETIRING, _E.EXIT): _S.EXITED,
        (_S.DRAINING, _E.KILL): _S.KILLED,
        (_S.DRAINING, _E.EXIT): _S.EXITED,
        # It said Hello before the signal came.
        (_S.KILLED, _E.HELLO): _S.KILLED,
        (_S.KILLED, _E.KILL): _S.KILLED,
        (_S.KILLED, _E.EXIT): _S.EXITED,
    }
)


@dataclass(slots=True)
class WorkerRecord:
    """One worker. ``deadline``: by when it must have left the state that it is in."""

    id: int
    deadline: float
    site: int = 0  # where it was started: by the pool itself, or by an agent that joined
    pid: int = 0
    state: WorkerState = WorkerState.STARTING
    was_ready: bool = False
    is_late: bool = False  # it has not said Hello in time
    invoked: int = 0
    claiming: int = 0  # how many of its leases claim resources
    is_worn: bool = False  # to be replaced when it has nothing to do
    stopped_since: float = math.inf  # by a signal
    large_codes: set[Digest] = field(default_factory=set)  # that it was sent
    leases: dict[AttemptKey, Lease] = field(default_factory=dict)
    last_ended: Lease | None = None
    left_running: dict[int, Lease] = field(default_factory=dict)  # pids of what bodies started there
    load: Load = field(default_factory=Load)
    revocation: Revocation | None = None  # what it was asked to give back

    @property
    def is_open(self) -> bool:
        """Whether it may be given work."""
        return (
            self.state is _S.READY
            and not self.is_worn
            and self.stopped_since == math.inf
            and self.revocation is None
        )

    @property
    def is_plainly_busy(self) -> bool:
        """Whether its processor is used by bodies that claim nothing more."""
        return self.load.active > self.claiming

    @property
    def needs_examination(self) -> bool:
        """Whether it does something, or cannot because it is stopped."""
        return self.load.active > 0 or self.stopped_since < math.inf

    def move(self, event: WorkerEvent, deadline: float = math.inf) -> None:
        self.state = TRANSITIONS[self.state, event]
        self.deadline = deadline

    def lease_numbered(self, number: int) -> Lease | None:
        """The lease of the attempt that has this number in the page."""
        if number == 0:
            return None
        return next((lease for lease in self.leases.values() if lease.number == number), None)
