"""Why instances are where they are, or nowhere."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mangrove.model.child import Capacity
from mangrove.model.documents import PLACEMENTS, SLOTS, SPECIFICATIONS, Placement, Refusal, Slot
from mangrove.model.phases import Phase
from mangrove.model.resources import Resources
from mangrove.model.specification import Specification
from mangrove.placement.engine import Judgement
from mangrove.placement.request import kinds_of
from tests.root_api import CLUSTER, NODE, RootApi, microservice, sla

BETA = "b" * 24


@pytest.fixture
def root() -> RootApi:
    root = RootApi()
    root.add_user("eve")
    for id, name, memory in ((CLUSTER, "alpha", 4096), (BETA, "beta", 10)):
        root.add_cluster(name, id)
        root.fleet.table.add(id, name)
        room = Resources(cpu=4000, memory=memory, disk=10_000)
        root.fleet.table.update(id, Capacity(room, nodes=2, architectures=("amd64",), runtimes=("docker",)))
        root.fleet.table.set_live(id, True)
    return root


@pytest.fixture
def service(root: RootApi) -> str:
    id: str = root.create()["microservices"][0]
    for _ in range(3):
        root.deploy(id)
    return id


def explained(root: RootApi, service: str) -> Any:
    return root.get(f"/api/v1/services/{service}/explain")


def test_each_slot_says_where_it_is_or_why_nowhere(root: RootApi, service: str) -> None:
    root.run(f"{service}.0")
    refusal = Refusal("r", "port 8080 is taken")
    waiting = Placement(f"{service}.1", reason="refused by alpha: port 8080 is taken", refused={CLUSTER: refusal})
    root.put(PLACEMENTS, waiting.slot, waiting)
    told = explained(root, service)
    first, second, third = told["slots"]
    assert (first["cluster"], first["node"], first["text"]) == ("alpha", "node1", "is on node1 of alpha")
    assert second["text"] == "is nowhere: refused by alpha: port 8080 is taken"
    assert [each["condition"] for each in second["choice"]["conditions"]] == ["refused", "fit"]
    assert third["text"] == "is nowhere yet: alpha could take it"
    assert third["choice"] is None
    assert (told["choice"]["clusters"], told["choice"]["passed"]) == (2, 1)
    [condition] = told["choice"]["conditions"]
    assert condition == {
        "condition": "fit",
        "ruled_out": 1,
        "text": "needs 100 MiB memory: 1 cluster too small or too full (best has 10 MiB memory free)",
    }
    assert [(each["id"], each["name"]) for each in told["choice"]["best"]] == [(CLUSTER, "alpha")]


def test_what_fails_and_what_completed_say_so(root: RootApi, service: str) -> None:
    attempt = root.run(f"{service}.0")
    root.observe(attempt, Phase.BACKING_OFF, "exit code 1", node=NODE, node_name="node1")
    assert explained(root, service)["slots"][0]["text"] == "is on node1 of alpha: exit code 1"


def test_without_clusters_it_says_so(root: RootApi, service: str) -> None:
    for id in (CLUSTER, BETA):
        root.fleet.table.remove(id)
    assert explained(root, service)["slots"][0]["text"] == "is nowhere: no cluster has joined yet"
    assert root.call("GET", f"/api/v1/services/{service}/explain", user="eve").status_code == 404


def test_placement_is_asked_few_questions_and_each_once(
    root: RootApi, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(20):
        root.deploy(service)
    for number in range(23):
        refusal = Refusal(f"r{number}", "port 8080 is taken" if number < 15 else f"no device {number}")
        waiting = Placement(f"{service}.{number}", reason="refused", refused={CLUSTER: refusal})
        root.put(PLACEMENTS, waiting.slot, waiting)
    asked: list[Any] = []
    judge = root.fleet.judge

    def counted(*given: Any) -> Judgement:
        asked.append(given)
        return judge(*given)

    monkeypatch.setattr(root.fleet, "judge", counted)
    slots = explained(root, service)["slots"]
    assert len(asked) == 5
    assert [slot["choice"] is not None for slot in slots] == [True] * 18 + [False] * 5
    assert slots[0]["choice"] == slots[14]["choice"] != slots[15]["choice"]


def test_one_asker_has_one_explanation_at_a_time(root: RootApi, service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = root.fleet.judge
    meanwhile: list[Any] = []

    def slowly(*given: Any) -> Judgement:
        if not meanwhile:
            meanwhile.append(None)
            meanwhile[0] = root.call("GET", f"/api/v1/services/{service}/explain")
        return judge(*given)

    monkeypatch.setattr(root.fleet, "judge", slowly)
    assert explained(root, service)["slots"]
    assert meanwhile[0].status_code == 503
    assert "wait for its answer" in meanwhile[0].json["message"]
    assert explained(root, service)["slots"]


def tried(root: RootApi, *services: dict[str, Any], instances: int = 1) -> Any:
    answer = root.call("POST", f"/api/v1/explain?instances={instances}", json=sla("shop", *services))
    assert answer.status_code == 200, answer.text
    return answer.json


def test_an_sla_is_tried_and_nothing_is_written(root: RootApi) -> None:
    before = root.store.revision()
    told = tried(root, microservice("web", memory=5, port=""), microservice("db", memory=4090), instances=2)
    web, db = told["services"]
    assert not told["fits"]
    assert "does not know each of their nodes" in told["note"]
    assert (web["name"], web["wanted"], web["placed"], web["missing"]) == ("shop.test.web.test", 2, 2, None)
    assert {each["name"]: each["instances"] for each in web["clusters"]} == {"beta": 2}
    assert [each["name"] for each in web["choice"]["best"]] == ["beta", "alpha"]
    assert (db["placed"], db["clusters"]) == (1, [{"id": CLUSTER, "name": "alpha", "instances": 1}])
    [condition] = db["missing"]["conditions"]
    assert (condition["condition"], condition["ruled_out"]) == ("fit", 2)
    assert "best has 6 MiB memory free" in condition["text"]
    assert root.store.revision() == before
    assert root.fleet.table.reservations == {}
    assert tried(root, microservice("web"))["fits"]


def test_the_same_trial_is_never_answered_from_memory(root: RootApi) -> None:
    key = {"Idempotency-Key": "a"}
    before = root.store.revision()
    assert root.call("POST", "/api/v1/explain", json=sla(), headers=key).json["fits"]
    root.fleet.table.set_live(CLUSTER, False)
    assert not root.call("POST", "/api/v1/explain", json=sla(), headers=key).json["fits"]
    assert root.store.revision() == before


@pytest.mark.parametrize(
    ("path", "document", "field"),
    [
        ("/api/v1/explain", sla("shop", microservice(memory=-1)), "applications[0].microservices[0].memory"),
        ("/api/v1/explain", {}, "sla_version"),
        ("/api/v1/explain?instances=0", sla(), "instances"),
        ("/api/v1/explain?instances=1000", sla("shop", *(microservice(f"s{n}") for n in range(11))), "instances"),
    ],
)
def test_what_cannot_be_tried_is_refused(root: RootApi, path: str, document: Any, field: str) -> None:
    answer = root.call("POST", path, json=document)
    assert (answer.status_code, answer.json["field"]) == (422, field)


@pytest.fixture
def full(root: RootApi, service: str) -> RootApi:
    """Both instances of the service fill its cluster, as the root has heard of it."""
    there = Capacity(Resources(cpu=2000, memory=2048), architectures=("amd64",), runtimes=("docker",))
    root.add_node(capacity=there, reserved=Resources(cpu=2000))
    low = root.store.load(SLOTS)[0].read(Slot).specification
    table = root.fleet.table
    told = (0, (Resources(cpu=2000, memory=2048),))
    table.update(CLUSTER, msgspec.structs.replace(there, largest=(Resources(),), yielding=(told,)))
    for number in range(2):
        root.run(f"{service}.{number}")
        stored = root.store.get(SPECIFICATIONS, low)
        assert stored is not None
        table.reserve(f"{number}", CLUSTER, Resources(cpu=1000), kinds_of(stored.read(Specification)), 0)
    return root


def test_who_would_make_room_is_told_in_advance(full: RootApi, service: str) -> None:
    body = sla("urgent", microservice("alarm", priority=100, port=""))
    told = full.call("POST", "/api/v1/explain", json=body).json
    [tried] = told["services"]
    assert (told["fits"], tried["placed"], tried["displacing"]) == (True, 1, 1)
    [displaced] = tried["displaces"]
    assert displaced["name"] == "web"
    assert displaced["id"] in (f"{service}.0", f"{service}.1")
    assert (displaced["cluster"], displaced["node"], displaced["priority"]) == ("alpha", "node1", 0)
    told = full.call("POST", "/api/v1/explain", user="eve", json=body).json
    assert [each["name"] for each in told["services"][0]["displaces"]] == [None], "it is not for them to see"
    modest = sla("urgent", microservice("alarm", priority=100, port="", preemption_policy="never"))
    told = full.call("POST", "/api/v1/explain", json=modest).json
    assert (told["fits"], told["services"][0]["displaces"]) == (False, [])
    assert len(full.fleet.table.reservations) == 2, "nothing has changed"


def test_of_what_waits_it_is_told_who_would_make_room(full: RootApi) -> None:
    created = full.create("urgent", microservice("alarm", priority=100, port=""))
    told = explained(full, created["microservices"][0])
    assert told["choice"]["passed"] == 0
    assert [each["name"] for each in told["displaces"]] == ["web"]
