"""The states of a worker process, as its pool sees it."""

from __future__ import annotations

import enum
from types import MappingProxyType
from typing import Final


class WorkerState(enum.Enum):
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    KILLED = "killed"
    EXITED = "exited"


class WorkerEvent(enum.Enum):
    HELLO = "hello"
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
        (_S.READY, _E.DRAIN): _S.DRAINING,
        (_S.READY, _E.KILL): _S.KILLED,
        (_S.READY, _E.EXIT): _S.EXITED,
        (_S.DRAINING, _E.KILL): _S.KILLED,
        (_S.DRAINING, _E.EXIT): _S.EXITED,
        # It said Hello before the signal came.
        (_S.KILLED, _E.HELLO): _S.KILLED,
        (_S.KILLED, _E.KILL): _S.KILLED,
        (_S.KILLED, _E.EXIT): _S.EXITED,
    }
)
