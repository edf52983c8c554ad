"""Invariant 7 for clusters: one whose root is away gives what ran on a lost node to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mangrove.model.documents import Given
from tests.simulation.processes import ClusterProcess, NodeProcess
from tests.simulation.world import SETTINGS, InvariantBroken

if TYPE_CHECKING:
    from tests.simulation.tree import Tree

#: Seconds in which a cluster gives an instance to another node that is there all the time: it looks for silence three
#: times a second, and for the rest it may be busy.
PATIENCE = 3.0


class Alone:
    """Looks at clusters that cannot ask anybody, once in a while."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._since: dict[tuple[str, str, str], float] = {}  # (cluster, attempt, node that could take it) → since when

    def look(self) -> None:
        now, seen = self._tree.world.clock.now(), {}
        for cluster in self._tree.clusters:
            if not self._stands_alone(cluster):
                continue
            well = [node for node in self._tree.nodes if node.cluster is cluster and self._is_well(node)]
            for given in self._lost(cluster):
                for node in well:
                    if self._fits(cluster, given, node):
                        key = (cluster.name, given.attempt, node.name)
                        seen[key] = self._since.get(key, now)
                        if now - seen[key] > PATIENCE:
                            text = f"{cluster.name} leaves {given.attempt} on a lost node, and {node.name} has room"
                            raise InvariantBroken(7, text, cluster.name, node.name, given.attempt)
        self._since = seen

    def _stands_alone(self, cluster: ClusterProcess) -> bool:
        """Whether nothing is wrong with a cluster but that its root is away."""
        paused = cluster.paused_until > self._tree.world.clock.now()
        ill = cluster.impostor or cluster.trouble or paused or not cluster.broker.leads_to_parent
        return cluster.alive and not ill and cluster.child_link.state != "settled"

    def _is_well(self, node: NodeProcess) -> bool:
        return node.alive and not node.ails and self._tree.connected(node) and node.child_link.state == "settled"

    def _lost(self, cluster: ClusterProcess) -> list[Given]:
        """What is wanted in the cluster, and is with a node that was not heard for as long as its policy says."""
        parent = cluster.parent
        lost = []
        for id, placement in parent.placements.items():
            slot, given = parent.slots.get(id), placement.current
            if slot is None or given is None or slot.desired != "run" or placement.final or id in parent.holds:
                continue
            if slot.pin:  # to the node that was lost
                continue
            policy = parent._view.policy(given.specification)
            wait = policy.replaced_after(SETTINGS.lease) * (1 + 2 * SETTINGS.clock_error)
            absence = parent._view.absence(given.child)
            braked = absence is not None and absence.held > 0.0  # too many fell silent at once
            if not (policy.exclusive or placement.refused or braked) and cluster.silence(given.child) > wait:
                lost.append(given)
        return lost

    def _fits(self, cluster: ClusterProcess, given: Given, node: NodeProcess) -> bool:
        """Whether the cluster knows the node, and that it has room."""
        parent = cluster.parent
        row = parent.fleet.rows.get(node.identity.id)
        if row is None or row.id == given.child or not row.heard or row.cordoned:
            return False
        there = [one for placement in parent.placements.values() for one in placement.attempts if one[0] == row.id]
        ports = {port.host for port in parent._view._catalogue[given.specification].ports}
        return given.resources.fits_in(row.free) and not (ports and there)
