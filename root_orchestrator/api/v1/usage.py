"""What instances, nodes and clusters used in the last weeks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec

from mangrove.base.clock import Clock
from mangrove.base.errors import NotFound
from mangrove.base.ids import is_id
from mangrove.model.documents import CHILDREN, NODES, SLOTS
from mangrove.model.validation import shown
from mangrove.roles.routes import Route
from mangrove.store.interface import Store
from root_orchestrator.api.catalog import Catalog
from root_orchestrator.auth.guard import caller
from root_orchestrator.auth.rules import READ_APPLICATIONS, READ_INFRASTRUCTURE
from root_orchestrator.history.history import COARSE_KEPT, FINE, History

#: Seconds that are answered when nobody says since when.
_USUAL = 3600.0


class Window(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """since: wall-clock seconds (by default an hour ago). step: seconds between points, at least."""

    since: float | None = None
    step: Annotated[float, msgspec.Meta(ge=0, le=COARSE_KEPT)] = FINE


class Point(msgspec.Struct, frozen=True):
    """Means over `step` seconds from `time` (wall clock) on. cpu: percent of one core for an instance, of all for a
    node or cluster; memory, disk, vram: bytes; memory_percent, gpu: percent; rx, tx: bytes since the start, at the end.
    """

    time: float
    cpu: float
    memory: float
    memory_percent: float
    disk: float
    gpu: float
    vram: float
    rx: float
    tx: float


class UsageHistory(msgspec.Struct, frozen=True):
    """items: oldest first; there is none for times of which nothing is known. step: seconds."""

    items: list[Point]
    step: float


def routes(store: Store, clock: Clock, catalog: Catalog, history: History) -> list[Route]:
    """One route for each kind of thing."""

    def answer(id: str, window: Window, known: Callable[[], bool], absent: str) -> UsageHistory:
        since = window.since if window.since is not None else clock.wall() - _USUAL
        step, points = history.usage(id, since, window.step)
        if not points and not known():
            raise NotFound(absent)
        return UsageHistory(msgspec.convert(points, list[Point]), step)

    def of_instance(instance: str, query: Window) -> UsageHistory:
        service, _, number = instance.partition(".")
        absent = f"there is no instance {shown(instance)}; GET /api/v1/services/{service[:24]} lists those of a service"
        if not is_id(service) or not (number.isascii() and number.isdigit() and len(number) < 10):
            raise NotFound(absent)
        catalog.service(caller(), service)
        return answer(instance, query, lambda: store.get(SLOTS, instance) is not None, absent)

    def of_node(node: str, query: Window) -> UsageHistory:
        absent = f"there is no node {shown(node)}; GET /api/v1/nodes lists them"
        if not is_id(node):
            raise NotFound(absent)
        return answer(node, query, lambda: any(it.id.endswith(f"/{node}") for it in store.load(NODES)), absent)

    def of_cluster(cluster: str, query: Window) -> UsageHistory:
        absent = f"there is no cluster {shown(cluster)}; GET /api/v1/clusters lists them"
        if not is_id(cluster):
            raise NotFound(absent)
        return answer(cluster, query, lambda: store.get(CHILDREN, cluster) is not None, absent)

    return [
        Route("GET", "/api/v1/instances/<instance>/usage", of_instance, READ_APPLICATIONS, "What an instance used"),
        Route("GET", "/api/v1/nodes/<node>/usage", of_node, READ_INFRASTRUCTURE, "What a node used"),
        Route("GET", "/api/v1/clusters/<cluster>/usage", of_cluster, READ_INFRASTRUCTURE, "What a cluster used"),
    ]
