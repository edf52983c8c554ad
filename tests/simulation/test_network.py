"""Every node comes to know what its network must, whoever crashes and whatever is lost, and no two have one address."""

from __future__ import annotations

import ipaddress
from collections import Counter

import msgspec
import pytest

from mangrove.model.child import Networking
from mangrove.model.documents import APPLICATIONS, SERVICES, SPECIFICATIONS, Application, Service
from mangrove.model.network import ServiceAddress
from mangrove.model.specification import Preference
from mangrove.network.layout import layout_of
from mangrove.network.plan import NodePlan
from mangrove.store.interface import Put
from tests.simulation.listening import quiet
from tests.simulation.process import Process
from tests.simulation.processes import NodeProcess
from tests.simulation.test_restore import Site
from tests.simulation.world import CALM, SETTINGS, Weather


class Networked(Site):
    """A site with a network, in which all instances are of one service of one application."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        preferences = (Preference("spread", key="cluster"), Preference("spread"))
        self.specification = msgspec.structs.replace(self.specification, preferences=preferences)
        document = msgspec.to_builtins(self.specification)
        self.root.store.apply([Put(SPECIFICATIONS, self.specification.digest, document)])

    def prepare(self) -> None:
        self.root.layout = layout_of()
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


@pytest.mark.parametrize("seed", range(6))
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
