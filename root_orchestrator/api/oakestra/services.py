"""Services and their instances at Oakestra's paths."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Blueprint
from werkzeug.exceptions import NotImplemented as NotImplementedHere

from mangrove.base.errors import InvalidInput
from mangrove.model.documents import Service
from mangrove.model.validation import shown
from mangrove.roles.web import read_body
from root_orchestrator.api.catalog import Catalog
from root_orchestrator.api.desired import ALL_INSTANCES, Desired
from root_orchestrator.api.oakestra.documents import Json, service_document
from root_orchestrator.api.oakestra.sla import read_sla
from root_orchestrator.api.views import Views
from root_orchestrator.auth.guard import admin_only, caller


def routes(catalog: Catalog, desired: Desired, views: Views) -> Blueprint:
    """Create, list, show, delete; deploy and undeploy instances."""
    blueprint = Blueprint("services", __name__)

    def listed(services: Sequence[Service]) -> list[Json]:
        clusters = views.active_clusters()
        documents = [service_document(view, clusters) for view in views.services(services)]
        return sorted(documents, key=lambda each: (each["job_name"], each["microserviceID"]))

    @blueprint.post("/api/service")
    def create() -> Json:
        applications = read_sla(read_body(object))
        if len(applications) != 1:
            raise InvalidInput("applications", f"holds {len(applications)} applications; name the one to add to")
        services = desired.add_services(caller(), applications[0].id, applications[0].services)
        return {
            "job_id": services[-1].id if services else "",
            "deployed_services": [{"service_name": service.name, "status": 200} for service in services],
            "failed_services": [],
        }

    @blueprint.get("/api/service/<id>")
    def show(id: str) -> Json:
        return listed([catalog.service(caller(), id).value])[0]

    @blueprint.put("/api/service/<id>")
    def update(id: str) -> Json:
        catalog.service(caller(), id)
        raise NotImplementedHere("a service cannot be changed; delete it and create it anew")

    @blueprint.delete("/api/service/<id>")
    def delete(id: str) -> Json:
        desired.delete_service(caller(), id)
        return {"message": "Job deleted"}

    @blueprint.get("/api/services")
    @admin_only
    def everybodys() -> list[Json]:
        return listed(catalog.all_services())

    @blueprint.get("/api/services/<application>")
    def of_application(application: str) -> list[Json]:
        catalog.application(caller(), application)
        return listed([found.value for found in catalog.services_of(application)])

    @blueprint.post("/api/service/<id>/instance")
    def deploy(id: str) -> Json:
        # Clients send nothing, or the whole service; it says nothing that counts.
        return {"message": "ok", "instance_number": desired.add_instance(caller(), id)}

    @blueprint.delete("/api/service/<id>/instance/<number>")
    def undeploy(id: str, number: str) -> Json:
        desired.remove_instances(caller(), id, _instance_number(number))
        return {"message": "ok"}

    return blueprint


def _instance_number(text: str) -> int:
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdigit() and len(digits) < 10 and int(text) >= ALL_INSTANCES:
        return int(text)
    raise InvalidInput("instance", f"{shown(text)} is no instance number; write 0, 1, …, or -1 for all")
