"""Join tokens: of the root for clusters, and, asked of a cluster, for its nodes. For Admin alone."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from flask import Blueprint, request

from mangrove.base.clock import Clock
from mangrove.base.errors import NotFound
from mangrove.base.ids import is_id
from mangrove.identity import tokens
from mangrove.model.documents import CHILDREN
from mangrove.model.validation import shown
from mangrove.roles.web import read_body
from mangrove.store.interface import Store
from root_orchestrator.api.fleet import Fleet
from root_orchestrator.auth.guard import admin_only

Json = dict[str, Any]

#: Seconds that a cluster has to make a token: two round trips over a slow link.
CALL_TIMEOUT = 10.0


class Wish(msgspec.Struct, frozen=True):
    """What a new token should allow. uses: joins; ttl: seconds (by default a day)."""

    uses: int = 1
    ttl: Annotated[float, msgspec.Meta(gt=0, le=tokens.MAX_TTL)] = 24 * 3600.0


def routes(store: Store, clock: Clock, fleet: Fleet) -> Blueprint:
    """Make and revoke join tokens. A token's text is answered once and kept nowhere."""
    blueprint = Blueprint("join_tokens", __name__)

    @blueprint.post("/api/v1/cluster-tokens")
    @admin_only
    def make_for_cluster() -> Json:
        wish = _wish()
        issued = tokens.issue(store, clock, ttl=wish.ttl, uses=wish.uses)
        return {"id": issued.id, "token": issued.text, "expires": issued.expires}

    @blueprint.delete("/api/v1/cluster-tokens/<id>")
    @admin_only
    def revoke(id: str) -> Json:
        if not is_id(id):
            raise NotFound(f"there is no join token {shown(id)}")
        tokens.revoke(store, id)
        return {"message": "ok"}

    @blueprint.post("/api/v1/clusters/<cluster>/node-tokens")
    @admin_only
    def make_for_node(cluster: str) -> Json:
        wish = _wish()
        if not is_id(cluster) or store.get(CHILDREN, cluster) is None:
            raise NotFound(f"there is no cluster {shown(cluster)}; GET /api/v1/clusters lists them")
        return fleet.call(cluster, "node_token", {"uses": wish.uses, "ttl": wish.ttl}, CALL_TIMEOUT)

    return blueprint


def _wish() -> Wish:
    return read_body(Wish) if request.get_data() else Wish()
