"""Applications and services: lists, one of them, and how many instances there should be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Annotated

import msgspec
from msgspec import Meta

from mangrove.base.clock import Clock
from mangrove.model.documents import APPLICATIONS, SERVICES, Application, Mode, Service
from mangrove.model.phases import Phase
from mangrove.roles.routes import Route
from mangrove.store.interface import Store
from root_orchestrator.api.catalog import Catalog, as_struct
from root_orchestrator.api.changing import Changing, Scaled
from root_orchestrator.api.paging import Listing, PageQuery, chunks, page
from root_orchestrator.api.v1 import answers
from root_orchestrator.api.v1.forms import ServiceAnswer
from root_orchestrator.api.views import ServiceView, Views
from root_orchestrator.auth.guard import caller
from root_orchestrator.auth.rules import CHANGE_APPLICATIONS, READ_APPLICATIONS


class ApplicationQuery(PageQuery, frozen=True):
    """Which applications of those that the caller may see."""

    name: str | None = None
    namespace: str | None = None


class ServiceQuery(PageQuery, frozen=True):
    """Which services of those that the caller may see. application: its id; phase: one that an instance is in."""

    application: str | None = None
    name: str | None = None
    phase: Phase | None = None


class Scale(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many instances there should be. The bound is what one write of the store does well."""

    instances: Annotated[int, Meta(ge=0, le=1000)]


class ServiceSummary(msgspec.Struct, frozen=True):
    """A service in a list. instances: how many are in each phase."""

    id: str
    name: str
    namespace: str
    application: str
    owner: str
    instances: dict[str, int]
    mode: Mode


def routes(store: Store, clock: Clock, catalog: Catalog, changing: Changing, views: Views) -> list[Route]:
    """See the module."""

    def applications(query: ApplicationQuery) -> Listing[Application]:
        return page(application_candidates(query), query.limit)

    def application_candidates(query: ApplicationQuery) -> Iterator[tuple[str, Application | None]]:
        asker = caller()
        for found in chunks(store, APPLICATIONS, query.after):
            for stored in found:
                one = as_struct(Application, stored)
                fits = query.name in (None, one.name) and query.namespace in (None, one.namespace)
                yield stored.id, one if fits and asker.reaches(one.owner, one.organization) else None

    def application(application: str) -> Application:
        return catalog.application(caller(), application).value

    def services(query: ServiceQuery) -> Listing[ServiceSummary]:
        return page(service_candidates(query), query.limit)

    def service_candidates(query: ServiceQuery) -> Iterator[tuple[str, ServiceSummary | None]]:
        asker = caller()
        for found in chunks(store, SERVICES, query.after):
            all_of_them = [as_struct(Service, stored) for stored in found]
            fit = [
                one
                for one in all_of_them
                if query.application in (None, one.application)
                and query.name in (None, one.name)
                and asker.reaches(one.owner, one.organization)
            ]
            seen = {view.service.id: _summary(view) for view in views.services(fit)}
            for one in all_of_them:
                summary = seen.get(one.id)
                if summary is not None and query.phase is not None and query.phase not in summary.instances:
                    summary = None
                yield one.id, summary

    def service(service: str) -> ServiceAnswer:
        view = views.services([catalog.service(caller(), service).value])[0]
        rollout = view.rollout(clock.wall())
        return {
            "id": view.service.id,
            "name": view.service.name,
            "namespace": view.service.namespace,
            "application": view.service.application,
            "owner": view.service.owner,
            "mode": view.service.mode,
            "specification": answers.whole(view.specification),
            "rollout": {
                "updated": rollout.updated,
                "total": rollout.total,
                "state": rollout.state,
                "reason": rollout.reason,
            },
            "slots": [answers.slot(instance) for instance in view.instances],
        }

    def scale(service: str, body: Scale) -> Scaled:
        return changing.scale(caller(), service, body.instances)

    one = "/api/v1/services/<service>"
    return [
        Route("GET", "/api/v1/applications", applications, READ_APPLICATIONS, "List applications"),
        Route("GET", "/api/v1/applications/<application>", application, READ_APPLICATIONS, "Show an application"),
        Route("GET", "/api/v1/services", services, READ_APPLICATIONS, "List services"),
        Route("GET", one, service, READ_APPLICATIONS, "Show a service with its slots and how far its rollout is"),
        Route(
            "PUT",
            f"{one}/scale",
            scale,
            CHANGE_APPLICATIONS,
            "Want so many instances of a service",
            (409,),
            example={"instances": 3},
        ),
    ]


def _summary(view: ServiceView) -> ServiceSummary:
    service = view.service
    phases = Counter(instance.status.phase.value for instance in view.instances)
    return ServiceSummary(
        service.id, service.name, service.namespace, service.application, service.owner, dict(phases), service.mode
    )
