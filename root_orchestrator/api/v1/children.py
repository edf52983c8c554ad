"""Removing clusters and nodes that will not come back, and cordoning others. For Admin alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from mangrove.base.errors import InvalidInput, NotFound
from mangrove.base.ids import is_id
from mangrove.identity.join import cordon_child, cordoned_words, revoke_child
from mangrove.model.documents import CHILDREN, Identity
from mangrove.model.validation import shown
from mangrove.roles.routes import Route
from mangrove.roles.web import Message
from mangrove.store.interface import Store
from root_orchestrator.api.fleet import Fleet
from root_orchestrator.auth.rules import CHANGE_INFRASTRUCTURE

#: Seconds that a cluster has to remove a node: two round trips over a slow link.
CALL_TIMEOUT = 10.0

_CORDON = "Give a {} no new work, or again; what runs there stays, or moves elsewhere (`drain`)"


class Cordon(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """cordoned: whether it is given no new work. drain: whether what runs there moves elsewhere too."""

    cordoned: bool = True
    drain: bool = False


def routes(store: Store, fleet: Fleet, on_revoked: Callable[[Identity], None]) -> list[Route]:
    """on_revoked: called when a cluster may no longer speak, to end its account at the broker."""

    def remove_cluster(cluster: str) -> Message:
        if not is_id(cluster):
            raise NotFound(f"there is no cluster {shown(cluster)}; GET /api/v1/clusters lists them")
        identity = revoke_child(store, cluster)
        on_revoked(identity)
        what = "what it ran goes to other clusters, what is exclusive when it is known to have stopped"
        return {"message": f"cluster {identity.name} was removed; {what}"}

    def _check_node(cluster: str, node: str) -> None:
        if not is_id(cluster) or store.get(CHILDREN, cluster) is None:
            raise NotFound(f"there is no cluster {shown(cluster)}; GET /api/v1/clusters lists them")
        if not is_id(node):
            raise NotFound(f"there is no node {shown(node)}; GET /api/v1/nodes lists them")

    def remove_node(cluster: str, node: str) -> Message:
        _check_node(cluster, node)
        return _message(fleet.call(cluster, "remove_node", {"node": node}, CALL_TIMEOUT))

    def cordon_cluster(cluster: str, body: Cordon) -> Message:
        if not is_id(cluster):
            raise NotFound(f"there is no cluster {shown(cluster)}; GET /api/v1/clusters lists them")
        identity = cordon_child(store, cluster, body.cordoned, _drains(body))
        return {"message": f"cluster {identity.name} {cordoned_words(identity)}"}

    def cordon_node(cluster: str, node: str, body: Cordon) -> Message:
        _check_node(cluster, node)
        asked = {"node": node, "cordoned": body.cordoned, "drain": _drains(body)}
        return _message(fleet.call(cluster, "cordon_node", asked, CALL_TIMEOUT))

    one = "/api/v1/clusters/<cluster>"
    return [
        Route("DELETE", one, remove_cluster, CHANGE_INFRASTRUCTURE, "Remove a cluster for good", (409,)),
        Route("PUT", f"{one}/cordon", cordon_cluster, CHANGE_INFRASTRUCTURE, _CORDON.format("cluster"), (409,)),
        Route("PUT", f"{one}/nodes/<node>/cordon", cordon_node, CHANGE_INFRASTRUCTURE, _CORDON.format("node"), (409,)),
        Route("DELETE", f"{one}/nodes/<node>", remove_node, CHANGE_INFRASTRUCTURE, "Remove a node for good", (409,)),
    ]


def _drains(body: Cordon) -> bool:
    """Raises InvalidInput when the body contradicts itself."""
    if body.drain and not body.cordoned:
        raise InvalidInput(
            "drain", "is true, and `cordoned` false: what is drained is given no new work; leave one out"
        )
    return body.drain


def _message(said: dict[str, Any]) -> Message:
    """What a cluster said, as far as it is meant for people."""
    return {"message": str(said.get("message", "ok"))}
