"""The forms of what Oakestra's paths answer, for the description of the API and for mypy.

Dictionaries, since services also carry whatever their user declared.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

#: An id as MongoDB's JSON writes it; the dashboard reads it so.
ObjectId = TypedDict("ObjectId", {"$oid": str})


class Token(TypedDict):
    """A new access token."""

    token: str


class Tokens(Token):
    """An access token, valid for ten minutes, and a refresh token, with which to get more of them for thirty days."""

    refresh_token: str


class Roles(TypedDict):
    """Roles in the organization of the caller's token."""

    roles: list[str]


class UserDocument(TypedDict):
    """A user. created_at: `dd/mm/YYYY HH:MM` in UTC; roles: in the organization of the caller's token."""

    _id: ObjectId
    name: str
    email: str
    created_at: str
    roles: list[str]


class MemberEntry(TypedDict):
    """A member, by user id, and what they may do."""

    user_id: str
    roles: list[str]


class OrganizationDocument(TypedDict):
    """An organization with its members."""

    _id: ObjectId
    name: str
    member: list[MemberEntry]


class ApplicationDocument(TypedDict):
    """An application. userId: its owner's name; microservices: ids of its services."""

    _id: ObjectId
    applicationID: str
    application_name: str
    application_namespace: str
    application_desc: str
    microservices: list[str]
    userId: str


class TextSample(TypedDict):
    """A value measured, as a decimal number; timestamp: ISO 8601."""

    value: str
    timestamp: str


class Sample(TypedDict):
    """A value measured; timestamp: wall-clock seconds."""

    value: float
    timestamp: float


class InstanceDocument(TypedDict):
    """An instance. cpu_percent, memory_percent, disk (bytes): as last measured; histories: oldest first.

    instance_ip, instance_ip_v6: its own, in the network between services.
    cpu in percent of the node, memory_history in bytes. last_modified_timestamp: wall-clock seconds.
    """

    instance_number: int
    cluster_id: str | None
    cluster_location: str
    status: str
    status_detail: str
    publicip: str | None
    host_ip: str | None
    host_port: int | None
    instance_ip: str | None
    instance_ip_v6: str | None
    worker_id: str | None
    cpu_percent: str | None
    memory_percent: str | None
    disk: str | None
    logs: str
    cpu_history: list[TextSample]
    memory_history: list[TextSample]
    last_modified_timestamp: float


class ServiceIp(TypedDict):
    """An address of a service, of both families. IpType: `RR`, `Closest`, `LeastLoaded` or `InstanceNumber`."""

    IpType: str
    Address: str
    Address_v6: str
    instance_number: NotRequired[int]


class ServiceDocument(TypedDict):
    """A service: all fields that its user declared, and these. status: None while no instance is wanted."""

    _id: ObjectId
    microserviceID: str
    microservice_name: str
    microservice_namespace: str
    service_name: str
    service_ns: str
    applicationID: str
    application_name: str
    application_namespace: str
    app_name: str
    app_ns: str
    job_name: str
    virtualization: str
    image: str
    code: str
    RR_ip: str
    RR_ip_v6: str
    service_ip_list: list[ServiceIp]
    next_instance_progressive_number: int
    instance_list: list[InstanceDocument]
    status: str | None
    status_detail: str
    memory: NotRequired[int]
    vcpus: NotRequired[int]
    vgpus: NotRequired[int]
    storage: NotRequired[int]
    port: NotRequired[str]
    cmd: NotRequired[list[str]]
    environment: NotRequired[list[str]]
    constraints: NotRequired[list[Any]]


class ServiceOutcome(TypedDict):
    """What became of one service of an SLA; status: as HTTP's."""

    service_name: str
    status: int


class ServicesAdded(TypedDict):
    """What became of the services of an SLA: all are added, or none. job_id: of the last one."""

    job_id: str
    deployed_services: list[ServiceOutcome]
    failed_services: list[ServiceOutcome]


class Deployed(TypedDict):
    """That one more instance is wanted, and its number."""

    message: str
    instance_number: int


class ClusterDocument(TypedDict):
    """A cluster. memory, memory_in_mb, vram: MiB; usage in percent; gpu_temp in °C; times: wall-clock seconds.

    Several fields say the same under two names, since clients differ.
    """

    _id: str
    candidate_name: str
    cluster_name: str
    candidate_location: str
    cluster_location: str
    ip: str
    port: str
    active: bool
    active_nodes: int
    vcpus: int
    total_cpu_cores: int
    vgpus: int
    total_gpu_cores: int
    memory: int
    memory_in_mb: int
    vram: int
    cpu_percent: float
    aggregated_cpu_percent: float
    memory_percent: float
    gpu_percent: float
    gpu_temp: float
    vram_percent: float
    gpu_drivers: list[str]
    virtualization: list[str]
    supported_addons: list[str]
    csi_drivers: list[str]
    cpu_history: list[Sample]
    memory_history: list[Sample]
    last_modified_timestamp: float
