"""System services through the API: declared as such, and never counted by hand."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mangrove.model.documents import SLOTS, Slot
from mangrove.roles.system_services import Without
from mangrove.store.interface import Put
from tests.root_api import CLUSTER, NODE, RootApi, microservice, sla


@pytest.fixture
def root() -> RootApi:
    root = RootApi()
    root.add_cluster()
    return root


@pytest.fixture
def service(root: RootApi) -> str:
    answer = root.call("POST", "/api/application/", json=sla("demo", microservice(mode="global")))
    assert answer.status_code == 200
    [declared] = answer.json[0]["microservices"]
    id = str(declared)
    specification = root.get(f"/api/v1/services/{id}")["specification"]
    assert specification
    stored = root.store.load("services")[0].document["specification"]
    slot = Slot(f"{id}.0", id, 0, stored, pin=(CLUSTER, NODE))
    root.store.apply([Put(SLOTS, slot.id, msgspec.to_builtins(slot))])
    return id


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/service/{}/instance", None),
        ("DELETE", "/api/service/{}/instance/-1", None),
        ("PUT", "/api/v1/services/{}/scale", {"instances": 3}),
        ("PUT", "/api/v1/services/{}/scale", {"instances": 0}),
    ],
)
def test_its_instances_are_not_counted_by_hand(
    root: RootApi, service: str, method: str, path: str, body: dict[str, int] | None
) -> None:
    revision = root.store.revision()
    answer = root.call(method, path.format(service), json=body)
    assert answer.status_code == 409
    assert "one instance on each node that it matches" in answer.json["message"]
    assert "delete it" in answer.json["message"]
    assert root.store.revision() == revision


def test_one_of_them_may_be_taken_away_and_the_controller_says_what_follows(root: RootApi, service: str) -> None:
    assert root.call("DELETE", f"/api/service/{service}/instance/0").status_code == 200
    assert root.slots()[f"{service}.0"].desired == "stop"


def test_lists_and_answers_say_what_it_is(root: RootApi, service: str) -> None:
    assert root.get(f"/api/v1/services/{service}")["mode"] == "global"
    [listed] = root.get("/api/v1/services")["items"]
    assert (listed["mode"], listed["instances"]) == ("global", {"pending": 1})


def test_it_stays_what_it_was_declared_as(root: RootApi, service: str) -> None:
    answer = root.call("PUT", f"/api/service/{service}", json=sla("demo", microservice(code="nginx:2")))
    assert (answer.status_code, "mode: is replicated" in answer.json["message"]) == (409, True)
    answer = root.call("PUT", f"/api/service/{service}", json=sla("demo", microservice(code="nginx:2", mode="global")))
    assert answer.status_code == 200
    assert root.slots()[f"{service}.0"].pin == (CLUSTER, NODE), "its instance is changed where it is"


def test_deleting_it_stops_its_instances(root: RootApi, service: str) -> None:
    assert root.call("DELETE", f"/api/service/{service}").status_code == 200
    assert root.slots()[f"{service}.0"].desired == "stop"


def test_explain_says_which_nodes_have_none_and_why(root: RootApi, service: str) -> None:
    root.fleet.lacking = [Without("alpha", "n2", "needs amd64: 1 node arm64")]
    told = root.get(f"/api/v1/services/{service}/explain")
    assert told["mode"] == "global"
    assert told["without"] == [{"cluster": "alpha", "node": "n2", "text": "needs amd64: 1 node arm64"}]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"mode": "everywhere"}, "mode"),
        ({"mode": "global", "placement": [{"by": "spread"}]}, "placement"),
        ({"mode": "global", "constraints": [{"type": "latency", "threshold": 5}]}, "constraints[0].type"),
    ],
)
def test_what_makes_no_sense_is_refused(root: RootApi, fields: dict[str, Any], field: str) -> None:
    revision = root.store.revision()
    answer = root.call("POST", "/api/application/", json=sla("demo", microservice(**fields)))
    assert answer.status_code == 422
    assert f"microservices[0].{field}" in answer.text
    assert root.store.revision() == revision
