"""What our own API says of things: views as JSON, with names beside ids."""

from __future__ import annotations

from typing import Any

import msgspec

from mangrove.model.documents import Past
from root_orchestrator.api.v1.forms import ClusterAnswer, ClusterSaid, PastAttempt, SlotAnswer
from root_orchestrator.api.views import ClusterView, InstanceView


def whole(struct: msgspec.Struct) -> Any:
    """A struct as a dictionary of all its fields: those at their default, which are not sent between programs, too."""
    document = {}
    for field in msgspec.structs.fields(struct):
        value = getattr(struct, field.name)
        if isinstance(value, msgspec.Struct):
            value = whole(value)
        elif isinstance(value, tuple):
            value = [whole(each) if isinstance(each, msgspec.Struct) else each for each in value]
        document[field.name] = value
    return document


def slot(view: InstanceView) -> SlotAnswer:
    """A slot and what became of it."""
    status = view.status
    return {
        "id": view.slot.id,
        "number": view.slot.number,
        "attempt": view.attempt or None,
        "phase": status.phase,
        "reason": status.reason,
        "restarts": status.restarts,
        "failures": view.failures,
        "exit_code": status.exit_code,
        "since": status.since,
        "cluster": cluster_name(view.cluster) if view.cluster else None,
        "node": {"id": status.node, "name": status.node_name} if status.node else None,
        "address": status.address or None,
        "ipv4": status.ipv4 or None,
        "ipv6": status.ipv6 or None,
        "usage": whole(view.usage[-1]) if view.usage else None,
    }


def past(attempt: Past, clusters: dict[str, str]) -> PastAttempt:
    """An earlier attempt. clusters: names by id, of those that are still there."""
    return {
        "attempt": attempt.attempt,
        "cluster": {"id": attempt.child, "name": clusters.get(attempt.child)},
        "node": {"id": attempt.node, "name": attempt.node_name} if attempt.node else None,
        "specification": attempt.specification,
        "phase": attempt.phase,
        "reason": attempt.reason,
        "restarts": attempt.restarts,
        "exit_code": attempt.exit_code,
        "started": attempt.started,
        "ended": attempt.ended,
    }


def cluster(view: ClusterView) -> ClusterAnswer:
    """A cluster, with what was measured last."""
    child = view.child
    return {
        "id": child.id,
        "name": child.name,
        "state": child.state,
        "age": view.age,
        "address": child.address,
        "software": child.software,
        "capacity": whole(child.capacity),
        "usage": whole(view.usage[-1]) if view.usage else None,
        "nodes": len(view.nodes),
        "cordoned": view.cordoned,
        "drained": view.drained,
    }


def cluster_name(view: ClusterView) -> ClusterSaid:
    """Which cluster, and how old its word is (seconds)."""
    return {"id": view.child.id, "name": view.child.name, "state": view.child.state, "age": view.age}
