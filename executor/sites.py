"""Where a pool's workers are started: by the pool itself, and by agents that join and leave."""

from __future__ import annotations

from typing import Final

from executor.scheduling import Totals
from executor.starting import Starts

LOCAL: Final = 0
"""The site of the workers that the pool starts itself."""


class Sites:
    """How many workers each site is to have, what else it brings, and the starts that failed there."""

    def __init__(self, local: int, resources: Totals) -> None:
        self.sizes: dict[int, int] = {LOCAL: local}
        self.totals: dict[str, float] = dict(resources)
        """The resources of all sites that have not left; always the same object."""
        self._resources: dict[int, Totals] = {LOCAL: resources}
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

    def join(self, size: int, resources: Totals) -> int:
        self._joined += 1
        self.sizes[self._joined] = size
        self._resources[self._joined] = resources
        self._sum_up()
        return self._joined

    def leave(self, site: int, *, failed: bool = False) -> None:
        if self.sizes.pop(site, None) is not None:
            self.leaving[site] = failed
            self._starts_elsewhere.pop(site, None)
            del self._resources[site]
            self._sum_up()

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

    def _sum_up(self) -> None:
        self.totals.clear()
        for resources in self._resources.values():
            for name, amount in resources.items():
                self.totals[name] = self.totals.get(name, 0.0) + amount
