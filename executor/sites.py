"""Where a pool's workers are started: by the pool itself, and by agents that join and leave."""

from __future__ import annotations

from typing import Final

from executor.starting import Starts

LOCAL: Final = 0
"""The site of the workers that the pool starts itself."""


class Sites:
    """How many workers each site is to have, and the rows of starts that failed there."""

    def __init__(self, local: int) -> None:
        self.sizes: dict[int, int] = {LOCAL: local}
        self.leaving: dict[int, bool] = {}
        """Sites that get no more workers but still have some; True: because none came up."""
        self.local_starts = Starts()
        self._starts_elsewhere: dict[int, Starts] = {}
        self._joined = LOCAL

    @property
    def size(self) -> int:
        """How many workers there are to be in all."""
        return sum(self.sizes.values())

    @property
    def is_broken(self) -> bool:
        """Whether the pool's own workers do not come up."""
        return self.local_starts.are_hopeless

    def join(self, size: int) -> int:
        self._joined += 1
        self.sizes[self._joined] = size
        return self._joined

    def leave(self, site: int, *, failed: bool = False) -> None:
        if self.sizes.pop(site, None) is not None:
            self.leaving[site] = failed
            self._starts_elsewhere.pop(site, None)

    def start_succeeded(self, site: int) -> None:
        if site == LOCAL:
            self.local_starts.succeeded()
        elif site in self._starts_elsewhere:
            self._starts_elsewhere[site].succeeded()

    def start_failed(self, site: int, status: int | None, output: tuple[str, ...], now: float) -> None:
        """If the starts there are hopeless now, that is the end of the site."""
        if site == LOCAL:
            self.local_starts.failed(status, output, now)
        elif site in self.sizes:  # otherwise it leaves
            starts = self._starts_elsewhere.setdefault(site, Starts())
            starts.failed(status, output, now)
            if starts.are_hopeless:
                self.leave(site, failed=True)
