"""The life of applications, services and instances through the API, as Oakestra's clients drive it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from mangrove.base.errors import Conflict, Unavailable
from mangrove.model.attempt import Usage
from mangrove.model.documents import APPLICATIONS, SERVICES, SPECIFICATIONS, Service
from mangrove.model.phases import Phase
from mangrove.model.specification import Specification
from mangrove.store.interface import Delete, Operation, Put, Store, Stored, StoreUnavailable
from mangrove.store.memory import MemoryStore
from tests.root_api import CLUSTER, NODE, RootApi, microservice, sla


@pytest.fixture
def root(store: Store) -> RootApi:
    return RootApi(store)


def test_from_application_to_running_instances_and_back(root: RootApi) -> None:
    application = root.create("demo", microservice("web"), microservice("db", port=""))
    web, db = application["microservices"]
    assert root.get("/api/applications") == [application]
    assert root.get(f"/api/application/{application['applicationID']}") == application
    assert [service["microservice_name"] for service in root.get("/api/services/")] == ["db", "web"]
    assert root.get(f"/api/service/{web}")["instance_list"] == []

    assert [root.deploy(web), root.deploy(web), root.deploy(db)] == [0, 1, 0]
    assert {id: slot.desired for id, slot in root.slots().items()} == {
        f"{web}.0": "run", f"{web}.1": "run", f"{db}.0": "run"
    }  # fmt: skip
    root.add_cluster()
    root.run(f"{web}.0")
    shown = root.get(f"/api/service/{web}")
    assert [each["status"] for each in shown["instance_list"]] == ["RUNNING", "REQUESTED"]
    assert shown["instance_list"][0]["cluster_id"] == CLUSTER
    assert shown["instance_list"][0]["worker_id"] == NODE
    assert shown["instance_list"][0]["host_port"] == 8080
    assert shown["status"] == "REQUESTED"

    gone = root.call("DELETE", f"/api/service/{web}/instance/0")
    assert (gone.status_code, gone.json) == (200, {"message": "ok"})
    assert [each["instance_number"] for each in root.get(f"/api/service/{web}")["instance_list"]] == [1]
    assert root.slots()[f"{web}.0"].desired == "stop"
    assert [root.deploy(web), root.deploy(web)] == [2, 3]  # numbers are never used again

    root.call("DELETE", f"/api/service/{web}/instance/-1")
    assert root.get(f"/api/service/{web}")["instance_list"] == []
    assert root.slots()[f"{db}.0"].desired == "run"

    gone = root.call("DELETE", f"/api/application/{application['applicationID']}")
    assert (gone.status_code, gone.json) == (200, {"message": "Application Deleted"})
    assert root.get("/api/applications") == root.get("/api/services") == []
    assert {slot.desired for slot in root.slots().values()} == {"stop"}
    assert root.call("GET", f"/api/service/{web}").status_code == 404


def test_what_is_written_is_what_controllers_read(root: RootApi) -> None:
    application = root.create("demo", microservice("web", cmd=["a"], vm_images=["x"]))
    [service_id] = application["microservices"]
    root.deploy(service_id)
    stored = root.store.get(SERVICES, service_id)
    assert stored is not None
    service = msgspec.convert(stored.document, Service)
    slot = root.slots()[f"{service_id}.0"]
    assert (slot.service, slot.number, slot.specification) == (service_id, 0, service.specification)
    assert (service.owner, service.next_number) == ("Admin", 1)
    assert service.declared["vm_images"] == ["x"]
    [kept] = root.store.load(SPECIFICATIONS)
    specification = msgspec.convert(kept.document, Specification)
    assert specification.digest == kept.id == service.specification
    assert specification.name == "demo.test.web.test"


def test_a_service_is_added_to_an_application_and_removed(root: RootApi) -> None:
    application = root.create("demo", microservice("web"))["applicationID"]
    extra = sla("other", microservice("db"), applicationID=application)
    answer = root.call("POST", "/api/service/", json=extra)
    assert answer.status_code == 200
    added = answer.json["job_id"]
    assert answer.json["deployed_services"] == [{"service_name": "db", "status": 200}]
    assert answer.json["failed_services"] == []
    assert added in root.get(f"/api/application/{application}")["microservices"]
    assert root.get(f"/api/service/{added}")["job_name"] == "demo.test.db.test"  # of the application that is there

    root.deploy(added)
    assert root.call("DELETE", f"/api/service/{added}").json == {"message": "Job deleted"}
    assert added not in root.get(f"/api/application/{application}")["microservices"]
    assert root.slots()[f"{added}.0"].desired == "stop"
    assert root.call("POST", f"/api/service/{added}/instance").status_code == 404


def test_names_are_taken_once(root: RootApi) -> None:
    application = root.create("demo")["applicationID"]
    again = root.call("POST", "/api/application", json=sla("demo"))
    assert again.status_code == 409
    assert '"demo"' in again.json["message"]
    assert root.call("POST", "/api/application", json=sla("demo", application_namespace="other")).status_code == 200
    service = root.call("POST", "/api/service", json=sla("demo", microservice("web"), applicationID=application))
    assert service.status_code == 409
    root.add_user("bob")
    assert root.create("demo", user="bob")["userId"] == "bob"


def test_several_applications_are_made_together_or_not_at_all(root: RootApi) -> None:
    root.create("taken")
    both = sla("fresh")
    both["applications"] += sla("taken")["applications"]
    assert root.call("POST", "/api/application", json=both).status_code == 409
    assert [each["application_name"] for each in root.get("/api/applications")] == ["taken"]
    assert len(root.store.load(SERVICES)) == 1


def test_creating_answers_all_applications_of_the_caller_alone(root: RootApi) -> None:
    root.add_user("bob")
    root.create("bobs", user="bob")
    root.create("one")
    answer = root.call("POST", "/api/application", json=sla("two"))
    assert {each["application_name"] for each in answer.json} == {"one", "two"}
    assert len(root.get("/api/applications")) == 3


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"data": b"", "content_type": "application/json"},
        {"json": {"anything": 1}},
        {"data": b"\xff{", "content_type": "text/plain"},
    ],
)
def test_deploying_needs_no_body_and_reads_none(root: RootApi, more: dict[str, Any]) -> None:
    [service] = root.create()["microservices"]
    answer = root.call("POST", f"/api/service/{service}/instance", **more)
    assert (answer.status_code, answer.json["message"]) == (200, "ok")


def test_many_at_once_lose_nothing(root: RootApi) -> None:
    [service] = root.create()["microservices"]

    def deploy() -> None:
        for _ in range(10):
            root.deploy(service)

    _together(deploy, 8)
    assert sorted(slot.number for slot in root.slots().values()) == list(range(80))


def test_one_name_is_given_to_one_of_many_who_ask_at_once(root: RootApi) -> None:
    root.as_user()
    answers: list[int] = []

    def create() -> None:
        answers.append(root.call("POST", "/api/application", json=sla()).status_code)

    _together(create, 8)
    assert sorted(answers) == [200] + [409] * 7


def test_one_name_is_given_to_one_of_two_copies_of_the_api() -> None:
    class Beaten(MemoryStore):
        """The other copy makes the same application just before this one writes its own."""

        beaten = False

        def apply(self, operations: Sequence[Operation], **more: Any) -> int:
            if not self.beaten and any(one.collection == APPLICATIONS for one in operations):
                self.beaten = True
                other.create()
            return super().apply(operations, **more)

    store = Beaten()
    root, other = RootApi(store), RootApi(store)
    assert root.call("POST", "/api/application", json=sla()).status_code == 409
    assert len(store.load(APPLICATIONS)) == len(store.load(SERVICES)) == 1


class Rival(MemoryStore):
    """A store on which another copy of the API writes just before each of the next `meddling` batches."""

    meddling = 0

    def apply(self, operations: Sequence[Operation], **more: Any) -> int:
        if self.meddling:
            self.meddling -= 1
            for one in operations:
                stored = self.get(one.collection, one.id)
                if stored is not None:
                    super().apply([Put(one.collection, one.id, stored.document)])
        return super().apply(operations, **more)


def test_a_write_that_met_another_is_tried_again() -> None:
    store = Rival()
    root = RootApi(store)
    application = root.create()
    [service] = application["microservices"]
    requests = [
        ("POST", f"/api/service/{service}/instance"),
        ("DELETE", f"/api/service/{service}/instance/0"),
        ("DELETE", f"/api/application/{application['applicationID']}"),
    ]
    for method, path in requests:
        store.meddling = 3
        assert root.call(method, path).status_code == 200
    assert [slot.desired for slot in root.slots().values()] == ["stop"]


def test_a_write_that_always_meets_another_gives_up_and_changes_nothing() -> None:
    store = Rival()
    root = RootApi(store)
    [service] = root.create()["microservices"]
    store.meddling = 1000
    answer = root.call("POST", f"/api/service/{service}/instance")
    store.meddling = 0
    assert answer.status_code == 503
    assert "Retry-After" in answer.headers
    assert root.slots() == {}


def test_a_deleted_application_takes_a_slot_that_came_meanwhile_with_it() -> None:
    class Deploying(MemoryStore):
        """Adds an instance just before the application is deleted."""

        def apply(self, operations: Sequence[Operation], **more: Any) -> int:
            if isinstance(operations[0], Delete) and operations[0].collection == APPLICATIONS and root.slots() == {}:
                root.call("POST", f"/api/service/{service}/instance")
            return super().apply(operations, **more)

    root = RootApi(Deploying())
    application = root.create()
    [service] = application["microservices"]
    # The second copy of the API, with a lock of its own.
    second = RootApi(root.store)
    assert second.call("DELETE", f"/api/application/{application['applicationID']}").status_code == 200
    assert [slot.desired for slot in root.slots().values()] == ["stop"]


def test_reasons_and_silence_are_told(root: RootApi) -> None:
    direct = [{"type": "direct", "cluster": "nowhere"}]
    [web] = root.create("demo", microservice("web"))["microservices"]
    [pinned] = root.create("pinned", microservice("web", constraints=direct))["microservices"]
    for service in (web, web, pinned):
        root.deploy(service)
    root.add_cluster(state="silent")
    root.fleet.heard = {CLUSTER: 40.0}
    root.run(f"{web}.0")
    root.leave_pending(f"{web}.1", "needs 4 GiB: 3 nodes too small")
    root.leave_pending(f"{pinned}.0", "no cluster is called nowhere")

    shown = root.get(f"/api/service/{web}")
    first, second = shown["instance_list"]
    assert (first["status"], first["status_detail"]) == ("RUNNING", "not heard for 40 s")
    assert (second["status"], second["status_detail"]) == (
        "NoActiveClusterWithCapacity",
        "needs 4 GiB: 3 nodes too small",
    )
    assert shown["status"] == "NoActiveClusterWithCapacity"
    assert shown["status_detail"] == "1 of 2 instances: needs 4 GiB: 3 nodes too small"
    assert root.get(f"/api/service/{pinned}")["status"] == "TargetClusterNotFound"


def test_what_an_instance_used_is_told(root: RootApi) -> None:
    [service] = root.create()["microservices"]
    root.deploy(service)
    attempt = root.run(f"{service}.0")
    root.fleet.measured[attempt] = [
        Usage(cpu=1.0, memory=1_000_000, measured=1_800_000_000.0),
        Usage(cpu=12.345, memory=2_000_000, memory_percent=3.5, disk=77, measured=1_800_000_001.0),
    ]
    [instance] = root.get(f"/api/service/{service}")["instance_list"]
    assert (instance["cpu_percent"], instance["memory_percent"], instance["disk"]) == ("12.35", "3.50", "77")
    assert instance["cpu_history"][1] == {"value": "12.35", "timestamp": "2027-01-15T08:00:01+00:00"}
    assert [each["value"] for each in instance["memory_history"]] == ["1000000", "2000000"]


class Counting(MemoryStore):
    """Counts reads."""

    reads = 0

    def load(self, collection: str) -> list[Stored]:
        self.reads += 1
        return super().load(collection)

    def get(self, collection: str, id: str) -> Stored | None:
        self.reads += 1
        return super().get(collection, id)

    def get_many(self, collection: str, ids: Sequence[str]) -> dict[str, Stored]:
        self.reads += 1
        return super().get_many(collection, ids)

    def query(self, *arguments: Any, **more: Any) -> list[Stored]:
        self.reads += 1
        return super().query(*arguments, **more)


def test_a_thousand_services_are_listed_by_a_few_reads() -> None:
    store = Counting()
    root = RootApi(store)
    for number in range(10):
        root.create(f"demo{number}", *(microservice(f"web{each}") for each in range(100)))
    services = [stored.id for stored in store.load(SERVICES)]
    for service in services[:300]:
        root.deploy(service)
    for service in services[:100]:
        root.run(f"{service}.0")
    store.reads = 0
    listed = root.get("/api/services/")
    assert len(listed) == 1000
    assert sum(each["status"] == "RUNNING" for each in listed) == 100
    assert store.reads < 20


def test_nodes_clusters_and_services_in_our_own_words(root: RootApi) -> None:
    [service] = root.create()["microservices"]
    root.deploy(service)
    root.deploy(service)
    root.add_cluster()
    root.add_node()
    attempt = root.run(f"{service}.0")
    root.observe(attempt, Phase.BACKING_OFF, "exit code 3", exit_code=3, restarts=2, node=NODE, node_name="node1")

    [node] = root.get("/api/v1/nodes")["items"]
    assert (node["id"], node["name"], node["cluster"]["id"], node["cluster"]["name"]) == (
        NODE,
        "node1",
        CLUSTER,
        "alpha",
    )
    assert node["capacity"]["architectures"] == ["arm64"]
    assert node["usage"]["cpu"] == 0.0  # defaults are written out too
    [cluster] = root.get("/api/v1/clusters")["items"]
    assert (cluster["state"], cluster["nodes"], cluster["capacity"]["allocatable"]["cpu"]) == ("live", 1, 4000)
    shown = root.get(f"/api/v1/services/{service}")
    assert shown["specification"]["image"] == "docker.io/library/nginx:latest"
    first, second = shown["slots"]
    assert (first["phase"], first["reason"], first["exit_code"], first["restarts"]) == (
        "backing_off",
        "exit code 3",
        3,
        2,
    )
    assert (first["node"]["name"], first["cluster"]["name"], first["attempt"]) == ("node1", "alpha", attempt)
    assert (second["phase"], second["cluster"], second["node"]) == ("pending", None, None)


def test_join_tokens_are_made_and_revoked_by_admin(root: RootApi) -> None:
    made = root.call("POST", "/api/v1/cluster-tokens", json={"uses": 3, "ttl": 60})
    assert made.status_code == 200
    assert made.json["token"].startswith("mgv-")
    assert made.json["expires"] == root.clock.wall() + 60
    assert root.call("POST", "/api/v1/cluster-tokens").status_code == 200
    assert root.call("DELETE", f"/api/v1/cluster-tokens/{made.json['id']}").json == {"message": "ok"}
    assert root.call("DELETE", f"/api/v1/cluster-tokens/{'0' * 24}").status_code == 404


def test_node_tokens_are_asked_of_the_cluster(root: RootApi) -> None:
    root.add_cluster()
    root.fleet.answer = {"id": "t", "token": "mgv-x", "expires": 5}
    path = f"/api/v1/clusters/{CLUSTER}/node-tokens"
    assert root.call("POST", path, json={"uses": 2, "ttl": 60}).json == root.fleet.answer
    assert root.fleet.calls == [(CLUSTER, "node_token", {"uses": 2, "ttl": 60.0})]
    root.fleet.answer = Unavailable("alpha did not answer within 10 s")
    late = root.call("POST", path)
    assert (late.status_code, late.json["message"]) == (503, "alpha did not answer within 10 s")
    root.fleet.answer = Conflict("no")
    assert root.call("POST", path).status_code == 409
    assert root.call("POST", f"/api/v1/clusters/{'0' * 24}/node-tokens").status_code == 404


def test_a_store_that_is_away_means_try_again() -> None:
    class Away(MemoryStore):
        away = False

        def get(self, collection: str, id: str) -> Stored | None:
            if self.away:
                raise StoreUnavailable("the disk is full; make room")
            return super().get(collection, id)

    store = Away()
    root = RootApi(store)
    root.as_user()
    store.away = True
    answer = root.call("GET", "/api/service/" + "0" * 24)
    assert (answer.status_code, answer.json) == (503, {"message": "the disk is full; make room"})
    assert int(answer.headers["Retry-After"]) > 0


def test_an_unexpected_error_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(MemoryStore):
        def load(self, collection: str) -> list[Stored]:
            raise ZeroDivisionError("secret detail")

    root = RootApi(Broken())
    answer = root.call("GET", "/api/clusters")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.json["message"]
    assert "secret detail" in caplog.text


def test_pages_of_other_origins_are_let_in_only_when_named() -> None:
    page = {"Origin": "https://board.example"}
    preflight = {**page, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    closed = RootApi()
    assert "Access-Control-Allow-Origin" not in closed.call("GET", "/api/clusters", headers=page).headers
    for origins in (["https://board.example"], ["*"]):
        root = RootApi(cors_origins=origins)
        answer = root.request("OPTIONS", "/api/application", headers=preflight)
        assert answer.status_code == 200
        assert answer.headers["Access-Control-Allow-Origin"] == "https://board.example"
        named = set(answer.headers["Access-Control-Allow-Headers"].split(", "))
        assert named >= {"Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "X-Request-ID"}
        refused = root.request("GET", "/api/clusters", headers=page)
        assert refused.status_code == 401
        assert refused.headers["Access-Control-Allow-Origin"] == "https://board.example"
    other = RootApi(cors_origins=["https://other.example"]).request("OPTIONS", "/api/application", headers=preflight)
    assert "Access-Control-Allow-Origin" not in other.headers


def _together(work: Any, times: int) -> None:
    """Run `work` in that many threads at once; their first error is raised here."""
    failed: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if failed:
        raise failed[0]
