"""Every node comes to know what its network must, whoever crashes and whatever is lost, and no two have one address."""

from __future__ import annotations

import ipaddress
from collections import Counter
from functools import partial

import msgspec
import pytest

from mangrove.model.child import Networking
from mangrove.model.documents import (
    APPLICATIONS,
    EVENTS,
    GRANTS,
    IDENTITIES,
    SERVICES,
    SPECIFICATIONS,
    Application,
    Granted,
    Service,
)
from mangrove.model.network import ServiceAddress
from mangrove.model.specification import Disconnect, Preference
from mangrove.network.layout import layout_of
from mangrove.network.plan import NodePlan
from mangrove.store.interface import Delete, Put
from mangrove.store.memory import MemoryStore
from tests.simulation.listening import quiet
from tests.simulation.process import ParentProcess, Process
from tests.simulation.processes import ClusterProcess, NodeProcess
from tests.simulation.test_restore import ADOPT, Site
from tests.simulation.world import CALM, SETTINGS, Weather


class Networked(Site):
    """A site with a network, in which all instances are of one service of one application."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        preferences = (Preference("spread", key="cluster"), Preference("spread"))
        stays = Disconnect(lost_after="never")
        self.specification = msgspec.structs.replace(
            self.specification, preferences=preferences, disconnect=stays if self.stays else Disconnect()
        )
        document = msgspec.to_builtins(self.specification)
        self.root.store.apply([Put(SPECIFICATIONS, self.specification.digest, document)])

    layout = layout_of()
    stays = False  # whether nothing of what is silent is replaced

    def prepare(self) -> None:
        self.root.layout = self.layout
        for number, node in enumerate(self.nodes):
            node.networking = Networking(1, underlay=(f"192.0.2.{number + 1}",))
        application = Application("a", "app", "ns", "", "user", ("s",))
        service = Service("s", "a", "user", "web", "ns", "", addresses=(ServiceAddress("10.30.0.7"),))
        self.root.store.apply(
            [
                Put(APPLICATIONS, "a", msgspec.to_builtins(application)),
                Put(SERVICES, "s", msgspec.to_builtins(service)),
            ]
        )

    def plan(self, node: NodeProcess) -> NodePlan:
        assert node.network is not None
        return node.network

    def differences(self) -> list[str]:
        """What any node's plan lacks of what runs, or has beyond it; in words."""
        found = []
        ready = Counter(
            instance.ipv4
            for node in self.nodes
            for instance in self.plan(node).instances.values()
            if instance.state == "ready"
        )
        if sorted(ready.values()) != [1] * len(self.wanted()):
            found.append(f"ready: {ready}")
        for node in self.nodes:
            plan = self.plan(node)
            own = {instance.ipv4 for instance in plan.instances.values()}
            if not own:
                if plan.services or plan.endpoints or plan.peers:
                    found.append(f"{node.name} is told of what it has nothing to do with")
                continue
            told = {endpoint.ipv4 for endpoint in plan.endpoints.values() if endpoint.state == "ready"}
            if told | own != ready.keys():
                found.append(f"{node.name} is told of {sorted(told)}, has {sorted(own)}, and there are {sorted(ready)}")
            if set(plan.services) != {"s"} or plan.services["s"].addresses != (ServiceAddress("10.30.0.7"),):
                found.append(f"{node.name} knows the services {plan.services}")
            if {endpoint.node for endpoint in plan.endpoints.values()} != plan.peers.keys():
                found.append(f"{node.name} knows the nodes {sorted(plan.peers)}")
        return found

    def settle_network(self) -> None:
        self.settle()
        self.world.run(60.0, lambda: not self.differences())
        assert not self.differences()

    def granted(self, process: ParentProcess) -> dict[str, str]:
        """By network, who has it, as the store of a parent says."""
        return {stored.id: stored.read(Granted).child for stored in process.store.load(GRANTS)}

    def remove(self, child: ClusterProcess | NodeProcess) -> None:
        """An operator removes a child for good."""
        parent = child.parent_process
        gone = msgspec.structs.replace(child.identity, revoked=True)
        parent.store.apply([Put(IDENTITIES, gone.id, msgspec.to_builtins(gone))])
        child.crash()
        child.buried = True
        parent.guarded(lambda: None, parent.life)

    def add_node(self, cluster: ClusterProcess, name: str = "new") -> NodeProcess:
        """One more machine joins."""
        node = NodeProcess(self.world, cluster, name)
        node.networking = Networking(1, underlay=("192.0.2.99",))
        node.start()
        cluster.guarded(lambda: None, cluster.life)
        self.nodes.append(node)
        return node

    def events(self, process: ParentProcess) -> list[str]:
        return [str(stored.document["text"]) for stored in process.store.load(EVENTS)]

    def networks(self) -> list[ipaddress.IPv4Network]:
        """Of all nodes, as these know them."""
        return [ipaddress.IPv4Network(grant.ipv4) for node in self.nodes for grant in self.plan(node).grants]


