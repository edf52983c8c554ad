"""The cluster's own small HTTP API: for whoever works on its machine, with or without the root.

The operator's token lies in the data folder, readable by the cluster's own user alone.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from flask import request

from mangrove.base.clock import Clock
from mangrove.base.errors import Unauthorized
from mangrove.base.files import private_folder, write_atomically
from mangrove.client.cluster import OPERATOR_TOKEN
from mangrove.identity import tokens
from mangrove.identity.join import cordon_child, cordoned_words, revoke_child
from mangrove.identity.secret import MasterSecret
from mangrove.model.child import NodeView
from mangrove.roles.metrics_page import METRICS
from mangrove.roles.routes import OPEN, Access, Route
from mangrove.roles.web import Message
from mangrove.store.interface import Store

#: What only whoever works on the cluster's machine may do.
OPERATOR = Access("operator", "who has the operator's token of this cluster", "operator")


class TokenRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """ttl: seconds; uses: how many nodes may join by it."""

    ttl: float = 3600.0
    uses: int = 1


def issue_node_token(store: Store, clock: Clock, wanted: TokenRequest) -> dict[str, Any]:
    """A new join token for nodes: `id`, `token`, `expires` (wall-clock seconds). Raises InvalidInput."""
    issued = tokens.issue(store, clock, ttl=wanted.ttl, uses=wanted.uses)
    return {"id": issued.id, "token": issued.text, "expires": issued.expires}


def remove_node(store: Store, id: str, on_revoked: Callable[[], None]) -> dict[str, Any]:
    """Let a node no longer speak, and end its account at the broker. Raises NotFound, Conflict."""
    identity = revoke_child(store, id)
    on_revoked()
    what = "what it ran goes to other nodes, what is exclusive when it is known to have stopped"
    return {"message": f"node {identity.name} was removed; {what}"}


class Cordon(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """cordoned: whether it is given no new work; what runs there stays. drain: whether that moves elsewhere too."""

    cordoned: bool = True
    drain: bool = False


def cordon_node(store: Store, id: str, cordoned: bool, drain: bool) -> dict[str, Any]:
    """Give a node no new work, or again; drain: let what runs there move. Raises NotFound, Conflict."""
    identity = cordon_child(store, id, cordoned, drain)
    return {"message": f"node {identity.name} {cordoned_words(identity)}"}


def keep_operator_token(data: Path, secret: MasterSecret) -> str:
    """The operator's token, also written to the data folder for the command line."""
    token, path = secret.operator_token(), data / OPERATOR_TOKEN
    private_folder(path.parent)
    write_atomically(path, token.encode())
    return token


def guard(operator: str) -> Callable[[Route], None]:
    """Lets through who has the operator's token, and anybody to what is open."""

    def check(route: Route) -> None:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        known = scheme == "Bearer" and hmac.compare_digest(given.encode(), operator.encode())
        if route.access not in (OPEN, METRICS) and not known:
            raise Unauthorized(
                "this needs the operator's token of this cluster: run the command on its machine, as its user"
            )

    return check


def routes(
    store: Store,
    clock: Clock,
    *,
    cluster_id: str,
    nodes: Callable[[], list[NodeView]],
    on_revoked: Callable[[], None],
) -> list[Route]:
    """Node tokens and a list of nodes for the operator, and the status that Oakestra's `oak` looks for."""

    def status() -> dict[str, str]:
        return {"cluster_id": cluster_id, "status": "ok"}

    def make_token(body: TokenRequest) -> dict[str, Any]:
        return issue_node_token(store, clock, body)

    def revoke_token(token: str) -> Message:
        tokens.revoke(store, token)
        return {"message": "revoked"}

    def remove(node: str) -> dict[str, Any]:
        return remove_node(store, node, on_revoked)

    def cordon(node: str, body: Cordon) -> dict[str, Any]:
        return cordon_node(store, node, body.cordoned, body.drain)

    def list_nodes() -> list[NodeView]:
        return nodes()

    return [
        Route("GET", "/api/cluster/status", status, OPEN, "Which cluster this is, as `oak` looks for it"),
        Route("POST", "/api/v1/node-tokens", make_token, OPERATOR, "Make a join token for nodes"),
        Route("DELETE", "/api/v1/node-tokens/<token>", revoke_token, OPERATOR, "Revoke a join token"),
        Route("GET", "/api/v1/nodes", list_nodes, OPERATOR, "List the nodes"),
        Route("PUT", "/api/v1/nodes/<node>/cordon", cordon, OPERATOR, "Give a node no new work, or again", (409,)),
        Route("DELETE", "/api/v1/nodes/<node>", remove, OPERATOR, "Remove a node for good", (409,)),
    ]
