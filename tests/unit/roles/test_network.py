"""A parent's part in the network: what its children have to know, and what it believes of what they say."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mangrove.model.attempt import Status, Usage
from mangrove.model.child import Networking
from mangrove.model.documents import EVENTS, GRANTS, IDENTITIES, Granted
from mangrove.model.network import ServiceAddress
from mangrove.model.phases import Phase
from mangrove.network.addresses import networks_in
from mangrove.network.plan import Endpoint, Grant, Peer, PlanEntry, Ranges, ServiceEntry
from mangrove.roles.parent import CONTROLLER
from mangrove.roles.terms import go_on_with
from mangrove.store.interface import Delete, Put
from tests.unit.roles.house import House, TestedChild

RANGES = Ranges(("10.18.0.0/24",), ("10.30.0.0/16",))
WEB = ServiceEntry("s", "web", "ns", "a", "app", "ns", "g", (ServiceAddress("10.30.0.1"),))


class Site(House):
    """Two children that take part, and a service."""

    def __init__(self, *, blocks: str = "10.18.0.0/24") -> None:
        super().__init__()
        self.start(cluster="us")
        self.parent.network.cut(RANGES, networks_in(blocks), (), 26, 64)
        self.parent.network.service("s", WEB)
        self.one, self.other = self.child("one"), self.child("other")
        for number, child in enumerate((self.one, self.other)):
            network = Networking(1, underlay=(f"192.0.2.{number}",))
            child.capacity = msgspec.structs.replace(child.capacity, network=network)
            child.obeys = False
        self.run(5.0)

    def plan(self, child: TestedChild) -> dict[str, PlanEntry]:
        """What the parent has for a child."""
        entries = self.parent.link.peers[child.identity.id].plan._entries
        return {id: msgspec.json.decode(raw, type=PlanEntry) for id, raw in entries.items()}

    def spread(self) -> dict[str, TestedChild]:
        """An instance on each; by attempt."""
        number = 0
        while True:
            self.want(number)
            self.run(1.0)
            placed = {
                given.attempt: child
                for child in (self.one, self.other)
                for placement in self.parent.placements.values()
                if (given := placement.current) is not None and given.child == child.identity.id
            }
            if set(placed.values()) == {self.one, self.other}:
                return placed
            number += 1
            assert number < 12

    def says(self, child: TestedChild, attempt: str, ipv4: str, **more: Any) -> None:
        """A child says that an attempt runs at an address."""
        status = Status(attempt, Phase.RUNNING, node=child.identity.id, ipv4=ipv4, **more)
        child.statuses.change({attempt: status})
        self.run(0.5)

    def grants(self) -> dict[str, str]:
        return {stored.id: stored.read(Granted).child for stored in self.disk.load(GRANTS)}


def test_children_are_granted_addresses_before_they_are_told() -> None:
    site = Site()
    assert site.grants() == {"10.18.0.0/26": site.one.identity.id, "10.18.0.64/26": site.other.identity.id}
    assert site.plan(site.one) == {"ranges": RANGES, "grant/10.18.0.0/26": Grant("10.18.0.0/26")}
    third = site.child("third")
    third.capacity = msgspec.structs.replace(third.capacity, network=Networking(1))
    site.trouble = "write"
    site.run(5.0)
    assert third.identity.id not in site.grants().values()
    assert site.plan(third) == {}
    site.trouble = ""
    site.run(5.0)
    assert site.grants()["10.18.0.128/26"] == third.identity.id
    assert "grant/10.18.0.128/26" in site.plan(third)


def test_a_parent_that_starts_anew_gives_nobody_what_another_has() -> None:
    site = Site()
    before = site.grants()
    site.start(cluster="us")
    site.parent.network.cut(RANGES, networks_in("10.18.0.0/24"), (), 26, 64)
    third = site.child("third")
    third.capacity = msgspec.structs.replace(third.capacity, network=Networking(1))
    site.run(20.0)
    assert site.grants() == {**before, "10.18.0.128/26": third.identity.id}
    assert site.plan(site.one)["grant/10.18.0.0/26"] == Grant("10.18.0.0/26")


def test_what_a_cluster_has_lost_its_nodes_lose() -> None:
    site = Site()
    site.parent.network.cut(RANGES, networks_in("10.18.9.0/24"), (), 26, 64)
    site.run(2.0)
    assert set(site.grants()) == {"10.18.9.0/26", "10.18.9.64/26"}
    assert set(site.plan(site.one)) == {"ranges", "grant/10.18.9.0/26"}


def test_who_needs_more_than_there_is_is_told_of_once() -> None:
    site = Site(blocks="10.18.0.0/26")
    site.run(30.0)
    texts = [str(stored.document["text"]) for stored in site.disk.load(EVENTS)]
    assert len([text for text in texts if "needs more addresses than are left" in text]) == 1
    assert len(site.grants()) == 1
    rich = next(iter(site.grants().values()))
    gone = next(child for child in (site.one, site.other) if child.identity.id == rich)
    site.write(Put(IDENTITIES, rich, msgspec.to_builtins(msgspec.structs.replace(gone.identity, revoked=True))))
    gone.alive = False
    site.run(2.0)
    assert set(site.grants().values()) == {site.one.identity.id, site.other.identity.id} - {rich}


def test_an_endpoint_is_told_to_the_other_child_with_its_node() -> None:
    site = Site()
    placed = site.spread()
    attempt = next(id for id, child in placed.items() if child is site.one)
    site.says(site.one, attempt, "10.18.0.5")
    plan = site.plan(site.other)
    one = site.one.identity.id
    assert plan[f"endpoint/{attempt}"] == Endpoint(attempt, "s", int(_number(site, attempt)), one, "10.18.0.5")
    assert plan[f"peer/{one}"] == Peer(one, "one", "us", ("10.18.0.0/26",), ("192.0.2.0",), distance=0.5)
    assert plan["service/s"] == WEB
    assert f"endpoint/{attempt}" not in site.plan(site.one)


@pytest.mark.parametrize("ipv4", ["10.18.0.70", "10.30.0.1", "127.0.0.1", "junk", "10.18.0.0/26"])
def test_nobody_is_led_to_an_address_that_a_child_does_not_have(ipv4: str) -> None:
    site = Site()
    placed = site.spread()
    attempt = next(id for id, child in placed.items() if child is site.one)
    site.says(site.one, attempt, "10.18.0.5")
    assert f"endpoint/{attempt}" in site.plan(site.other)
    site.says(site.one, attempt, ipv4)
    assert f"endpoint/{attempt}" not in site.plan(site.other)
    site.says(site.one, attempt, "10.18.0.5", ipv6="fdff::5")
    assert f"endpoint/{attempt}" not in site.plan(site.other), "it was granted no IPv6"


def test_load_is_told_in_steps_and_only_where_an_address_goes_by_it() -> None:
    site = Site()
    placed = site.spread()
    attempt = next(id for id, child in placed.items() if child is site.one)
    site.says(site.one, attempt, "10.18.0.5")

    def load(cpu: float) -> float:
        site.one.role.link.send_usage({attempt: Usage(cpu=cpu, measured=1.0)})
        site.run(0.5)
        entry = site.plan(site.other)[f"endpoint/{attempt}"]
        assert isinstance(entry, Endpoint)
        return entry.load

    assert load(90.0) == 0.0
    least = (*WEB.addresses, ServiceAddress("10.30.0.2", "least_loaded"))
    site.parent.network.service("s", msgspec.structs.replace(WEB, addresses=least))
    assert [load(cpu) for cpu in (90.0, 101.0, 85.0, 60.0, 3.0)] == [100.0, 100.0, 100.0, 50.0, 0.0]


def test_a_child_that_leaves_the_network_is_told_nothing_more() -> None:
    site = Site()
    placed = site.spread()
    attempt = next(id for id, child in placed.items() if child is site.one)
    site.says(site.one, attempt, "10.18.0.5")
    site.other.capacity = msgspec.structs.replace(site.other.capacity, network=Networking(trouble="off"))
    site.run(3.0)
    assert not [id for id in site.plan(site.other) if id.partition("/")[0] in ("service", "endpoint", "peer")]
    assert site.grants()["10.18.0.64/26"] == site.other.identity.id, "it keeps what it has"


def _number(site: Site, attempt: str) -> str:
    slot = site.parent.slot_of(attempt)
    assert slot is not None
    return slot.partition(".")[2]


def test_a_parent_whose_store_was_set_back_gives_nobody_what_somebody_may_still_have() -> None:
    site = Site()
    copy = site.disk.copy()
    before = site.grants()
    copy.apply([Delete(GRANTS, id) for id in before])
    for child in (site.one, site.other):
        held = tuple((id, "") for id, owner in before.items() if owner == child.identity.id)
        child.capacity = msgspec.structs.replace(
            child.capacity, network=msgspec.structs.replace(child.capacity.network, held=held)
        )
        child.alive = False
    site.parent._transport.close()
    go_on_with(copy, CONTROLLER, "h", adopt=60.0)
    site.disk = site.store._store = copy
    site.start(cluster="us")
    site.parent.network.cut(RANGES, networks_in("10.18.0.0/24"), (), 26, 64)
    third = site.child("third")
    third.capacity = msgspec.structs.replace(third.capacity, network=Networking(1))
    site.run(10.0)
    site.one.alive = True
    site.run(10.0)
    assert site.grants() == {id: owner for id, owner in before.items() if owner == site.one.identity.id}
    site.other.alive = True
    site.run(10.0)
    assert before.items() <= site.grants().items(), "all have told, and keep what they have"
    assert third.identity.id in site.grants().values()


def test_who_is_not_heard_after_a_restore_is_waited_for_only_while_others_are_adopted() -> None:
    site = Site()
    copy = site.disk.copy()
    copy.apply([Delete(GRANTS, id) for id in site.grants()])
    site.other.alive = False
    site.parent._transport.close()
    go_on_with(copy, CONTROLLER, "h", adopt=60.0)
    site.disk = site.store._store = copy
    site.start(cluster="us")
    site.parent.network.cut(RANGES, networks_in("10.18.0.0/24"), (), 26, 64)
    site.run(50.0)
    assert site.grants() == {}
    site.run(20.0)
    assert site.one.identity.id in site.grants().values()
    assert not [stored for stored in site.disk.load(EVENTS) if "needs more" in str(stored.document["text"])]
