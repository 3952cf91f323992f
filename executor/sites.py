"""Where a pool's workers are started: by the pool itself, and by agents that join and leave."""

from __future__ import annotations

from typing import Final

FAILED_STARTS_LIMIT: Final = 3
LOCAL: Final = 0
"""The site of the workers that the pool starts itself."""


class Sites:
    """How many workers each site is to have, and the rows of starts that failed there."""

    def __init__(self, local: int) -> None:
        self.sizes: dict[int, int] = {LOCAL: local}
        self.leaving: dict[int, bool] = {}
        """Sites that get no more workers but still have some; True: because none came up."""
        self.failed_starts: list[int | None] = []  # in a row, how they ended; of the local site
        self._failed_elsewhere: dict[int, int] = {}
        self._joined = LOCAL

    @property
    def size(self) -> int:
        """How many workers there are to be in all."""
        return sum(self.sizes.values())

    @property
    def is_broken(self) -> bool:
        """Whether the pool's own workers do not come up."""
        return len(self.failed_starts) >= FAILED_STARTS_LIMIT

    def join(self, size: int) -> int:
        self._joined += 1
        self.sizes[self._joined] = size
        return self._joined

    def leave(self, site: int, *, failed: bool = False) -> None:
        if self.sizes.pop(site, None) is not None:
            self.leaving[site] = failed
            self._failed_elsewhere.pop(site, None)

    def start_succeeded(self, site: int) -> None:
        if site == LOCAL:
            self.failed_starts.clear()
        else:
            self._failed_elsewhere.pop(site, None)

    def start_failed(self, site: int, status: int | None) -> None:
        """Three in a row end the site."""
        if site == LOCAL:
            self.failed_starts.append(status)
            return
        if site not in self.sizes:  # it leaves
            return
        failed = self._failed_elsewhere[site] = self._failed_elsewhere.get(site, 0) + 1
        if failed >= FAILED_STARTS_LIMIT:
            self.leave(site, failed=True)