def test_each_node_has_its_own_subnet_and_knows_the_others_of_its_services() -> None:
    site = Networked(1)
    site.want(6)
    site.settle_network()
    networks = site.networks()
    assert len(networks) == len(site.nodes)
    assert all(network.prefixlen == 26 for network in networks)
    assert not any(one.overlaps(other) for one in networks for other in networks if one is not other)
    for node in site.nodes:
        plan = site.plan(node)
        (grant,) = plan.grants
        for instance in plan.instances.values():
            assert ipaddress.ip_address(instance.ipv4) in ipaddress.ip_network(grant.ipv4)
            assert ipaddress.ip_address(instance.ipv6) in ipaddress.ip_network(grant.ipv6)
        for peer in plan.peers.values():
            other = next(each for each in site.nodes if each.identity.id == peer.node)
            assert peer.name == other.name
            assert peer.remote == (other.cluster is not node.cluster)
            assert peer.cluster == other.cluster.identity.id
            assert peer.underlay == other.networking.underlay if other.networking else False
            assert set(peer.networks) == {site.plan(other).grants[0].ipv4, site.plan(other).grants[0].ipv6}
            assert peer.distance > (5 if peer.remote else 0)
        assert plan.ranges.services == ("10.30.0.0/16", "fdff:2000::/21")


def test_what_is_withdrawn_counts_as_stopping_before_its_node_has_stopped_it() -> None:
    site = Networked(2)
    site.want(6)
    site.settle_network()
    watching = next(node for node in site.nodes if site.plan(node).endpoints)
    attempt, endpoint = next(iter(site.plan(watching).endpoints.items()))
    there = next(node for node in site.nodes if node.identity.id == endpoint.node)
    there.hangs = set(there.runtime.running)
    site.put(endpoint.number, "stop")
    assert site.world.run(
        5.0,
        lambda: attempt in site.plan(watching).endpoints and site.plan(watching).endpoints[attempt].state == "stopping",
    )
    there.hangs = set()
    site.settle_network()
    assert attempt not in site.plan(watching).endpoints


@pytest.mark.parametrize("seed", range(4))
def test_all_plans_converge_after_storms_and_crashes(seed: int) -> None:
    with quiet():
        site = Networked(seed)
        site.want(8)
        site.settle_network()
        before = {node.name: site.plan(node).grants for node in site.nodes}
        site.world.weather = Weather(lost=0.1, repeated=0.1, late=0.3, longest=2.0)
        processes: tuple[Process, ...] = (site.root, *site.clusters, *site.nodes)
        for each in processes:
            if site.rng.random() < 0.5:
                when = site.rng.uniform(0.0, 20.0)
                site.world.later(when, each.crash)
                site.world.later(when + site.rng.uniform(0.2, 3 * SETTINGS.lease), each.start)
        site.want(3)
        for number in site.rng.sample(range(8), 3):
            site.put(number, "stop")
        site.world.run(40.0)
        site.world.weather = CALM
        site.settle_network()
        assert {node.name: site.plan(node).grants for node in site.nodes} == before


