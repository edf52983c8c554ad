"""Changing a service and its number of instances, through the API."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from mangrove.base.ids import new_id
from mangrove.model.documents import PLACEMENTS, SERVICES, Given, Past, Placement
from mangrove.model.phases import Phase
from mangrove.model.resources import Resources
from mangrove.store.interface import Operation
from mangrove.store.memory import MemoryStore
from tests.root_api import CLUSTER, RootApi, microservice, sla


@pytest.fixture
def root() -> RootApi:
    root = RootApi()
    root.add_user("eve", "Application_Provider")
    root.add_cluster()
    return root


@pytest.fixture
def service(root: RootApi) -> str:
    id: str = root.create()["microservices"][0]
    for _ in range(3):
        root.run(f"{id}.{root.deploy(id)}")
    return id


def put(root: RootApi, service: str, body: Any, user: str = "Admin") -> Any:
    return root.call("PUT", f"/api/service/{service}", json=body, user=user)


def specifications(root: RootApi, service: str) -> list[str]:
    return [slot.specification for slot in root.slots().values() if slot.service == service]


# -- PUT


def test_a_changed_service_changes_all_its_wanted_slots_at_once(root: RootApi, service: str) -> None:
    root.call("DELETE", f"/api/service/{service}/instance/1")
    before = root.get(f"/api/v1/services/{service}")
    assert before["rollout"] == {"updated": 2, "total": 2, "state": "done", "reason": ""}
    revision = root.store.revision()
    answer = put(root, service, sla("demo", microservice(code="nginx:2")))
    assert (answer.status_code, answer.json) == (200, {"message": "ok: 2 instances are replaced, one after another"})
    assert root.store.revision() == revision + 1
    shown = root.get(f"/api/v1/services/{service}")
    assert shown["specification"]["image"] == "nginx:2"
    assert shown["rollout"] == {"updated": 0, "total": 2, "state": "rolling", "reason": ""}
    assert root.get(f"/api/service/{service}")["image"] == "nginx:2"
    assert len(set(specifications(root, service))) == 2, "the stopped one keeps what it had"
    assert root.slots()[f"{service}.1"].specification != root.slots()[f"{service}.0"].specification
    added = root.deploy(service)
    assert root.slots()[f"{service}.{added}"].specification == root.slots()[f"{service}.0"].specification


def test_the_same_again_changes_no_slot(root: RootApi, service: str) -> None:
    body = sla("demo", microservice(code="nginx:2"))
    put(root, service, body)
    slots = root.slots()
    assert put(root, service, body).json == {"message": "ok"}
    assert root.slots() == slots


def test_names_and_descriptions_restart_nothing(root: RootApi, service: str) -> None:
    slots = root.slots()
    renamed = microservice("shop", microservice_namespace="prod", connectivity=[], sla_violation_strategy="none")
    assert put(root, service, sla("demo", renamed)).json == {"message": "ok"}
    assert root.slots() == slots
    shown = root.get(f"/api/v1/services/{service}")
    assert (shown["name"], shown["namespace"], shown["rollout"]["state"]) == ("shop", "prod", "done")
    assert shown["specification"]["name"] == "demo.test.shop.prod"
    assert put(root, service, sla("demo", {**renamed, "memory": 200})).json["message"].startswith("ok: 3")


def test_how_far_it_is_and_why_it_stands_still_is_shown(root: RootApi, service: str) -> None:
    put(root, service, sla("demo", microservice(code="nginx:2")))
    failing = root.place(f"{service}.0")
    root.observe(failing, Phase.BACKING_OFF, "exit code 1")
    shown = root.get(f"/api/v1/services/{service}")["rollout"]
    assert shown == {"updated": 1, "total": 3, "state": "stopped", "reason": "instance 0: exit code 1"}
    root.observe(failing, Phase.RUNNING)
    for number in (1, 2):
        root.run(f"{service}.{number}")
    assert root.get(f"/api/v1/services/{service}")["rollout"]["state"] == "done"


def test_an_sla_as_the_dashboard_sends_it_is_taken(root: RootApi, service: str) -> None:
    application = root.get(f"/api/v1/services/{service}")["application"]
    body = sla("demo", microservice(code="nginx:2", microserviceID=service), applicationID=application)
    assert put(root, service, body).status_code == 200


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda body: body["applications"].append(sla("other")["applications"][0]), "applications"),
        (lambda body: body["applications"][0]["microservices"].append(microservice("second")), "applications"),
        (lambda body: body["applications"][0]["microservices"].clear(), "applications"),
        (lambda body: body["applications"].clear(), "applications"),
        (lambda body: body["applications"][0].update(applicationID="0" * 24), "applications[0].applicationID"),
        (
            lambda body: body["applications"][0]["microservices"][0].update(microserviceID="0" * 24),
            "applications[0].microservices[0].microserviceID",
        ),
        (
            lambda body: body["applications"][0]["microservices"][0].update(memory=-1),
            "applications[0].microservices[0].memory",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    root: RootApi, service: str, change: Any, field: str
) -> None:
    body = sla("demo", microservice(code="nginx:2"))
    change(body)
    before = root.store.revision()
    answer = put(root, service, body)
    assert (answer.status_code, answer.json.get("field")) == (422, field), answer.text
    assert root.store.revision() == before


def test_a_name_that_is_taken_is_refused(root: RootApi) -> None:
    one, _ = root.create("demo", microservice("one"), microservice("two"))["microservices"]
    answer = put(root, one, sla("demo", microservice("two")))
    assert answer.status_code == 409
    assert "another service" in answer.json["message"]


def test_two_services_that_take_one_name_at_once_do_not_both_get_it() -> None:
    class Beaten(MemoryStore):
        """Another copy of the API gives the name just before this one writes it."""

        armed = False

        def apply(self, operations: Sequence[Operation], **more: Any) -> int:
            if self.armed:
                self.armed = False
                assert put(other, second, sla("demo", microservice("same"))).status_code == 200
            return super().apply(operations, **more)

    store = Beaten()
    root, other = RootApi(store), RootApi(store)
    first, second = root.create("demo", microservice("one"), microservice("two"))["microservices"]
    other.as_user()
    store.armed = True
    assert put(root, first, sla("demo", microservice("same"))).status_code == 409
    assert sorted(each["microservice_name"] for each in root.get("/api/services")) == ["one", "same"]


def test_others_may_not_change_it(root: RootApi, service: str) -> None:
    before = root.store.revision()
    assert put(root, service, sla("demo"), user="eve").status_code == 404
    path = f"/api/v1/services/{service}/scale"
    assert root.call("PUT", path, json={"instances": 9}, user="eve").status_code == 404
    assert root.store.revision() == before


# -- scale


def scale(root: RootApi, service: str, instances: Any) -> Any:
    return root.call("PUT", f"/api/v1/services/{service}/scale", json={"instances": instances})


def wanted(root: RootApi, service: str) -> list[int]:
    slots = root.slots().values()
    return sorted(slot.number for slot in slots if slot.service == service and slot.desired == "run")


def test_scaling_up_adds_new_numbers_and_is_idempotent(root: RootApi, service: str) -> None:
    root.call("DELETE", f"/api/service/{service}/instance/2")
    assert scale(root, service, 4).json == {"instances": 4, "added": [3, 4], "removed": []}
    revision = root.store.revision()
    assert scale(root, service, 4).json == {"instances": 4, "added": [], "removed": []}
    assert root.store.revision() == revision
    assert wanted(root, service) == [0, 1, 3, 4]


def test_scaling_down_spares_what_runs_then_the_lowest_numbers(root: RootApi, service: str) -> None:
    scale(root, service, 6)
    root.run(f"{service}.5")
    root.observe(root.place(f"{service}.4"), Phase.STARTING)
    root.observe(root.place(f"{service}.1"), Phase.BACKING_OFF)
    assert scale(root, service, 4).json == {"instances": 4, "added": [], "removed": [1, 3]}
    assert scale(root, service, 2).json == {"instances": 2, "added": [], "removed": [4, 5]}
    assert scale(root, service, 0).json == {"instances": 0, "added": [], "removed": [0, 2]}
    assert wanted(root, service) == []


@pytest.mark.parametrize("instances", [-1, 1001, 1.5, "3", None])
def test_a_number_that_is_none_is_refused(root: RootApi, service: str, instances: Any) -> None:
    answer = scale(root, service, instances)
    assert (answer.status_code, answer.json["field"]) == (422, "instances")


def test_many_who_scale_at_once_never_make_more_than_one_of_them_asked_for(root: RootApi, service: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: scale(root, service, number), [7, 5, 9, 2] * 6))
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert len(wanted(root, service)) in (7, 5, 9, 2)
    added = [number for answer in answers if answer.status_code == 200 for number in answer.json["added"]]
    assert len(set(added)) == len(added)
    stored = root.store.get(SERVICES, service)
    assert stored is not None
    assert stored.document["next_number"] > max(added)


# -- instances


def test_an_instance_shows_its_attempts_before(root: RootApi, service: str) -> None:
    slot = f"{service}.0"
    given = Given(new_id(), CLUSTER, 3, root.slots()[slot].specification, Resources())
    gone = Past("a" * 24, CLUSTER, "v0", Phase.FAILED, "exit code 3", "n" * 24, "pi", 4, 3, 100.0, 160.5)
    lost = Past("b" * 24, "0" * 24, "v0", Phase.RUNNING, "moved away", started=50.0, ended=90.0)
    root.put(PLACEMENTS, slot, Placement(slot, 3, given, history=(lost, gone)))
    root.observe(given.attempt, Phase.RUNNING)
    shown = root.get(f"/api/v1/instances/{slot}")
    assert (shown["id"], shown["phase"], shown["attempt"]) == (slot, "running", given.attempt)
    assert shown["service"] == {"id": service, "name": "web", "namespace": "test"}
    assert shown["history"][1] == {
        "attempt": "a" * 24,
        "cluster": {"id": CLUSTER, "name": "alpha"},
        "node": {"id": "n" * 24, "name": "pi"},
        "specification": "v0",
        "phase": "failed",
        "reason": "exit code 3",
        "restarts": 4,
        "exit_code": 3,
        "started": 100.0,
        "ended": 160.5,
    }
    assert (shown["history"][0]["cluster"]["name"], shown["history"][0]["node"]) == (None, None)


@pytest.mark.parametrize("id", ["{}.7", "{}.", "{}", "{}.0x", "{}.00", "x.0", "{}.²"])
def test_what_is_no_instance_is_not_found(root: RootApi, service: str, id: str) -> None:
    answer = root.call("GET", f"/api/v1/instances/{id.format(service)}")
    assert answer.status_code == 404, answer.text


def test_a_removed_instance_and_those_of_others_are_not_found(root: RootApi, service: str) -> None:
    root.call("DELETE", f"/api/service/{service}/instance/0")
    assert root.call("GET", f"/api/v1/instances/{service}.0").status_code == 404
    assert root.call("GET", f"/api/v1/instances/{service}.1", user="eve").status_code == 404
    assert [each["number"] for each in root.get("/api/v1/instances")["items"]] == [1, 2]
    assert root.get("/api/v1/instances", user="eve") == {"items": [], "next": None}


def test_documents_of_an_earlier_version_are_read(root: RootApi, service: str) -> None:
    stored = root.store.get(PLACEMENTS, f"{service}.0")
    assert stored is not None
    current = {key: value for key, value in stored.document["current"].items() if key != "since"}
    root.put(PLACEMENTS, f"{service}.0", msgspec.convert({**stored.document, "current": current}, Placement))
    assert root.get(f"/api/v1/instances/{service}.0")["history"] == []
