"""Applications at Oakestra's paths."""

from __future__ import annotations

from typing import Any

import msgspec
from flask import Blueprint

from mangrove.base.errors import Forbidden, InvalidInput
from mangrove.model.validation import shown
from mangrove.roles.web import read_body
from root_orchestrator.api.catalog import Catalog
from root_orchestrator.api.desired import Desired
from root_orchestrator.api.oakestra.documents import Json, application_document
from root_orchestrator.api.oakestra.sla import Argument, Name, read_sla
from root_orchestrator.auth.guard import admin_only, caller


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a change of an application sends; what is missing or null stays. Clients send back the whole document.

    microservices counts for nothing here: services have endpoints of their own.
    """

    application_name: Name | None = None
    application_namespace: Name | None = None
    application_desc: Argument | None = None
    microservices: Any = None
    applicationID: str | None = None
    userId: str | None = None
    id: dict[str, Any] | None = msgspec.field(default=None, name="_id")


def routes(catalog: Catalog, desired: Desired) -> Blueprint:
    """Create, list, show, change and delete."""
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

    @blueprint.put("/api/application/<id>")
    def change(id: str) -> Json:
        present = application_document(catalog.application(caller(), id).value)
        sent = read_body(Change)
        for field, value in (("_id", sent.id), ("applicationID", sent.applicationID), ("userId", sent.userId)):
            if value is not None and value != present[field]:
                raise InvalidInput(field, f"is {shown(value)}, but it stays {shown(present[field])}; leave it out")
        desired.change_application(
            caller(),
            id,
            name=sent.application_name,
            namespace=sent.application_namespace,
            description=sent.application_desc,
        )
        return {"message": "Application is updated"}

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