def test_a_change_is_told_at_once() -> None:
    site = Networked(3)
    site.want(6)
    site.settle_network()
    watching = next(node for node in site.nodes if site.plan(node).endpoints)
    endpoint = next(iter(site.plan(watching).endpoints.values()))
    there = next(node for node in site.nodes if node.identity.id == endpoint.node)
    (attempt,) = (it.attempt for it in site.plan(there).instances.values() if it.ipv4 == endpoint.ipv4)
    there.runtime.crash(attempt)
    began = site.world.time
    steps = 0
    while any(each.ipv4 == endpoint.ipv4 for each in site.plan(watching).endpoints.values()):
        site.world.run(0.01)
        steps += 1
        assert steps < 100
    # The look of the runtime, and a message on each of at most three links, of 1 to 20 ms each.
    assert site.world.time - began <= 0.2


def test_what_a_removed_child_had_is_there_for_others() -> None:
    site = Networked(4)
    site.want(6)
    site.settle_network()
    cluster, other = site.clusters
    node = next(node for node in site.nodes if node.cluster is cluster)
    (network,) = (grant.ipv4 for grant in site.plan(node).grants)
    assert site.granted(cluster)[network] == node.identity.id
    site.remove(node)
    site.nodes.remove(node)
    site.settle_network()
    assert network not in site.granted(cluster)
    assert not any(node.identity.id in site.plan(each).peers for each in site.nodes)
    new = site.add_node(cluster)
    assert site.world.run(20.0, lambda: bool(site.plan(new).grants))
    site.settle_network()
    assert site.plan(new).grants[0].ipv4 not in {network}, "used again as late as possible"

    blocks = {grant for grant, child in site.granted(site.root).items() if child == cluster.identity.id}
    assert blocks
    site.remove(cluster)
    for each in [each for each in site.nodes if each.cluster is cluster]:
        each.crash()
        site.nodes.remove(each)
    site.settle_network()
    assert not blocks & site.granted(site.root).keys()
    assert set(site.granted(site.root).values()) == {other.identity.id}


def test_nodes_join_and_talk_while_the_root_is_away() -> None:
    site = Networked(5)
    site.want(6)
    site.settle_network()
    site.root.crash()
    cluster = site.clusters[0]
    new = [site.add_node(cluster, f"new-{number}") for number in range(8)]
    site.world.run(20.0)
    networks = site.networks()
    assert len(networks) == len(set(networks)) == 12
    assert all(site.plan(node).grants for node in new)
    # What its other nodes ran comes to the new ones, and is known to all.
    for node in [each for each in site.nodes if each.cluster is cluster and each not in new]:
        node.crash()
        site.nodes.remove(node)
    site.world.run(4 * SETTINGS.lease)
    running = [node for node in new if site.plan(node).instances]
    assert running
    for node in running:
        there = {it.ipv4 for each in running for it in site.plan(each).instances.values()}
        told = {it.ipv4 for it in site.plan(node).endpoints.values() if it.state == "ready"}
        assert there <= told | {it.ipv4 for it in site.plan(node).instances.values()}
    site.root.start()
    site.settle_network()
    # As many could join again: the second block is there before it is needed.
    assert list(site.granted(site.root).values()).count(cluster.identity.id) == 2


class Staying(Networked):
    """Nothing of what is silent is replaced."""

    stays = True

    def states(self, there: set[str]) -> set[str]:
        """What nodes elsewhere are told of the endpoints of these nodes."""
        plans = [self.plan(node) for node in self.nodes if node.identity.id not in there]
        return {it.state for plan in plans for it in plan.endpoints.values() if it.node in there}

    def all_are(self, there: set[str], state: str) -> bool:
        return self.states(there) == {state}


