"""The cluster's own small HTTP API: for whoever works on its machine, with or without the root.

The operator's token lies in the data folder, readable by the cluster's own user alone.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from flask import Blueprint, Response, jsonify, request

from mangrove.base.clock import Clock
from mangrove.base.errors import Unauthorized
from mangrove.base.files import private_folder, write_atomically
from mangrove.client.cluster import OPERATOR_TOKEN
from mangrove.identity import tokens
from mangrove.identity.join import revoke_child
from mangrove.identity.secret import MasterSecret
from mangrove.model.child import NodeView
from mangrove.roles.web import read_body
from mangrove.store.interface import Store


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
    return {"message": f"node {identity.name} was removed; what it ran goes to other nodes"}


def keep_operator_token(data: Path, secret: MasterSecret) -> str:
    """The operator's token, also written to the data folder for the command line."""
    token, path = secret.operator_token(), data / OPERATOR_TOKEN
    private_folder(path.parent)
    write_atomically(path, token.encode())
    return token


def routes(
    store: Store,
    clock: Clock,
    operator: str,
    *,
    cluster_id: str,
    nodes: Callable[[], list[NodeView]],
    on_revoked: Callable[[], None],
) -> Blueprint:
    """Node tokens and a list of nodes for the operator, and the status that Oakestra's `oak` looks for."""
    local = Blueprint("local", __name__)

    def check() -> None:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not hmac.compare_digest(given.encode(), operator.encode()):
            raise Unauthorized(
                "this needs the operator's token of this cluster: run the command on its machine, as its user"
            )

    @local.get("/api/cluster/status")
    def status() -> Response:
        return jsonify({"cluster_id": cluster_id, "status": "ok"})

    @local.post("/api/v1/node-tokens")
    def make_token() -> Response:
        check()
        return jsonify(issue_node_token(store, clock, read_body(TokenRequest)))

    @local.delete("/api/v1/node-tokens/<id>")
    def revoke_token(id: str) -> Response:
        check()
        tokens.revoke(store, id)
        return jsonify({"message": "revoked"})

    @local.delete("/api/v1/nodes/<id>")
    def remove(id: str) -> Response:
        check()
        return jsonify(remove_node(store, id, on_revoked))

    @local.get("/api/v1/nodes")
    def list_nodes() -> Response:
        check()
        return Response(msgspec.json.encode(nodes()), mimetype="application/json")

    return local
