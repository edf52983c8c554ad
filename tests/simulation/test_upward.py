"""What a cluster cannot keep running itself runs on another cluster, and goes nowhere without need."""

from __future__ import annotations

import msgspec
import pytest

from mangrove.identity.join import cordon_child
from mangrove.model.documents import EVENTS, SPECIFICATIONS, Event, Placement
from mangrove.model.specification import USUAL, Disconnect
from mangrove.store.interface import Put
from tests.simulation.listening import quiet
from tests.simulation.processes import ClusterProcess, NodeProcess
from tests.simulation.test_restore import Site

EXCLUSIVE = Disconnect(stop_on_child_after=20.0)
#: Virtual seconds in which three nodes in a row give an instance up, each after a minute of restarts in place.
GIVEN_UP = 400.0


class Elsewhere(Site):
    """A site with one instance, and the cluster in which it is. most: how often it was begun to run twice."""

    def __init__(self, seed: int, policy: Disconnect = USUAL) -> None:
        super().__init__(seed)
        self.specification = msgspec.structs.replace(self.specification, disconnect=policy)
        document = msgspec.to_builtins(self.specification)
        self.root.store.apply([Put(SPECIFICATIONS, self.specification.digest, document)])
        self.twice = 0
        self.want(1)
        self.settle()
        self.here = self.where()
        for node in self.nodes:
            node.on_started = self._started

    def _started(self, node: NodeProcess, attempt: str) -> None:
        self.twice += len(self.running()) > 1

    def placement(self) -> Placement:
        return self.root.parent.placements["s.0"]

    def where(self) -> ClusterProcess | None:
        current = self.placement().current
        return next((each for each in self.clusters if current and each.identity.id == current.child), None)

    def nodes_of(self, cluster: ClusterProcess | None) -> list[NodeProcess]:
        return [node for node in self.nodes if node.cluster is cluster]

    def break_there(self, cluster: ClusterProcess | None) -> None:
        """Nothing runs for long on the nodes of a cluster any more."""
        for node in self.nodes_of(cluster):
            node.on_started = lambda node, attempt: self.world.later(0.1, lambda: node.runtime.crash(attempt, 1))
            for attempt in node.runtime.running:
                node.runtime.crash(attempt, 1)

    def drain(self, nodes: list[NodeProcess], drained: bool = True) -> None:
        for node in nodes:
            cordon_child(node.cluster.store, node.identity.id, drained, drained)
            node.cluster.guarded(lambda: None, node.cluster.life)

    def moves(self) -> list[str]:
        """Between clusters."""
        told = [stored.read(Event) for stored in self.root.store.load(EVENTS)]
        return [event.text for event in told if event.kind == "moved" and not event.cluster]


@pytest.mark.parametrize("policy", [USUAL, EXCLUSIVE], ids=["usual", "exclusive"])
def test_what_fails_on_all_nodes_of_a_cluster_runs_on_another(policy: Disconnect) -> None:
    with quiet():
        site = Elsewhere(1, policy)
        site.break_there(site.here)
        assert site.world.run(GIVEN_UP, lambda: site.where() not in (None, site.here))
        site.settle()
        [moved] = site.moves()
        there = site.where()
        assert there is not None
        assert site.here is not None
        assert f"moved from {site.here.name} to {there.name}: keeps failing on nodes of {site.here.name}: " in moved
        site.world.run(100.0)
        assert (site.numbers(), site.placement().failures, site.twice) == ([0], 0, 0)


def test_what_fails_everywhere_goes_once_around_and_stays() -> None:
    with quiet():
        site = Elsewhere(2)
        for cluster in site.clusters:
            site.break_there(cluster)
        site.world.run(900.0)
        assert len(site.moves()) == 1, "no to and fro"
        current = site.placement().current
        assert current is not None
        assert "exit code 1" in site.root.parent.observed[current.attempt].status.reason


def test_what_has_failed_stays_in_its_cluster_when_it_fits_in_no_other() -> None:
    with quiet():
        site = Elsewhere(3)
        other = next(each for each in site.clusters if each is not site.here)
        site.drain(site.nodes_of(other))
        attempt = site.placement().current
        site.break_there(site.here)
        site.world.run(GIVEN_UP)
        assert site.placement().current == attempt
        site.drain(site.nodes_of(other), False)
        assert site.world.run(60.0, lambda: site.where() is other), "there is room now"


@pytest.mark.parametrize("policy", [USUAL, EXCLUSIVE], ids=["usual", "exclusive"])
def test_what_fits_on_no_other_node_of_its_cluster_leaves_it_when_that_is_drained(policy: Disconnect) -> None:
    with quiet():
        site = Elsewhere(4, policy)
        [busy] = [node for node in site.nodes if node.runtime.running]
        [spare] = [node for node in site.nodes_of(site.here) if node is not busy]
        other = next(each for each in site.clusters if each is not site.here)
        cordon_child(spare.cluster.store, spare.identity.id, True)
        for node in site.nodes_of(other):
            cordon_child(other.store, node.identity.id, True)
        site.world.run(10.0)
        before = site.running()
        site.drain([busy])
        site.world.run(60.0)
        assert site.running() == before, "nowhere is room"
        assert "is drained, and nothing else fits" in site.placement().reason
        site.drain(site.nodes_of(other), False)
        assert site.world.run(60.0, lambda: site.where() is other and not busy.runtime.running)
        site.settle()
        assert site.twice == (0 if policy.exclusive else 1), "what may run twice does so until its successor runs"
        assert site.here is not None
        [moved] = site.moves()
        assert moved.endswith(f"moved from {site.here.name} to {other.name}: a node of {site.here.name} is drained")
