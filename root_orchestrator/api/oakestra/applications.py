"""Applications at Oakestra's paths."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from mangrove.base.errors import Forbidden, InvalidInput
from mangrove.model.validation import shown
from mangrove.roles.routes import Route
from mangrove.roles.web import Message
from root_orchestrator.api.catalog import Catalog
from root_orchestrator.api.desired import Desired
from root_orchestrator.api.fleet import Fleet
from root_orchestrator.api.oakestra.answers import ApplicationDocument
from root_orchestrator.api.oakestra.documents import application_document
from root_orchestrator.api.oakestra.sla import read_sla
from root_orchestrator.api.oakestra.sla_form import EXAMPLE, Agreement, Argument, Name
from root_orchestrator.auth.guard import caller
from root_orchestrator.auth.rules import CHANGE_APPLICATIONS, READ_APPLICATIONS


class ApplicationChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
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


def routes(catalog: Catalog, desired: Desired, fleet: Fleet) -> list[Route]:
    """Create, list, show, change and delete."""

    def own() -> list[ApplicationDocument]:
        return [
            application_document(application) for application in catalog.applications_of(caller().name, caller().realm)
        ]

    def create(body: Annotated[object, Agreement]) -> list[ApplicationDocument]:
        desired.create_applications(caller(), read_sla(body, fleet.soonest_stop()))
        return own()

    def show(application: str) -> ApplicationDocument:
        return application_document(catalog.application(caller(), application).value)

    def change(application: str, body: ApplicationChange) -> Message:
        present = application_document(catalog.application(caller(), application).value)
        for field, sent, stays in (
            ("_id", body.id, present["_id"]),
            ("applicationID", body.applicationID, present["applicationID"]),
            ("userId", body.userId, present["userId"]),
        ):
            if sent is not None and sent != stays:
                raise InvalidInput(field, f"is {shown(sent)}, but it stays {shown(stays)}; leave it out")
        desired.change_application(
            caller(),
            application,
            name=body.application_name,
            namespace=body.application_namespace,
            description=body.application_desc,
        )
        return {"message": "Application is updated"}

    def delete(application: str) -> Message:
        desired.delete_application(caller(), application)
        return {"message": "Application Deleted"}

    def reached() -> list[ApplicationDocument]:
        return [application_document(application) for application in catalog.applications(caller())]

    def of_user(user_id: str) -> list[ApplicationDocument]:
        if user_id != caller().id:
            raise Forbidden(
                "You have not enough permissions! Ask with your own user id, from GET /api/user/<your name>"
            )
        return own()

    return [
        Route(
            "POST",
            "/api/application",
            create,
            CHANGE_APPLICATIONS,
            "Create the applications of an SLA; answers all of the caller's",
            (409,),
            example=EXAMPLE,
        ),
        Route("GET", "/api/application/<application>", show, READ_APPLICATIONS, "Show an application"),
        Route(
            "PUT",
            "/api/application/<application>",
            change,
            CHANGE_APPLICATIONS,
            "Call or describe an application otherwise",
            (409,),
        ),
        Route(
            "DELETE",
            "/api/application/<application>",
            delete,
            CHANGE_APPLICATIONS,
            "Remove an application and its services, and stop what runs of them",
        ),
        Route("GET", "/api/applications", reached, READ_APPLICATIONS, "List all applications that one may see"),
        Route("GET", "/api/applications/<user_id>", of_user, READ_APPLICATIONS, "List one's own applications"),
    ]
