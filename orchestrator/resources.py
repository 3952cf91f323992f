"""Whether a pool has what a flow's nodes ask for."""

from __future__ import annotations

import math

from executor.scheduling import CPUS, Totals, shortages
from orchestrator.errors import NotEnoughResources
from orchestrator.spec import FlowSpec


def check_resources(spec: FlowSpec, totals: Totals) -> None:
    """Refuse a flow with a node that could never run.

    A pool that has no worker yet may come to have any number of processors.

    Raises:
        NotEnoughResources: it asks for more than there is.
    """
    totals = totals if totals[CPUS] else {**totals, CPUS: math.inf}
    for node in spec.nodes:
        lacks = shortages(node.demand, totals) if node.demand and node.placement == "process" else ()
        if lacks:
            raise NotEnoughResources(node.name, node.place, tuple(map(str, lacks)))
