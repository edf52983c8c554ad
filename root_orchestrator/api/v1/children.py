"""Removing clusters and nodes that will not come back. For Admin alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint

from mangrove.base.errors import NotFound
from mangrove.base.ids import is_id
from mangrove.identity.join import revoke_child
from mangrove.model.documents import CHILDREN, Identity
from mangrove.model.validation import shown
from mangrove.store.interface import Store
from root_orchestrator.api.fleet import Fleet
from root_orchestrator.auth.guard import admin_only

Json = dict[str, Any]

#: Seconds that a cluster has to remove a node: two round trips over a slow link.
CALL_TIMEOUT = 10.0


def routes(store: Store, fleet: Fleet, on_revoked: Callable[[Identity], None]) -> Blueprint:
    """on_revoked: called when a cluster may no longer speak, to end its account at the broker."""
    blueprint = Blueprint("children", __name__)

    @blueprint.delete("/api/v1/clusters/<cluster>")
    @admin_only
    def remove_cluster(cluster: str) -> Json:
        if not is_id(cluster):
            raise NotFound(f"there is no cluster {shown(cluster)}; GET /api/v1/clusters lists them")
        identity = revoke_child(store, cluster)
        on_revoked(identity)
        return {"message": f"cluster {identity.name} was removed; what it ran goes to other clusters"}

    @blueprint.delete("/api/v1/clusters/<cluster>/nodes/<node>")
    @admin_only
    def remove_node(cluster: str, node: str) -> Json:
        if not is_id(cluster) or store.get(CHILDREN, cluster) is None:
            raise NotFound(f"there is no cluster {shown(cluster)}; GET /api/v1/clusters lists them")
        if not is_id(node):
            raise NotFound(f"there is no node {shown(node)}; GET /api/v1/nodes lists them")
        return fleet.call(cluster, "remove_node", {"node": node}, CALL_TIMEOUT)

    return blueprint
