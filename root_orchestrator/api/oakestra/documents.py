"""Applications, services, instances and clusters as Oakestra's clients read them: every field, of the type they decode.

The Go client refuses a whole answer for one wrong type, the Python one dies of a missing key; so fields of our own
come last and overwrite whatever a user declared under the same name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast
from urllib.parse import urlsplit

from mangrove.model.attempt import Usage
from mangrove.model.documents import Application, Service, User
from mangrove.model.position import Position
from root_orchestrator.api.oakestra import dialect
from root_orchestrator.api.oakestra.answers import (
    ApplicationDocument,
    ClusterDocument,
    InstanceDocument,
    ObjectId,
    ServiceDocument,
    ServiceIp,
    UserDocument,
)
from root_orchestrator.api.views import ClusterView, InstanceView, ServiceView

#: Port of a cluster's HTTP server, where its address does not say another one.
_CLUSTER_PORT = 10100


def object_id(id: str) -> ObjectId:
    """An id as MongoDB's JSON writes it; the dashboard reads it so."""
    return {"$oid": id}


def user_document(user: User, roles: Sequence[str]) -> UserDocument:
    """A user, without the password."""
    return {
        "_id": object_id(user.id),
        "name": user.name,
        "email": user.email,
        "created_at": datetime.fromtimestamp(user.created, UTC).strftime("%d/%m/%Y %H:%M"),
        "roles": list(roles),
    }


def application_document(application: Application) -> ApplicationDocument:
    """An application. userId is its owner's name, as with Oakestra."""
    return {
        "_id": object_id(application.id),
        "applicationID": application.id,
        "application_name": application.name,
        "application_namespace": application.namespace,
        "application_desc": application.description,
        "microservices": list(application.services),
        "userId": application.owner,
    }


def service_document(view: ServiceView, clusters: Mapping[str, bool]) -> ServiceDocument:
    """A service with its instances. clusters: name → whether it is active."""
    service, specification, application = view.service, view.specification, view.application
    unplaced = dialect.unplaced_word(specification.constraints, clusters)
    port = specification.ports[0].host if specification.ports else None
    instances = [_instance_document(instance, port, unplaced) for instance in view.instances]
    word, detail = dialect.service_status([(each["status"], each["status_detail"]) for each in instances])
    application_name = application.name if application else ""
    application_namespace = application.namespace if application else ""
    document = {
        **service.declared,
        "_id": object_id(service.id),
        "microserviceID": service.id,
        "microservice_name": service.name,
        "microservice_namespace": service.namespace,
        "service_name": service.name,
        "service_ns": service.namespace,
        "applicationID": service.application,
        "application_name": application_name,
        "application_namespace": application_namespace,
        "app_name": application_name,
        "app_ns": application_namespace,
        "job_name": specification.name,
        "virtualization": specification.runtime,
        "image": specification.image,
        "code": specification.image,
        "RR_ip": _round_robin(service, 4),
        "RR_ip_v6": _round_robin(service, 6),
        "service_ip_list": _ip_list(service),
        "next_instance_progressive_number": service.next_number,
        "instance_list": instances,
        "status": word,
        "status_detail": detail,
    }
    return cast(ServiceDocument, document)


#: What Oakestra calls addresses in its lists, by policy.
_CALLED = {"round_robin": "RR", "closest": "Closest", "least_loaded": "LeastLoaded", "instance": "InstanceNumber"}


def _round_robin(service: Service, version: int) -> str:
    """The address that each service has, or else the one that was declared."""
    for each in service.addresses:
        if each.policy == "round_robin" and (":" in each.address) == (version == 6):
            return each.address
    wished: dict[str, Any] = service.declared.get("addresses") or {}
    return str(wished.get("rr_ip" if version == 4 else "rr_ip_v6", "")) if not service.addresses else ""


def _ip_list(service: Service) -> list[ServiceIp]:
    """The addresses as Oakestra's network lists them: both families of one kind together."""
    found: dict[tuple[str, int | None], ServiceIp] = {}
    for each in service.addresses:
        entry: ServiceIp = {"IpType": _CALLED[each.policy], "Address": "", "Address_v6": ""}
        if each.number is not None:
            entry["instance_number"] = each.number
        entry = found.setdefault((each.policy, each.number), entry)
        if ":" in each.address:
            entry["Address_v6"] = each.address
        else:
            entry["Address"] = each.address
    return list(found.values())


