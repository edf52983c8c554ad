"""Every field has the type that Oakestra's two command lines and its dashboard decode."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest

from mangrove.model.attempt import Usage
from mangrove.model.child import Capacity
from mangrove.model.phases import Phase
from mangrove.model.resources import Resources
from tests.root_api import CLUSTER, RootApi, microservice

# The Go client's structs: it refuses the whole answer when one field has another type (null counts as absent).


class GoPoint(msgspec.Struct):
    value: str
    timestamp: str


class GoInstance(msgspec.Struct):
    instance_number: int
    host_port: int | None
    status: str
    status_detail: str
    publicip: str | None
    host_ip: str | None
    cluster_id: str | None
    cluster_location: str
    worker_id: str | None
    logs: str | None
    disk: str | None
    cpu_percent: str | None
    memory_percent: str | None
    cpu_history: list[GoPoint]
    memory_history: list[GoPoint]
    last_modified_timestamp: float


class Oid(msgspec.Struct):
    oid: Annotated[str, msgspec.Meta(min_length=24)] = msgspec.field(name="$oid")


class GoService(msgspec.Struct):
    _id: Oid
    microserviceID: str
    microservice_name: str
    microservice_namespace: str
    applicationID: str
    application_name: str
    app_name: str
    app_ns: str
    service_name: str
    service_ns: str
    job_name: str
    instance_list: list[GoInstance]
    status: str | None
    status_detail: str
    port: str
    code: str
    image: str
    virtualization: str
    memory: int
    vcpus: int
    vgpus: int
    environment: list[str]
    cmd: list[str]
    RR_ip: str
    next_instance_progressive_number: int


class GoApplication(msgspec.Struct):
    _id: Oid
    applicationID: str
    application_name: str
    application_namespace: str
    application_desc: str
    microservices: list[str]
    userId: str


class GoClusterPoint(msgspec.Struct):
    value: float | None
    timestamp: float


class GoCluster(msgspec.Struct):
    _id: str
    cluster_name: str
    candidate_name: str
    candidate_location: str
    cluster_location: str
    ip: str
    port: str
    active: bool
    active_nodes: int
    total_cpu_cores: int
    total_gpu_cores: int
    vcpus: int
    vgpus: int
    memory: int
    memory_in_mb: int
    vram: int
    cpu_percent: float
    aggregated_cpu_percent: float
    memory_percent: float
    gpu_percent: float
    gpu_temp: float
    vram_percent: float
    virtualization: list[str]
    csi_drivers: list[str]
    supported_addons: list[str]
    gpu_drivers: list[str]
    cpu_history: list[GoClusterPoint]
    memory_history: list[GoClusterPoint]
    last_modified_timestamp: float


#: Fields of a user's own that would break clients, were they answered as they came.
HOSTILE: dict[str, Any] = {
    "instance_list": "none",
    "status": 7,
    "RR_ip": ["x"],
    "applicationID": 3,
    "app_name": {},
    "_id": 1,
    "image": None,
    "job_name": 5,
}


@pytest.fixture(scope="module")
def root() -> RootApi:
    """Instances in every phase, measured and not, on a cluster that speaks and on one that has yet said nothing."""
    root = RootApi()
    full = microservice(
        "full",
        environment=["A=b"],
        cmd=["x"],
        addresses={"rr_ip": "10.30.0.9"},
        constraints=[{"type": "direct", "node": "n"}],
        **HOSTILE,
    )
    bare = {
        "microservice_name": "bare",
        "microservice_namespace": "test",
        "virtualization": "process",
        "code": "/bin/true",
    }
    services = root.create("demo", full, bare)["microservices"]
    root.create("empty")
    root.add_cluster()
    root.add_cluster("beta", "b" * 24, state="joined", capacity=Capacity(), address="")
    room = Resources(cpu=1500, memory=10, gpus=1, vram=81559)
    root.add_cluster(
        "gamma", "a" * 24, state="silent", capacity=Capacity(room, gpu_drivers=("550",)), address="[::1]:10200"
    )
    root.add_node(usage=Usage(cpu=50, memory_percent=3))
    for service in services:
        for number, phase in enumerate(Phase):
            root.deploy(service)
            slot = f"{service}.{number}"
            if phase == Phase.PENDING:
                root.leave_pending(slot, "nothing fits")
                continue
            attempt = root.run(slot)
            if phase != Phase.RUNNING:
                root.observe(attempt, phase)
            else:
                root.fleet.measured[attempt] = [Usage(cpu=2.5, memory=10, measured=1.8e9)]
        root.deploy(service)
    root.fleet.measured[CLUSTER] = [Usage(cpu=12.5, memory_percent=3, measured=1.8e9)]
    return root


def test_services(root: RootApi) -> None:
    listed = root.get("/api/services/")
    services = msgspec.convert(listed, list[GoService])
    assert len(services) == 3
    full = next(service for service in services if service.microservice_name == "full")
    assert full.RR_ip == "10.30.0.9"
    assert {instance.status for instance in full.instance_list} > {"RUNNING", "FAILED", "DEAD", "REQUESTED"}
    assert all(instance.status_detail for instance in full.instance_list)
    for each in listed:
        single = root.get(f"/api/service/{each['microserviceID']}")
        assert single == each
        of_application = root.get(f"/api/services/{each['applicationID']}")
        assert each in of_application


def test_applications(root: RootApi) -> None:
    listed = root.get("/api/applications")
    applications = msgspec.convert(listed, list[GoApplication])
    assert {each.application_name for each in applications} == {"demo", "empty"}
    for each in applications:
        assert each._id.oid == each.applicationID
        assert msgspec.convert(root.get(f"/api/application/{each.applicationID}"), GoApplication) == each


def test_clusters(root: RootApi) -> None:
    listed = root.get("/api/clusters/")
    alpha, beta, gamma = msgspec.convert(listed, list[GoCluster])
    # Whole numbers, not floats that happen to be whole: the Go client would refuse 81559.0.
    assert all(type(each[name]) is int for each in listed for name in ("vram", "vcpus", "memory_in_mb", "active_nodes"))
    assert (alpha.cluster_name, alpha.active, alpha.active_nodes, alpha.cpu_percent) == ("alpha", True, 1, 12.5)
    assert (alpha.cluster_location, alpha.ip, alpha.port) == ("48.1,11.5,100", "127.0.0.1", "10100")
    assert (beta.active, beta.active_nodes, beta.ip, beta.cluster_location) == (False, 0, "", "")
    assert (gamma.active, gamma.vram, gamma.vcpus, gamma.ip, gamma.port) == (False, 81559, 1, "::1", "10200")
    assert [each["_id"] for each in root.get("/api/clusters/active")] == [CLUSTER]


def test_login(root: RootApi) -> None:
    answer = root.login().json
    assert {name: value.count(".") for name, value in answer.items()} == {"token": 2, "refresh_token": 2}


def test_clusters_that_tell_no_usage_are_summed_up_from_their_nodes(root: RootApi) -> None:
    del root.fleet.measured[CLUSTER]
    alpha = root.get("/api/clusters/active")[0]
    assert (alpha["cpu_percent"], alpha["memory_percent"]) == (50.0, 3.0)
