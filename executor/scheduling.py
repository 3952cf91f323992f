"""What runs first and what may run now: pure decisions on priorities and resources.

Rank: lower ``priority`` numbers first; then what frees a large value that waits for it alone, so that
producers do not fill the memory with what nobody has consumed; then the longest path to a result
(the critical path); then who came first.

Resources: a *demand* is what an attempt claims of a pool's totals from its assignment to its end. One
without a demand claims the processor of its worker and nothing else. Where the first in line lacks a
resource, whoever else needs that one waits behind it, so nothing starves.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, TypeAlias

from executor.host import Demand, Invocation

CPUS: Final = "cpus"
MEMORY: Final = "memory"
_BINARY: Final = ("KiB", "MiB", "GiB", "TiB")

ALONE: Final[Demand] = ((CPUS, math.inf),)
"""The claim of one that runs only while nothing else does."""

Totals: TypeAlias = Mapping[str, float]
"""What a pool has, by the name of the resource: ``memory`` in bytes, the rest in units of one's own."""

Rank: TypeAlias = tuple[float, bool, int, int]


def rank_of(invocation: Invocation, arrival: int) -> Rank:
    """The smaller, the sooner; ``arrival`` makes it unique."""
    return invocation.priority, not invocation.frees_memory, -invocation.criticality, arrival


# -- demands ---------------------------------------------------------------------------------------


class Shortage(NamedTuple):
    """A resource of which more is asked than there is."""

    name: str
    asked: float
    has: float

    def __str__(self) -> str:
        asked, has = amount_text(self.name, self.asked), amount_text(self.name, self.has)
        if self.has == 0:
            return f"asks for {self.name}={asked}, and the pool has no {self.name!r}"
        return f"asks for {self.name}={asked}, and the pool has {self.name}={has}"

    @property
    def remedy(self) -> str:
        """What would have to be given to the pool."""
        if self.name == CPUS:
            return f"at least {math.ceil(self.asked)} workers"
        return (
            f"more: Pool(workers, resources={{{self.name!r}: {self.asked:.17g}}}), or --resource "
            f"{self.name}={self.asked:.17g} of 'orchestrator run', 'coordinator' or 'worker'"
        )


def amount_text(name: str, amount: float) -> str:
    """An amount for people.

    >>> amount_text("gpu", 2.0), amount_text(MEMORY, 3 << 29), amount_text(MEMORY, 999)
    ('2', '1.5 GiB', '999 bytes')
    """
    if name != MEMORY or amount < 1024:
        return f"{amount:g} bytes" if name == MEMORY else f"{amount:g}"
    power = min(int(math.log2(amount)) // 10, len(_BINARY))
    return f"{amount / (1 << 10 * power):.4g} {_BINARY[power - 1]}"


def demand_of(
    cpus: float | None = None, memory: int | None = None, resources: Mapping[str, float] | None = None
) -> Demand:
    """A demand, in the order of names; empty if nothing is asked for.

    Raises:
        TypeError, ValueError: an amount or a name is not what it must be.
    """
    named = checked_resources(resources)
    amounts = {CPUS: cpus, MEMORY: memory}
    for name, amount in amounts.items():
        if amount is not None:
            check_amount(name, amount)
            if name in named:
                raise ValueError(f"{name} is given twice: as {name}= and in resources=")
            named[name] = amount
    if named:
        named.setdefault(CPUS, 1)
    return tuple(sorted((name, amount) for name, amount in named.items() if amount or name == CPUS))


def check_demand(demand: Demand) -> None:
    """Refuse a demand that :func:`demand_of` would not have made.

    Raises:
        TypeError, ValueError: its names or amounts are not what they must be.
    """
    if demand and demand != demand_of(resources=dict(demand)):
        raise ValueError(f"{demand!r} is no demand: each name once, in order, and 'cpus' among them")


def checked_resources(resources: object) -> dict[str, float]:
    """Names and amounts as they must be.

    Raises:
        TypeError, ValueError: they are not.
    """
    if resources is None:
        return {}
    if not isinstance(resources, Mapping):
        raise TypeError(f"resources must map names to amounts, not be {resources!r}")
    for name, amount in resources.items():
        if not isinstance(name, str):
            raise TypeError(f"resources must be named by strings, not {name!r}")
        check_amount(f"resources[{name!r}]", amount)
    return dict(resources)


def check_priority(priority: object) -> None:
    """Refuse what is no finite number."""
    if not isinstance(priority, int | float) or isinstance(priority, bool):
        raise TypeError(f"priority must be a number, not {priority!r}")
    if not math.isfinite(priority):
        raise ValueError(f"priority must be a finite number, not {priority}")


def check_amount(name: str, amount: object) -> None:
    """Refuse what is no finite number from 0 on."""
    if not isinstance(amount, int | float) or isinstance(amount, bool):
        raise TypeError(f"{name} must be a number, not {amount!r}")
    if not math.isfinite(amount) or amount < 0:
        raise ValueError(f"{name} must be a number from 0 on, not {amount}")


def shortages(demand: Demand, totals: Totals) -> list[Shortage]:
    """What a demand asks for beyond all there is: it could never be met."""
    return [
        Shortage(name, asked, totals.get(name, 0))
        for name, asked in demand
        if asked > totals.get(name, 0)
    ]


# -- claims ----------------------------------------------------------------------------------------


class Ledger:
    """What of a pool's resources is claimed by attempts with a demand.

    How many processors there are changes with the workers, so their number is always given. ``totals``
    may shrink to less than is claimed: then nobody more gets any until that is given back.
    """

    def __init__(self, totals: Totals) -> None:
        self._totals = totals
        self._claimed: dict[str, float] = defaultdict(float)
        self._claims = 0

    @property
    def claimed_cpus(self) -> float:
        return self._claimed[CPUS]

    def free(self, name: str) -> float:
        """How much of a resource, other than processors, nobody claims."""
        return self._totals.get(name, 0.0) - self._claimed.get(name, 0.0)

    def lacking(self, demand: Demand, free_cpus: float) -> frozenset[str]:
        """The names of what a demand would have to wait for."""
        return frozenset(
            name for name, asked in demand if asked > (free_cpus if name == CPUS else self.free(name))
        )

    def claim(self, demand: Demand) -> None:
        self._claims += 1
        for name, amount in demand:
            self._claimed[name] += amount
            assert name == CPUS or self._claimed[name] <= self._totals[name] * (1 + 1e-9), name

    def give_back(self, demand: Demand) -> None:
        self._claims -= 1
        for name, amount in demand:
            # Sums of floats drift: with nobody left, nothing is claimed.
            self._claimed[name] = self._claimed[name] - amount if self._claims else 0.0

    @property
    def is_untouched(self) -> bool:
        """Whether nobody claims anything."""
        return self._claims == 0

    def check(self, claimed: Iterable[Demand]) -> None:
        """Assert that these are the claims."""
        sums = dict.fromkeys(self._claimed, 0.0)
        count = 0
        for demand in claimed:
            count += 1
            for name, amount in demand:
                sums[name] += amount
        assert count == self._claims, (count, self._claims)
        for name, total in sums.items():
            assert math.isclose(total, self._claimed[name], abs_tol=1e-6), name
