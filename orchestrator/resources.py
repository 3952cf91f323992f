"""Whether a pool has what a flow's nodes ask for."""

from __future__ import annotations

from executor.scheduling import CPUS, MEMORY, Totals, shortages
from orchestrator.errors import NotEnoughResources
from orchestrator.spec import FlowSpec


def check_resources(spec: FlowSpec, totals: Totals) -> None:
    """Refuse a flow with a node that could never run.

    A pool that has no worker yet may come to have any number of processors, and whatever else agents
    bring along.

    Raises:
        NotEnoughResources: it asks for more than there is.
    """
    is_open = not totals[CPUS]
    for node in spec.nodes:
        if not node.demand or node.placement != "process":
            continue
        lacks = shortages(node.demand, totals)
        if is_open:
            lacks = [shortage for shortage in lacks if shortage.name == MEMORY]
        if lacks:
            raise NotEnoughResources(node.name, node.place, tuple(lacks))
