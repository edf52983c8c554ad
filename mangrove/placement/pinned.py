"""One instance on each node that matches: which nodes these are, and whether an instance can go where it belongs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from mangrove.model.choice import Chosen, NoFit
from mangrove.model.documents import Refusal
from mangrove.model.specification import Specification
from mangrove.placement.filters import ATTRIBUTES, FILTERS
from mangrove.placement.filters.direct import Clusters, Direct
from mangrove.placement.filters.interface import Filter
from mangrove.placement.filters.platform import Addons, Runtime
from mangrove.placement.filters.where import Geo
from mangrove.placement.fleet import Fleet

#: What makes a node match: what it is and where it stands. What it has free at a moment does not, nor does latency,
#: which is measured: instances would come and go with them.
_OF_A_NODE: tuple[Filter, ...] = (*ATTRIBUTES, Geo())
#: What runs there stays although these say no: what a runtime offers is away while its engine is started anew, and
#: healthy containers may outlive that.
_PASSING = (Runtime, Addons)
#: A cluster's sums say nothing of a single node, so only its name counts.
_OF_A_CLUSTER: tuple[Filter, ...] = (Direct(), Clusters())


def matching(fleet: Fleet, specification: Specification, *, staying: bool = False) -> set[str]:
    """Ids of the children that a system service belongs on; of clusters: those whose nodes come into question.

    staying: where what runs already may stay, though they may lack something for a while.
    """
    request, table = fleet.request(specification), fleet.table
    mask = np.ones(table.size, np.bool_)
    for condition in _conditions(fleet):
        if condition.applies(request, fleet) and not (staying and isinstance(condition, _PASSING)):
            mask &= condition.check(request, fleet, slice(0, table.size))
    return {row.id for row in fleet.rows.values() if mask[row.number]}


def why_not(fleet: Fleet, specification: Specification, child: str) -> str:
    """Why a system service does not belong on a child, for a person; empty when it does."""
    return _obstacles(_conditions(fleet), fleet, specification, fleet.rows[child].number)


def place_on(
    fleet: Fleet,
    specification: Specification,
    pin: Sequence[str],
    avoid: Collection[str] = (),
    refused: Mapping[str, Refusal] = {},
) -> Chosen | NoFit:
    """Whether an instance that belongs on one child only can go there. pin: see `Slot`.

    A cordoned child takes it: what belongs there was let in before. What it needs is judged by the last in the row, who
    knows the node; those before only see that they promise no more than there is in all.
    """
    row = fleet.rows.get(pin[0])
    if row is None:
        return NoFit(f"the {fleet.noun} that it belongs on is gone")
    if row.id in avoid:
        return NoFit(f"it belongs on {row.name} alone")
    if not row.live:
        return NoFit(f"{row.name}, which it belongs on, is not connected")
    if row.quarantined:
        return NoFit(f"{row.name}, which it belongs on, is quarantined, for reporting nonsense")
    if row.id in refused:
        return NoFit(f"refused by {row.name}: {refused[row.id].reason}")
    if len(pin) > 1:
        fits = specification.resources.fits_in(row.free)
        return Chosen(row.id) if fits else NoFit(f"{row.name}, which it belongs on, has no room left in all")
    obstacles = _obstacles(FILTERS, fleet, specification, row.number)
    return NoFit(f"it belongs on {row.name} alone: {obstacles}") if obstacles else Chosen(row.id)


def _conditions(fleet: Fleet) -> tuple[Filter, ...]:
    return _OF_A_CLUSTER if fleet.noun == "cluster" else _OF_A_NODE


def _obstacles(conditions: Sequence[Filter], fleet: Fleet, specification: Specification, number: int) -> str:
    request, here = fleet.request(specification), np.array([number], np.intp)
    return "; ".join(
        condition.explain(request, fleet, here)
        for condition in conditions
        if condition.applies(request, fleet) and not condition.check(request, fleet, here)[0]
    )