def test_what_is_not_heard_is_doubtful_until_it_is_heard_again() -> None:
    site = Staying(8)
    site.want(6)
    site.settle_network()
    for child in (site.nodes[0], site.clusters[0]):
        there = {node.identity.id for node in site.nodes if child in (node, node.cluster)}
        site.world.frozen.add(child.identity.id)
        assert site.states(there) == {"ready"}
        assert site.world.run(3 * SETTINGS.lease, partial(site.all_are, there, "doubtful")), site.states(there)
        site.world.frozen.clear()
        assert site.world.run(3 * SETTINGS.lease, partial(site.all_are, there, "ready")), site.states(there)


class Scarce(Networked):
    """One block of addresses for two clusters."""

    layout = layout_of(nodes="10.18.0.0/22")


def test_a_cluster_without_addresses_says_so_and_gets_them_when_there_are_some() -> None:
    site = Scarce(6)
    site.want(4)
    site.settle()
    site.world.run(10.0)
    (owner,) = site.granted(site.root).values()
    rich = next(each for each in site.clusters if each.identity.id == owner)
    poor = next(each for each in site.clusters if each is not rich)
    capacity = {child.id: child.capacity for child in site.root.parent.children.values()}
    assert capacity[rich.identity.id].network.trouble == ""
    assert "no addresses yet" in capacity[poor.identity.id].network.trouble
    assert sum(f"{poor.name} needs more addresses" in text for text in site.events(site.root)) == 1
    assert site.numbers() == site.wanted(), "what has no address runs all the same"
    lost = [node for node in site.nodes if node.cluster is poor]
    assert all(node.node.role.link._capacity().network.trouble for node in lost)
    site.remove(rich)
    for node in [each for each in site.nodes if each.cluster is rich]:
        node.crash()
        site.nodes.remove(node)
    site.settle()
    site.world.run(10.0)
    for node in lost:
        there = {instance.attempt for instance in site.plan(node).instances.values()}
        for attempt in sorted(node.runtime.running - there):  # what ran before has no interface until it starts anew
            node.runtime.crash(attempt)
    site.settle_network()
    assert set(site.granted(site.root).values()) == {poor.identity.id}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("lost", ["root", "cluster"])
def test_a_store_that_was_set_back_leaves_everybody_their_addresses(lost: str, seed: int) -> None:
    with quiet():
        site = Networked(seed)
        copies: list[tuple[ParentProcess, MemoryStore]] = []
        for process in [site.root] if lost == "root" else site.clusters:
            copy = process.store.copy()
            copy.apply([Delete(GRANTS, stored.id) for stored in copy.load(GRANTS)])
            copies.append((process, copy))
        site.want(6)
        site.settle_network()
        before = {node.name: site.plan(node).grants for node in site.nodes}
        addresses = {it.ipv4 for node in site.nodes for it in site.plan(node).instances.values()}
        granted = {process.name: site.granted(process) for process, _ in copies}
        site.restore(*copies)
        if lost == "root":
            site.keep_all()
        site.sacred = set()
        site.world.run(ADOPT)
        site.settle_network()
        assert {node.name: site.plan(node).grants for node in site.nodes} == before
        assert {it.ipv4 for node in site.nodes for it in site.plan(node).instances.values()} == addresses
        assert {process.name: site.granted(process) for process, _ in copies} == granted


def test_a_node_that_takes_no_part_runs_what_it_is_given() -> None:
    site = Networked(7)
    for node in site.nodes[:1]:
        node.crash()
        node.networking = None
        node.start()
    for node in site.nodes[1:2]:
        node.crash()
        node.networking = Networking(trouble="there is no netmanager")
        node.start()
    site.world.run(10.0)
    site.want(8)
    site.settle()
    site.world.run(10.0)
    assert all(node.runtime.running for node in site.nodes)
    without = {node.identity.id for node in site.nodes[:2]}
    for node in site.nodes[2:]:
        assert not without & site.plan(node).peers.keys()
        assert site.plan(node).instances
    assert not any(status.ipv4 for node in site.nodes[:2] for status in node.node.engine.statuses().values())
    (view,) = (view for _, view in site.root.parent.nodes() if view.id == site.nodes[1].identity.id)
    assert view.capacity.network.trouble == "there is no netmanager"