def _instance_document(view: InstanceView, port: int | None, unplaced: str) -> InstanceDocument:
    status, cluster = view.status, view.cluster
    latest = view.usage[-1] if view.usage else None
    silent_for = cluster.age if cluster is not None and cluster.child.state == "silent" else None
    return {
        "instance_number": view.slot.number,
        "cluster_id": cluster.child.id if cluster else None,
        "cluster_location": location_of(cluster.child.capacity.position) if cluster else "",
        "status": dialect.instance_word(status, failures=view.failures, unplaced=unplaced),
        "status_detail": dialect.instance_detail(status, silent_for=silent_for),
        "publicip": status.address or None,
        "host_ip": status.address or None,
        "host_port": port if status.address else None,
        "instance_ip": status.ipv4 or None,
        "instance_ip_v6": status.ipv6 or None,
        "worker_id": status.node or None,
        "cpu_percent": _number(latest.cpu) if latest else None,
        "memory_percent": _number(latest.memory_percent) if latest else None,
        "disk": str(latest.disk) if latest else None,
        "logs": "",
        "cpu_history": [{"value": _number(usage.cpu), "timestamp": _iso(usage)} for usage in view.usage],
        "memory_history": [{"value": str(usage.memory), "timestamp": _iso(usage)} for usage in view.usage],
        "last_modified_timestamp": max(status.since, latest.measured if latest else 0.0),
    }


def cluster_document(view: ClusterView, now: float) -> ClusterDocument:
    """A cluster. now: wall-clock seconds."""
    child = view.child
    capacity, total = child.capacity, child.capacity.allocatable
    usage = view.usage[-1] if view.usage else _usage_of_nodes(view)
    host, port = _endpoint(child.address)
    location = location_of(capacity.position)
    return {
        "_id": child.id,
        "candidate_name": child.name,
        "cluster_name": child.name,
        "candidate_location": location,
        "cluster_location": location,
        "ip": host,
        "port": port,
        "active": view.is_live,
        "active_nodes": sum(node.state == "live" for node in view.nodes),
        "vcpus": total.cpu // 1000,
        "total_cpu_cores": total.cpu // 1000,
        "vgpus": total.gpus,
        "total_gpu_cores": total.gpus,
        "memory": total.memory,
        "memory_in_mb": total.memory,
        "vram": total.vram,
        "cpu_percent": usage.cpu,
        "aggregated_cpu_percent": usage.cpu,
        "memory_percent": usage.memory_percent,
        "gpu_percent": usage.gpu,
        "gpu_temp": usage.gpu_temperature,
        "vram_percent": min(100.0, 100.0 * usage.vram / (total.vram * 2**20)) if total.vram else 0.0,
        "gpu_drivers": list(capacity.gpu_drivers),
        "virtualization": list(capacity.runtimes),
        "supported_addons": [],
        "csi_drivers": [],
        "cpu_history": [{"value": each.cpu, "timestamp": each.measured} for each in view.usage],
        "memory_history": [{"value": each.memory_percent, "timestamp": each.measured} for each in view.usage],
        "last_modified_timestamp": float(now - view.age),
    }


def location_of(position: Position | None) -> str:
    """`latitude,longitude,radius`, or nothing where that is not known."""
    if position is None:
        return ""
    return ",".join(f"{number:.10g}" for number in (position.latitude, position.longitude, position.radius))


def _usage_of_nodes(view: ClusterView) -> Usage:
    """What a cluster uses by the sum of its live nodes, each counted by its size."""
    live = [node for node in view.nodes if node.state == "live"]
    cores = sum(node.capacity.allocatable.cpu for node in live) or 1
    memory = sum(node.capacity.allocatable.memory for node in live) or 1
    return Usage(
        cpu=sum(node.usage.cpu * node.capacity.allocatable.cpu for node in live) / cores,
        memory_percent=sum(node.usage.memory_percent * node.capacity.allocatable.memory for node in live) / memory,
        memory=sum(node.usage.memory for node in live),
        gpu=max((node.usage.gpu for node in live), default=0.0),
        vram=sum(node.usage.vram for node in live),
        gpu_temperature=max((node.usage.gpu_temperature for node in live), default=0.0),
    )


def _endpoint(address: str) -> tuple[str, str]:
    """Host and port of `host`, `host:port` or `[v6]:port`."""
    try:
        parts = urlsplit(f"//{address}")
        return parts.hostname or "", str(parts.port or _CLUSTER_PORT)
    except ValueError:
        return address, str(_CLUSTER_PORT)


def _number(value: float) -> str:
    return f"{value:.2f}"


def _iso(usage: Usage) -> str:
    return datetime.fromtimestamp(usage.measured, UTC).isoformat()
