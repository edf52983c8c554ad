"""Which instances would make room for others, by what clusters last told of their nodes: the root's best guess, since a
cluster decides by what is so then."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mangrove.model.choice import Chosen, Displacement
from mangrove.model.resources import NOTHING
from mangrove.model.specification import Specification
from mangrove.placement.engine import place
from mangrove.placement.fleet import Fleet
from mangrove.placement.preemption import displace
from mangrove.placement.request import kinds_of, priority_of
from root_orchestrator.api.views import ClusterView, There


def foresee(
    cluster: ClusterView, instances: Iterable[There], wanted: Sequence[tuple[Specification, int]]
) -> list[list[There]]:
    """For so many instances of each specification that this cluster would get, one after the other, who makes room."""
    fleet, there = Fleet("node"), {one.slot.id: one for one in instances}
    for node in cluster.nodes:
        fleet.add(node.id, node.name)
        fleet.update(node.id, node.capacity)
        fleet.set_live(node.id, node.state == "live")
        fleet.set_cordoned(node.id, node.cordoned, node.drained)
    for id, one in there.items():
        what = one.specification
        fleet.reserve(id, one.node, what.resources, kinds_of(what), priority_of(what))
    for node in cluster.nodes:  # what leaves, or is not the root's
        rest = node.reserved - fleet.rows[node.id].reserved
        if rest != NOTHING and all(amount > 0 for _, amount in rest.amounts()):
            fleet.reserve(f"rest of {node.id}", node.id, rest)
    found = []
    for number, (specification, count) in enumerate(wanted):
        victims: list[There] = []
        for instance in range(count):
            where = place(fleet, specification)
            room = Displacement(where.child) if isinstance(where, Chosen) else displace(fleet, specification)
            if room is None:
                break
            for id in room.victims:
                if id in there:
                    victims.append(there[id])
                fleet.release(id)
            given = f"new {number}.{instance}"
            fleet.reserve(
                given, room.child, specification.resources, kinds_of(specification), priority_of(specification)
            )
        found.append(victims)
    return found
