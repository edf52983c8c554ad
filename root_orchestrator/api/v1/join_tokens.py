"""Join tokens: of the root for clusters, and, asked of a cluster, for its nodes. For Admin alone."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from mangrove.base.clock import Clock
from mangrove.base.errors import NotFound, Unavailable
from mangrove.base.ids import is_id
from mangrove.identity import tokens
from mangrove.model.documents import CHILDREN
from mangrove.model.validation import shown
from mangrove.roles.routes import Route
from mangrove.roles.web import Message
from mangrove.store.interface import Store
from root_orchestrator.api.fleet import Fleet
from root_orchestrator.api.v1.forms import IssuedToken
from root_orchestrator.auth.rules import CHANGE_INFRASTRUCTURE

#: Seconds that a cluster has to make a token: two round trips over a slow link.
CALL_TIMEOUT = 10.0


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a new token should allow. uses: joins; ttl: seconds (by default a day)."""

    uses: int = 1
    ttl: Annotated[float, msgspec.Meta(gt=0, le=tokens.MAX_TTL)] = 24 * 3600.0


_USUAL = Wish()


def routes(store: Store, clock: Clock, fleet: Fleet) -> list[Route]:
    """Make and revoke join tokens. A token's text is answered once and kept nowhere."""

    def make_for_cluster(body: Wish = _USUAL) -> IssuedToken:
        issued = tokens.issue(store, clock, ttl=body.ttl, uses=body.uses)
        return {"id": issued.id, "token": issued.text, "expires": issued.expires}

    def revoke(token: str) -> Message:
        if not is_id(token):
            raise NotFound(f"there is no join token {shown(token)}")
        tokens.revoke(store, token)
        return {"message": "ok"}

    def make_for_node(cluster: str, body: Wish = _USUAL) -> IssuedToken:
        if not is_id(cluster) or store.get(CHILDREN, cluster) is None:
            raise NotFound(f"there is no cluster {shown(cluster)}; GET /api/v1/clusters lists them")
        made = fleet.call(cluster, "node_token", {"uses": body.uses, "ttl": body.ttl}, CALL_TIMEOUT)
        return _issued(made, cluster)

    of_node = "/api/v1/clusters/<cluster>/node-tokens"
    return [
        Route(
            "POST", "/api/v1/cluster-tokens", make_for_cluster, CHANGE_INFRASTRUCTURE, "Make a join token for clusters"
        ),
        Route("DELETE", "/api/v1/cluster-tokens/<token>", revoke, CHANGE_INFRASTRUCTURE, "Revoke a join token"),
        Route(
            "POST",
            of_node,
            make_for_node,
            CHANGE_INFRASTRUCTURE,
            "Make a join token for the nodes of a cluster",
            (409,),
        ),
    ]


def _issued(said: dict[str, Any], cluster: str) -> IssuedToken:
    """What a cluster answered. Raises Unavailable when it is no token, as from another version of the cluster."""
    try:
        return msgspec.convert(said, IssuedToken)
    except msgspec.ValidationError:
        raise Unavailable(f"cluster {cluster} answered something that is no token; is its version ours?") from None
