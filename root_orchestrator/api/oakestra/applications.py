"""Applications at Oakestra's paths."""

from __future__ import annotations

from flask import Blueprint

from mangrove.base.errors import Forbidden
from mangrove.roles.web import read_body
from root_orchestrator.api.catalog import Catalog
from root_orchestrator.api.desired import Desired
from root_orchestrator.api.oakestra.documents import Json, application_document
from root_orchestrator.api.oakestra.sla import read_sla
from root_orchestrator.auth.guard import admin_only, caller


def routes(catalog: Catalog, desired: Desired) -> Blueprint:
    """Create, list, show and delete."""
    blueprint = Blueprint("applications", __name__)

    def own() -> list[Json]:
        return [application_document(application) for application in catalog.applications_of(caller().name)]

    @blueprint.post("/api/application")
    def create() -> list[Json]:
        desired.create_applications(caller(), read_sla(read_body(object)))
        return own()

    @blueprint.get("/api/application/<id>")
    def show(id: str) -> Json:
        return application_document(catalog.application(caller(), id).value)

    @blueprint.delete("/api/application/<id>")
    def delete(id: str) -> Json:
        desired.delete_application(caller(), id)
        return {"message": "Application Deleted"}

    @blueprint.get("/api/applications")
    @admin_only
    def everybodys() -> list[Json]:
        return [application_document(application) for application in catalog.all_applications()]

    @blueprint.get("/api/applications/<user>")
    def of_user(user: str) -> list[Json]:
        if user != caller().id:
            raise Forbidden(
                "You have not enough permissions! Ask with your own user id, from GET /api/user/<your name>"
            )
        return own()

    return blueprint
