"""Moving what runs to better places, on request. For Admin alone, since it concerns what all users run."""

from __future__ import annotations

from typing import Any

import msgspec

from mangrove.base.errors import NotFound, Unavailable
from mangrove.base.ids import is_id
from mangrove.model.documents import SERVICES, Child, Service
from mangrove.model.validation import shown
from mangrove.roles.rebalancing import Moved
from mangrove.roles.routes import Route
from mangrove.store.interface import Store
from root_orchestrator.api.fleet import Fleet
from root_orchestrator.api.views import Views
from root_orchestrator.auth.rules import CHANGE_INFRASTRUCTURE

#: Seconds that a cluster has to find out: some thousand instances are looked at in one.
CALL_TIMEOUT = 10.0


class Rebalance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """dry_run: whether to say only what would be moved. cluster: id of the one whose nodes alone are looked at; null:
    what is to move between clusters, and when that is nothing, between the nodes of each."""

    dry_run: bool = False
    cluster: str | None = None


class Step(msgspec.Struct, frozen=True):
    """That an instance moves. service: its id, name: its name; cluster: name of the one within which it moves, null
    when it moves between clusters; source, target: names of nodes, or of clusters."""

    service: str
    name: str
    number: int
    cluster: str | None
    source: str
    target: str


class Rebalanced(msgspec.Struct, frozen=True):
    """moves: what moves now, or would. unasked: clusters that did not answer, each with the reason."""

    dry_run: bool
    moves: list[Step]
    unasked: dict[str, str]


def routes(store: Store, fleet: Fleet, views: Views) -> list[Route]:
    """The one there is."""

    def name_of(service: str) -> str:
        stored = store.get(SERVICES, service)
        return stored.read(Service).name if stored is not None else service

    def step(moved: Moved, cluster: str | None) -> Step:
        return Step(moved.service, name_of(moved.service), moved.number, cluster, moved.source, moved.target)

    def within(cluster: Child, dry_run: bool) -> list[Step]:
        answer: dict[str, Any] = fleet.call(cluster.id, "rebalance", {"dry_run": dry_run}, CALL_TIMEOUT)
        try:
            told = msgspec.convert(answer.get("moves"), list[Moved])
        except msgspec.ValidationError:
            raise Unavailable(f"{cluster.name} answered something else: is it of an older version?") from None
        return [step(moved, cluster.name) for moved in told]

    def rebalance(body: Rebalance) -> Rebalanced:
        clusters = {view.child.id: view for view in views.clusters_alone()}
        if body.cluster is not None:
            if not is_id(body.cluster) or body.cluster not in clusters:
                raise NotFound(f"there is no cluster {shown(body.cluster)}; GET /api/v1/clusters lists them")
            return Rebalanced(body.dry_run, within(clusters[body.cluster].child, body.dry_run), {})
        moves = [step(moved, None) for moved in fleet.rebalance(body.dry_run)]
        moves_between, unasked = bool(moves), dict[str, str]()
        for view in clusters.values():
            if moves_between or view.child.state == "joined":
                continue  # what is about to leave a cluster need not move within it
            try:
                moves += within(view.child, body.dry_run)
            except Unavailable as error:
                unasked[view.child.name] = error.message
        return Rebalanced(body.dry_run, moves, unasked)

    text = "Move what runs to better places, a few instances at a time; with `dry_run`, only say which"
    return [Route("POST", "/api/v1/rebalance", rebalance, CHANGE_INFRASTRUCTURE, text, (404, 503))]
