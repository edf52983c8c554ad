"""Clusters at Oakestra's paths."""

from __future__ import annotations

from mangrove.base.clock import Clock
from mangrove.roles.routes import Route
from root_orchestrator.api.oakestra.answers import ClusterDocument
from root_orchestrator.api.oakestra.documents import cluster_document
from root_orchestrator.api.views import Views
from root_orchestrator.auth.rules import READ_INFRASTRUCTURE


def routes(views: Views, clock: Clock) -> list[Route]:
    """All clusters, and those that are heard."""

    def everyone() -> list[ClusterDocument]:
        return [cluster_document(view, clock.wall()) for view in views.clusters()]

    def active() -> list[ClusterDocument]:
        return [cluster_document(view, clock.wall()) for view in views.clusters() if view.is_live]

    return [
        Route("GET", "/api/clusters", everyone, READ_INFRASTRUCTURE, "List the clusters"),
        Route("GET", "/api/clusters/active", active, READ_INFRASTRUCTURE, "List the clusters that are heard"),
    ]
