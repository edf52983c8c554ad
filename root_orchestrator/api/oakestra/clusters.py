"""Clusters at Oakestra's paths."""

from __future__ import annotations

from flask import Blueprint

from mangrove.base.clock import Clock
from root_orchestrator.api.oakestra.documents import Json, cluster_document
from root_orchestrator.api.views import Views


def routes(views: Views, clock: Clock) -> Blueprint:
    """All clusters, and those that are heard."""
    blueprint = Blueprint("clusters", __name__)

    @blueprint.get("/api/clusters")
    def everyone() -> list[Json]:
        return [cluster_document(view, clock.wall()) for view in views.clusters()]

    @blueprint.get("/api/clusters/active")
    def active() -> list[Json]:
        return [cluster_document(view, clock.wall()) for view in views.clusters() if view.is_live]

    return blueprint
