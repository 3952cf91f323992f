"""The flows that have ended, remembered for a while."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from orchestrator.service.audience import End
from protocol.client_messages import RunStatus
from protocol.messages import RunId

REMEMBERED: Final = 100
"""So many are listed."""

ENDS_BYTES: Final = 64 << 20
"""So much of how they ended is kept for those who ask for it."""


@dataclass(slots=True)
class _Ended:
    status: RunStatus
    end: End | None


class EndedFlows:
    """The last ones; of the newest of them also all that their clients were told at the end."""

    def __init__(self) -> None:
        self._ended: OrderedDict[RunId, _Ended] = OrderedDict()
        self._ends_bytes = 0

    def add(self, status: RunStatus, end: End) -> None:
        self._ended[status.run] = _Ended(status, end)
        self._ends_bytes += end.size_bytes
        if len(self._ended) > REMEMBERED:
            _, oldest = self._ended.popitem(last=False)
            self._forget_end(oldest)
        for each in self._ended.values():
            if self._ends_bytes <= ENDS_BYTES:
                break
            self._forget_end(each)

    def statuses(self) -> list[RunStatus]:
        """Oldest first."""
        return [each.status for each in self._ended.values()]

    def status_of(self, run: RunId) -> RunStatus | None:
        """None if it is not known, or not any more."""
        known = self._ended.get(run)
        return None if known is None else known.status

    def end_of(self, run: RunId) -> End | None:
        """None if it is not known, or not any more."""
        known = self._ended.get(run)
        return None if known is None else known.end

    def _forget_end(self, ended: _Ended) -> None:
        if ended.end is not None:
            self._ends_bytes -= ended.end.size_bytes
            ended.end = None
