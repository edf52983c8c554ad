"""Services and their instances at Oakestra's paths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from mangrove.base.errors import InvalidInput
from mangrove.model.documents import Service
from mangrove.model.validation import shown
from mangrove.roles.routes import Route
from mangrove.roles.web import Message
from root_orchestrator.api.catalog import Catalog
from root_orchestrator.api.changing import Changing
from root_orchestrator.api.desired import ALL_INSTANCES, Desired
from root_orchestrator.api.fleet import Fleet
from root_orchestrator.api.oakestra.answers import Deployed, ServiceDocument, ServicesAdded
from root_orchestrator.api.oakestra.documents import service_document
from root_orchestrator.api.oakestra.sla import read_change, read_sla
from root_orchestrator.api.oakestra.sla_form import EXAMPLE, Agreement
from root_orchestrator.api.views import Views
from root_orchestrator.auth.guard import caller
from root_orchestrator.auth.rules import CHANGE_APPLICATIONS, READ_APPLICATIONS


def routes(catalog: Catalog, desired: Desired, changing: Changing, views: Views, fleet: Fleet) -> list[Route]:
    """Create, list, show, delete; deploy and undeploy instances."""

    def listed(services: Sequence[Service]) -> list[ServiceDocument]:
        clusters = views.active_clusters()
        documents = [service_document(view, clusters) for view in views.services(services)]
        return sorted(documents, key=lambda each: (each["job_name"], each["microserviceID"]))

    def create(body: Annotated[object, Agreement]) -> ServicesAdded:
        applications = read_sla(body, fleet.soonest_stop())
        if len(applications) != 1:
            raise InvalidInput("applications", f"holds {len(applications)} applications; name the one to add to")
        services = desired.add_services(caller(), applications[0].id, applications[0].services)
        return {
            "job_id": services[-1].id if services else "",
            "deployed_services": [{"service_name": service.name, "status": 200} for service in services],
            "failed_services": [],
        }

    def show(service: str) -> ServiceDocument:
        return listed([catalog.service(caller(), service).value])[0]

    def update(service: str, body: Annotated[object, Agreement]) -> Message:
        known = catalog.service(caller(), service).value
        declared = read_change(body, fleet.soonest_stop(), service=service, application=known.application)
        count = changing.change(caller(), service, declared)
        return {"message": f"ok: {count} instances are replaced, one after another" if count else "ok"}

    def delete(service: str) -> Message:
        desired.delete_service(caller(), service)
        return {"message": "Job deleted"}

    def reached() -> list[ServiceDocument]:
        return listed(catalog.services(caller()))

    def of_application(application: str) -> list[ServiceDocument]:
        catalog.application(caller(), application)
        return listed([found.value for found in catalog.services_of(application)])

    def deploy(service: str) -> Deployed:
        # Clients send nothing, or the whole service; it says nothing that counts.
        return {"message": "ok", "instance_number": desired.add_instance(caller(), service)}

    def undeploy(service: str, number: str) -> Message:
        desired.remove_instances(caller(), service, _instance_number(number))
        return {"message": "ok"}

    one = "/api/service/<service>"
    return [
        Route(
            "POST",
            "/api/service",
            create,
            CHANGE_APPLICATIONS,
            "Add services to an application, which the SLA names by `applicationID`",
            (404, 409),
            example=EXAMPLE,
        ),
        Route("GET", one, show, READ_APPLICATIONS, "Show a service with its instances"),
        Route(
            "PUT",
            one,
            update,
            CHANGE_APPLICATIONS,
            "Declare a service anew, and replace its instances",
            (409,),
            example=EXAMPLE,
        ),
        Route("DELETE", one, delete, CHANGE_APPLICATIONS, "Remove a service, and stop its instances"),
        Route("GET", "/api/services", reached, READ_APPLICATIONS, "List all services that one may see"),
        Route(
            "GET",
            "/api/services/<application>",
            of_application,
            READ_APPLICATIONS,
            "List the services of an application",
        ),
        Route("POST", f"{one}/instance", deploy, CHANGE_APPLICATIONS, "Want one more instance", (409,)),
        Route(
            "DELETE",
            f"{one}/instance/<number>",
            undeploy,
            CHANGE_APPLICATIONS,
            "Want an instance no more; -1 stands for all",
            (409, 422),
        ),
    ]


def _instance_number(text: str) -> int:
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdigit() and len(digits) < 10 and int(text) >= ALL_INSTANCES:
        return int(text)
    raise InvalidInput("instance", f"{shown(text)} is no instance number; write 0, 1, …, or -1 for all")
