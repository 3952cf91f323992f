"""When a pool stops trying to start workers: a restart intensity, as supervisors have it (FAULTS F9)."""

from __future__ import annotations

from collections import deque
from typing import Final

IN_A_ROW: Final = 3
IN_A_WHILE: Final = 6
WHILE_S: Final = 10.0


class Starts:
    """The workers that ended before they were ready."""

    def __init__(self) -> None:
        self.statuses: list[int | None] = []
        """How those ended that count now, oldest first."""
        self.output: tuple[str, ...] = ()
        """What the last one printed."""
        self._in_a_row = 0
        self._times: deque[float] = deque()

    def failed(self, status: int | None, output: tuple[str, ...], now: float) -> None:
        self._in_a_row += 1
        self._times.append(now)
        while self._times[0] < now - WHILE_S and len(self._times) > self._in_a_row:
            self._times.popleft()
        self.statuses = [*self.statuses, status][-len(self._times) :]
        self.output = output or self.output

    def succeeded(self) -> None:
        self._in_a_row = 0

    @property
    def are_hopeless(self) -> bool:
        """Three in a row have failed, or more than five within ten seconds."""
        return self._in_a_row >= IN_A_ROW or len(self._times) >= IN_A_WHILE
