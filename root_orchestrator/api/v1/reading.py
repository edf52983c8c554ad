"""What there is, in our own words: nodes, clusters, services."""

from __future__ import annotations

from typing import Any

import msgspec

from mangrove.roles.routes import Route
from root_orchestrator.api.catalog import Catalog
from root_orchestrator.api.views import ClusterView, InstanceView, Views
from root_orchestrator.auth.guard import caller
from root_orchestrator.auth.rules import READ_APPLICATIONS, READ_INFRASTRUCTURE

Json = dict[str, Any]


def routes(catalog: Catalog, views: Views) -> list[Route]:
    """Lists of nodes and clusters, and one service with its slots."""

    def nodes() -> list[Json]:
        return [
            {**_whole(node), "cluster": _cluster_name(cluster)}
            for cluster in views.clusters()
            for node in cluster.nodes
        ]

    def clusters() -> list[Json]:
        return [_cluster(view) for view in views.clusters()]

    def show(service: str) -> Json:
        view = views.services([catalog.service(caller(), service).value])[0]
        return {
            "id": view.service.id,
            "name": view.service.name,
            "namespace": view.service.namespace,
            "application": view.service.application,
            "owner": view.service.owner,
            "specification": _whole(view.specification),
            "slots": [_slot(instance) for instance in view.instances],
        }

    return [
        Route("GET", "/api/v1/nodes", nodes, READ_INFRASTRUCTURE, "List the nodes"),
        Route("GET", "/api/v1/clusters", clusters, READ_INFRASTRUCTURE, "List the clusters"),
        Route("GET", "/api/v1/services/<service>", show, READ_APPLICATIONS, "Show a service with its slots"),
    ]


def _slot(view: InstanceView) -> Json:
    status = view.status
    return {
        "id": view.slot.id,
        "number": view.slot.number,
        "attempt": view.attempt or None,
        "phase": status.phase.value,
        "reason": status.reason,
        "restarts": status.restarts,
        "failures": view.failures,
        "exit_code": status.exit_code,
        "since": status.since,
        "cluster": _cluster_name(view.cluster) if view.cluster else None,
        "node": {"id": status.node, "name": status.node_name} if status.node else None,
        "address": status.address or None,
        "usage": _whole(view.usage[-1]) if view.usage else None,
    }


def _cluster(view: ClusterView) -> Json:
    child = view.child
    return {
        "id": child.id,
        "name": child.name,
        "state": child.state,
        "age": view.age,
        "address": child.address,
        "software": child.software,
        "capacity": _whole(child.capacity),
        "usage": _whole(view.usage[-1]) if view.usage else None,
        "nodes": len(view.nodes),
    }


def _cluster_name(view: ClusterView) -> Json:
    """Which cluster, and how old its word is (seconds)."""
    return {"id": view.child.id, "name": view.child.name, "state": view.child.state, "age": view.age}


def _whole(struct: msgspec.Struct) -> Json:
    """A struct with all of its fields: those at their default, which are not sent between programs, too."""
    document = {}
    for field in msgspec.structs.fields(struct):
        value = getattr(struct, field.name)
        if isinstance(value, msgspec.Struct):
            value = _whole(value)
        elif isinstance(value, tuple):
            value = [_whole(each) if isinstance(each, msgspec.Struct) else each for each in value]
        document[field.name] = value
    return document
