"""Clusters and nodes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from mangrove.base.errors import NotFound
from mangrove.base.ids import is_id
from mangrove.model.child import NodeView
from mangrove.model.documents import NODES
from mangrove.model.validation import shown
from mangrove.roles.routes import Route
from mangrove.store.interface import Store, Stored
from root_orchestrator.api.catalog import as_struct
from root_orchestrator.api.paging import Listing, PageQuery, behind, chunks, page
from root_orchestrator.api.v1 import answers
from root_orchestrator.api.v1.forms import ClusterAnswer, NodeAnswer, State
from root_orchestrator.api.views import ClusterView, Views
from root_orchestrator.auth.rules import READ_INFRASTRUCTURE


class ClusterQuery(PageQuery, frozen=True):
    """Which clusters."""

    name: str | None = None
    state: State | None = None


class NodeQuery(PageQuery, frozen=True):
    """Which nodes. cluster: its id or name."""

    cluster: str | None = None
    name: str | None = None
    state: State | None = None


def routes(store: Store, views: Views) -> list[Route]:
    """Lists of clusters and nodes, and each alone."""

    def clusters(query: ClusterQuery) -> Listing[ClusterAnswer]:
        there = behind(query.after, ((view.child.id, view) for view in views.clusters()))
        return page(
            ((id, answers.cluster(view) if _is_meant(view, query) else None) for id, view in there), query.limit
        )

    def cluster(cluster: str) -> ClusterAnswer:
        for view in views.clusters():
            if view.child.id == cluster:
                return answers.cluster(view)
        raise NotFound(f"there is no cluster {shown(cluster)}; GET /api/v1/clusters lists them")

    def nodes(query: NodeQuery) -> Listing[NodeAnswer]:
        return page(candidates(query), query.limit)

    def candidates(query: NodeQuery) -> Iterator[tuple[str, NodeAnswer | None]]:
        known = {view.child.id: view for view in views.clusters_alone()}
        for found in chunks(store, NODES, query.after):
            for stored in found:
                view, node = known.get(stored.id.partition("/")[0]), as_struct(NodeView, stored)
                fits = view is not None and query.cluster in (None, view.child.id, view.child.name)
                fits = fits and query.name in (None, node.name) and query.state in (None, node.state)
                yield stored.id, _node(view, stored) if view is not None and fits else None

    def node(node: str) -> NodeAnswer:
        known = {view.child.id: view for view in views.clusters_alone()}
        if is_id(node):
            for stored in store.get_many(NODES, [f"{cluster}/{node}" for cluster in known]).values():
                return _node(known[stored.id.partition("/")[0]], stored)
        raise NotFound(f"there is no node {shown(node)}; GET /api/v1/nodes lists them")

    return [
        Route("GET", "/api/v1/clusters", clusters, READ_INFRASTRUCTURE, "List the clusters"),
        Route("GET", "/api/v1/clusters/<cluster>", cluster, READ_INFRASTRUCTURE, "Show a cluster"),
        Route("GET", "/api/v1/nodes", nodes, READ_INFRASTRUCTURE, "List the nodes of all clusters"),
        Route("GET", "/api/v1/nodes/<node>", node, READ_INFRASTRUCTURE, "Show a node"),
    ]


def _is_meant(view: ClusterView, query: ClusterQuery) -> bool:
    return query.name in (None, view.child.name) and query.state in (None, view.child.state)


def _node(cluster: ClusterView, stored: Stored) -> NodeAnswer:
    document = {**answers.whole(as_struct(NodeView, stored)), "cluster": answers.cluster_name(cluster)}
    return cast(NodeAnswer, document)
