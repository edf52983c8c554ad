"""Instances of all services: slots, what became of them, and the attempts before."""

from __future__ import annotations

from collections.abc import Iterator

from mangrove.base.errors import NotFound
from mangrove.model.documents import SERVICES, SLOTS, Service, Slot
from mangrove.model.phases import Phase
from mangrove.model.validation import shown
from mangrove.roles.routes import Route
from mangrove.store.interface import Store, Stored
from root_orchestrator.api.catalog import Catalog, as_struct
from root_orchestrator.api.paging import Listing, PageQuery, chunks, chunks_of, page
from root_orchestrator.api.v1 import answers
from root_orchestrator.api.v1.forms import InstanceAnswer, InstanceWithHistory, NamedService
from root_orchestrator.api.views import InstanceView, Views
from root_orchestrator.auth.guard import caller
from root_orchestrator.auth.rules import READ_APPLICATIONS


class InstanceQuery(PageQuery, frozen=True):
    """Which instances of those that the caller may see. service, application: ids; cluster, node: an id or a name."""

    service: str | None = None
    application: str | None = None
    cluster: str | None = None
    node: str | None = None
    phase: Phase | None = None


def routes(store: Store, catalog: Catalog, views: Views) -> list[Route]:
    """List instances, and show one with its history."""

    def instances(query: InstanceQuery) -> Listing[InstanceAnswer]:
        return page(candidates(query), query.limit)

    def candidates(query: InstanceQuery) -> Iterator[tuple[str, InstanceAnswer | None]]:
        asker = caller()
        for found in _slots(store, catalog, query):
            slots = [as_struct(Slot, stored) for stored in found]
            services = {
                stored.id: as_struct(Service, stored)
                for stored in store.get_many(SERVICES, sorted({slot.service for slot in slots})).values()
            }
            meant = [
                slot
                for slot in slots
                if slot.desired == "run"
                and (service := services.get(slot.service)) is not None
                and asker.reaches(service.owner, service.organization)
                and query.application in (None, service.application)
            ]
            seen = views.instances(meant)
            for slot in slots:
                view = seen.get(slot.id)
                fits = view is not None and _is_meant(view, query)
                yield slot.id, _instance(view, services[slot.service]) if view is not None and fits else None

    def instance(instance: str) -> InstanceWithHistory:
        slot, service = find_instance(store, catalog, instance)
        view = views.instances([slot])[slot.id]
        clusters = {cluster.child.id: cluster.child.name for cluster in views.clusters_alone()}
        history = [answers.past(past, clusters) for past in view.placement.history]
        return {**_instance(view, service), "history": history}

    return [
        Route("GET", "/api/v1/instances", instances, READ_APPLICATIONS, "List instances"),
        Route(
            "GET",
            "/api/v1/instances/<instance>",
            instance,
            READ_APPLICATIONS,
            "Show an instance with its earlier attempts",
        ),
    ]


def find_instance(store: Store, catalog: Catalog, instance: str) -> tuple[Slot, Service]:
    """A wanted instance of the caller's by its id. Raises NotFound."""
    service, _, number = instance.partition(".")
    found = catalog.service(caller(), service).value
    stored = store.get(SLOTS, instance) if number.isascii() and number.isdigit() else None
    if stored is None or stored.document["desired"] != "run":
        raise NotFound(f"there is no instance {shown(instance)}; GET /api/v1/instances?service={found.id} lists them")
    return as_struct(Slot, stored), found


def _slots(store: Store, catalog: Catalog, query: InstanceQuery) -> Iterator[list[Stored]]:
    if query.service is not None:
        return chunks_of(store, SLOTS, "service", [query.service], query.after)
    if query.application is not None:
        services = [found.value.id for found in catalog.services_of(query.application)]
        return chunks_of(store, SLOTS, "service", services, query.after)
    return chunks(store, SLOTS, query.after)


def _is_meant(view: InstanceView, query: InstanceQuery) -> bool:
    cluster = (view.cluster.child.id, view.cluster.child.name) if view.cluster is not None else ()
    return (
        query.phase in (None, view.status.phase)
        and query.cluster in (None, *cluster)
        and query.node in (None, view.status.node or None, view.status.node_name or None)
    )


def _instance(view: InstanceView, service: Service) -> InstanceAnswer:
    named: NamedService = {"id": service.id, "name": service.name, "namespace": service.namespace}
    return {**answers.slot(view), "service": named, "application": service.application}
