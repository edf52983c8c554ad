"""Services have addresses that are theirs alone, by wish or by chance, and give them back."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from mangrove.base.errors import Conflict
from mangrove.model.attempt import Status
from mangrove.model.child import Capacity, Networking
from mangrove.model.documents import GRANTS, OBSERVED, SERVICE_ADDRESSES, SERVICES, Granted, Observed, Service
from mangrove.model.phases import Phase
from mangrove.network.layout import Layout, layout_of
from mangrove.store.interface import Lease, Operation, Put
from mangrove.store.memory import MemoryStore
from root_orchestrator.api.declared import DEFAULT_WISHES
from root_orchestrator.api.service_addresses import ServiceAddresses
from tests.root_api import CLUSTER, NODE, RootApi, microservice, sla

SMALL = layout_of(services="10.30.0.0/29")


def api(layout: Layout | None = None) -> RootApi:
    return RootApi(layout=layout or layout_of())


def service_of(there: RootApi, application: dict[str, Any], number: int = 0) -> Any:
    return there.get(f"/api/service/{application['microservices'][number]}")


def addresses_of(there: RootApi, service: str) -> dict[str, str]:
    """What a service has, as an SLA calls it."""
    named = {"round_robin": "rr_ip", "closest": "closest_ip", "least_loaded": "least_loaded_ip", "instance": "instance"}
    found = there.get(f"/api/v1/services/{service}/network")["addresses"]
    return {named[each["policy"]] + ("_v6" if ":" in each["address"] else ""): each["address"] for each in found}


def taken(there: RootApi) -> dict[str, str]:
    """Address → service."""
    return {stored.id: stored.document["service"] for stored in there.store.load(SERVICE_ADDRESSES)}


def test_a_service_gets_an_address_of_each_family_and_gives_it_back() -> None:
    there = api()
    application = there.create("demo", microservice("web"), microservice("db"))
    web, db = service_of(there, application, 0), service_of(there, application, 1)
    assert web["RR_ip"].startswith("10.30.")
    assert web["RR_ip_v6"].startswith("fdff:2")
    assert addresses_of(there, web["microserviceID"]) == {"rr_ip": web["RR_ip"], "rr_ip_v6": web["RR_ip_v6"]}
    assert not web["addresses"], "what was declared is answered as it came"
    assert web["service_ip_list"] == [{"IpType": "RR", "Address": web["RR_ip"], "Address_v6": web["RR_ip_v6"]}]
    expected = {each[key]: each["microserviceID"] for each in (web, db) for key in ("RR_ip", "RR_ip_v6")}
    assert taken(there) == expected
    assert len(expected) == 4

    there.call("DELETE", f"/api/service/{web['microserviceID']}")
    assert set(taken(there).values()) == {db["microserviceID"]}
    there.call("DELETE", f"/api/application/{application['applicationID']}")
    assert taken(there) == {}


def test_wishes_are_honoured() -> None:
    there = api()
    wishes = {
        "rr_ip": "10.30.0.7",
        "closest_ip": "auto",
        "least_loaded_ip": "10.30.0.8",
        "instances": [{"from": "10.30.1.1", "to": "10.30.1.2", "start": 3}, {"from": "fdff:2000::9"}],
        "client_affinity": 60,
    }
    application = there.create("demo", microservice("web", addresses=wishes))
    web = service_of(there, application)
    assert web["RR_ip"] == "10.30.0.7"
    found = addresses_of(there, web["microserviceID"])
    assert found["least_loaded_ip"] == "10.30.0.8"
    assert found["closest_ip"].startswith("10.30.")
    assert found["closest_ip_v6"].startswith("fdff:2")
    assert [each for each in web["service_ip_list"] if each["IpType"] == "InstanceNumber"] == [
        {"IpType": "InstanceNumber", "Address": "10.30.1.1", "Address_v6": "", "instance_number": 3},
        {"IpType": "InstanceNumber", "Address": "10.30.1.2", "Address_v6": "", "instance_number": 4},
        {"IpType": "InstanceNumber", "Address": "", "Address_v6": "fdff:2000::9", "instance_number": 0},
    ]
    assert there.get(f"/api/v1/services/{web['microserviceID']}/network")["affinity"] == 60


def test_an_address_that_another_service_has_is_refused_by_name() -> None:
    there = api()
    application = there.create("demo", microservice("web", addresses={"rr_ip": "10.30.0.7"}))
    body = {"sla_version": "v2.0", "customerID": "Admin"}
    again = {"application_name": "other", "application_namespace": "x"}
    services = [microservice("web"), microservice("db", addresses={"closest_ip": "10.30.0.7"})]
    before = taken(there)
    answer = there.call(
        "POST", "/api/application", json={**body, "applications": [{**again, "microservices": services}]}
    )
    assert answer.status_code == 409
    field = "applications[0].microservices[1].addresses.closest_ip"
    assert answer.json["message"].startswith(
        f"{field}: 10.30.0.7 is the address of service {application['microservices'][0]}"
    )
    assert taken(there) == before, "nothing of it was written"

    services = [microservice(name, addresses={"rr_ip": "10.30.0.8"}) for name in ("web", "db")]
    answer = there.call(
        "POST", "/api/application", json={**body, "applications": [{**again, "microservices": services}]}
    )
    assert answer.status_code == 409
    assert "10.30.0.8 is the address of another one of this SLA" in answer.json["message"]


@pytest.mark.parametrize(
    ("addresses", "field", "words"),
    [
        ({"rr_ip": "10.31.0.1"}, "rr_ip", "choose an address in 10.30.0.0/16"),
        ({"rr_ip_v6": "::1"}, "rr_ip_v6", "choose an address in fdff:2000::/21"),
        ({"instances": [{"from": "192.0.2.1"}]}, "instances[0].from", "choose an address in 10.30.0.0/16"),
    ],
)
def test_an_address_outside_the_range_is_refused(addresses: dict[str, Any], field: str, words: str) -> None:
    there = api()
    application = there.create("demo", microservice("web"))
    body = {
        "sla_version": "v2.0",
        "customerID": "Admin",
        "applications": [
            {
                "applicationID": application["applicationID"],
                "application_name": "demo",
                "application_namespace": "test",
                "microservices": [microservice("db", addresses=addresses)],
            }
        ],
    }
    answer = there.call("POST", "/api/service", json=body)
    assert answer.status_code == 422
    assert answer.json["field"] == f"applications[0].microservices[0].addresses.{field}"
    assert words in answer.json["message"]


def test_a_service_declared_anew_keeps_what_it_has_and_changes_what_is_wished() -> None:
    there = api()
    application = there.create("demo", microservice("web", addresses={"closest_ip": "auto"}))
    web = service_of(there, application)

    def declare(**addresses: Any) -> Any:
        body = {
            "sla_version": "v2.0",
            "customerID": "Admin",
            "applications": [
                {
                    "application_name": "demo",
                    "application_namespace": "test",
                    "microservices": [microservice("web", addresses=addresses)],
                }
            ],
        }
        answer = there.call("PUT", f"/api/service/{web['microserviceID']}", json=body)
        assert answer.status_code == 200, answer.text
        return addresses_of(there, web["microserviceID"])

    first = addresses_of(there, web["microserviceID"])
    assert len(first) == 4
    assert declare(closest_ip="auto") == first
    moved = declare(rr_ip="10.30.9.9", closest_ip="auto")
    assert moved == {**first, "rr_ip": "10.30.9.9"}
    assert web["RR_ip"] not in taken(there)
    least = declare()
    assert least == {key: moved[key] for key in ("rr_ip", "rr_ip_v6")}
    assert set(taken(there)) == set(least.values())


def test_when_all_addresses_are_taken_it_is_said() -> None:
    there = api(SMALL)
    for number in range(6):
        there.create(f"app{number}", microservice("web"))
    assert sorted(taken(there)) == [f"10.30.0.{number}" for number in range(1, 7)]
    application = {"application_name": "more", "application_namespace": "x", "microservices": [microservice("web")]}
    answer = there.call(
        "POST", "/api/application", json={"sla_version": "v2.0", "customerID": "Admin", "applications": [application]}
    )
    assert answer.status_code == 409
    assert "all addresses for services are taken (10.30.0.0/29)" in answer.json["message"]


class Between(MemoryStore):
    """A store in which somebody else writes right before the next batch of ours."""

    def __init__(self) -> None:
        super().__init__()
        self.other: Callable[[], object] | None = None

    def apply(self, operations: Sequence[Operation], *, lease: Lease | None = None) -> int:
        other, self.other = self.other, None
        if other is not None:
            other()
        return super().apply(operations, lease=lease)


def test_two_copies_of_the_api_never_give_one_address_twice() -> None:
    store = Between()
    one, other = RootApi(store, layout=SMALL), RootApi(store, layout=SMALL)
    other.add_user("ann")
    one.as_user()
    other.as_user("ann")
    body = sla("mine", microservice("web", addresses={"rr_ip": "10.30.0.5"}))
    store.other = lambda: other.create("theirs", microservice("web", addresses={"rr_ip": "10.30.0.5"}), user="ann")
    answer = one.call("POST", "/api/application", json=body)
    assert answer.status_code == 409
    assert "10.30.0.5 is the address of service" in answer.json["message"]

    for number in range(4):
        one.create(f"app{number}", microservice("web"))
    # One is left, and both choose it.
    store.other = lambda: other.create("last", microservice("web"), user="ann")
    assert one.call("POST", "/api/application", json=sla("late", microservice("web"))).status_code == 409
    services = [stored.read(Service) for stored in store.load(SERVICES)]
    found = {each.address: service.id for service in services for each in service.addresses}
    assert found == taken(one)
    assert len(found) == 6


def test_services_from_before_there_was_a_network_get_addresses() -> None:
    there = RootApi()
    application = there.create("demo", microservice("web"))
    assert service_of(there, application)["RR_ip"] == ""
    addresses = ServiceAddresses(there.store, layout_of())
    addresses.complete()
    given = service_of(there, application)["RR_ip"]
    assert given.startswith("10.30.")
    addresses.complete()
    assert service_of(there, application)["RR_ip"] == given
    assert len(taken(there)) == 2


def test_without_a_network_wishes_are_kept_and_nobody_gets_an_address() -> None:
    there = RootApi()
    application = there.create("demo", microservice("web", addresses={"rr_ip": "10.30.0.7"}))
    assert service_of(there, application)["RR_ip"] == "10.30.0.7"
    assert taken(there) == {}
    assert there.get("/api/v1/network") == {
        "on": False,
        "nodes": [],
        "services": [],
        "blocks": 0,
        "blocks_free": 0,
        "addresses_taken": 0,
        "free": [],
    }


def test_the_network_is_shown_with_what_is_free() -> None:
    there = api()
    there.create("demo", microservice("web"))
    there.put(GRANTS, "10.18.0.0/22", Granted(CLUSTER, "10.18.0.0/22", "fdff::/60"))
    there.add_cluster(capacity=Capacity(network=Networking(1, (("10.18.0.0/22", "fdff::/60"),))))
    part = Networking(1, (("10.18.0.0/26", "fdff::/64"),), ("192.0.2.1",))
    there.add_node(capacity=Capacity(network=part))
    shown = there.get("/api/v1/network")
    assert (shown["on"], shown["blocks"], shown["blocks_free"], shown["addresses_taken"]) == (True, 768, 767, 2)
    assert shown["services"] == ["10.30.0.0/16", "fdff:2000::/21"]
    assert len(shown["free"]) == 5
    assert not set(shown["free"]) & taken(there).keys()
    (grant,) = there.get("/api/v1/network/grants")
    assert grant == {
        "cluster": {"id": CLUSTER, "name": "alpha"},
        "ipv4": "10.18.0.0/22",
        "ipv6": "fdff::/60",
        "wanted": 1,
        "trouble": "",
    }
    (node,) = there.get("/api/v1/nodes")["items"]
    assert node["capacity"]["network"]["held"] == [["10.18.0.0/26", "fdff::/64"]]


def test_a_service_shows_its_addresses_and_what_is_behind_them() -> None:
    there = api()
    there.add_cluster()
    egress = ["192.0.2.0/24", "0.0.0.0/0:443/tcp", "[2001:db8::/32]:53/udp"]
    wanted = microservice("web", egress=egress, connectivity=[{"target_microservice_id": "a.b.c.d"}])
    application = there.create("demo", wanted)
    service = application["microservices"][0]
    there.deploy(service)
    attempt = there.place(f"{service}.0")
    status = Status(attempt, Phase.RUNNING, node=NODE, node_name="node1", ipv4="10.18.0.2", ipv6="fdff::2")
    there.put(OBSERVED, attempt, Observed(attempt, CLUSTER, status, 1000.0))
    shown = there.get(f"/api/v1/services/{service}/network")
    assert [each["policy"] for each in shown["addresses"]] == ["round_robin", "round_robin"]
    assert shown["reaches"] == ["a.b.c.d"]
    assert shown["egress"] == [
        {"network": "192.0.2.0/24", "protocol": "", "port": 0},
        {"network": "0.0.0.0/0", "protocol": "tcp", "port": 443},
        {"network": "2001:db8::/32", "protocol": "udp", "port": 53},
    ]
    (endpoint,) = shown["endpoints"]
    assert (endpoint["ipv4"], endpoint["ipv6"], endpoint["state"]) == ("10.18.0.2", "fdff::2", "ready")
    assert endpoint["node"] == {"id": NODE, "name": "node1"}
    (instance,) = service_of(there, application)["instance_list"]
    assert (instance["instance_ip"], instance["instance_ip_v6"]) == ("10.18.0.2", "fdff::2")


def test_free_addresses_are_found_though_nearly_all_are_taken() -> None:
    store = MemoryStore()
    layout = layout_of(services="10.30.0.0/24")
    store.apply(
        [Put(SERVICE_ADDRESSES, f"10.30.0.{number}", {"service": "x"}) for number in range(255) if number != 77]
    )
    addresses = ServiceAddresses(store, layout, random.Random(1))
    service = Service("s", "a", "user", "web", "ns", "")
    store.apply([Put(SERVICES, "s", msgspec.to_builtins(service))])
    addresses.complete()
    stored = store.get(SERVICES, "s")
    assert stored is not None
    assert [each.address for each in stored.read(Service).addresses] == ["10.30.0.77"]
    with pytest.raises(Conflict, match="all addresses for services are taken"):
        addresses.settle("t", (), DEFAULT_WISHES, set())
