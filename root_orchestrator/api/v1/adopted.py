"""Keeping what runs and a store that was brought back did not know: it becomes an instance of its service."""

from __future__ import annotations

import msgspec

from mangrove.base.errors import Conflict
from mangrove.base.ids import new_id
from mangrove.base.log import request_id
from mangrove.model.documents import (
    APPLICATIONS,
    SERVICES,
    SLOTS,
    SPECIFICATIONS,
    Adopted,
    Application,
    Service,
    Slot,
)
from mangrove.model.specification import Specification
from mangrove.roles import adopted_routes
from mangrove.roles.adopted_routes import adopted_in
from mangrove.roles.routes import Route
from mangrove.roles.web import Message
from mangrove.store.interface import ABSENT, Operation, Put, RevisionConflict, Store
from root_orchestrator.api.catalog import Catalog
from root_orchestrator.auth.guard import caller
from root_orchestrator.auth.rules import ADMINISTER
from root_orchestrator.auth.users import Caller


def routes(store: Store) -> list[Route]:
    """What every parent has, and to keep."""

    def keep_adopted(adopted: str) -> Message:
        _, found = adopted_in(store, adopted)
        _keep(store, caller(), found)
        return {"message": f"{found.name} is kept: it is an instance of its service now"}

    one = "/api/v1/adopted/<adopted>"
    return [
        *adopted_routes.routes(store, ADMINISTER),
        Route("PUT", one, keep_adopted, ADMINISTER, "Keep an adopted instance as one of its service", (409,)),
    ]


def _keep(store: Store, asker: Caller, found: Adopted) -> None:
    """Want the slot that it runs for; the controller then takes it for that slot's."""
    attempt = found.attempt
    stored = store.get(SERVICES, attempt.service)
    operations: list[Operation]
    if stored is None:
        service, operations = _made_again(store, asker, found)
    else:
        service, operations = stored.read(Service), []
    counted = msgspec.structs.replace(service, next_number=max(service.next_number, attempt.number + 1))
    id = f"{service.id}.{attempt.number}"
    pin = (found.child, *attempt.pin) if attempt.pin else ()
    slot = Slot(id, service.id, attempt.number, attempt.specification, request=request_id(), pin=pin)
    expected = ABSENT if stored is None else stored.revision
    operations.append(Put(SERVICES, service.id, msgspec.to_builtins(counted), expected))
    operations.append(Put(SLOTS, id, msgspec.to_builtins(slot), ABSENT))
    try:
        store.apply(operations)
    except RevisionConflict:
        raise Conflict(
            f"{found.name} runs as another instance already, or its service is just being changed: look again with "
            "`mangrove adopted list`, and drop it if it is still there"
        ) from None


def _made_again(store: Store, asker: Caller, found: Adopted) -> tuple[Service, list[Operation]]:
    """The service of what runs, which this store does not know, and what writes its application: the asker's.

    What its user declared is lost but for what it is to run; deploying its SLA again declares it again.
    """
    stored = store.get(SPECIFICATIONS, found.attempt.specification)
    specification = stored.read(Specification) if stored is not None else None
    parts = specification.name.split(".") if specification is not None else []
    if specification is None or len(parts) != 4:
        raise Conflict(f"{found.name} is of no service that has a name: it can only be dropped")
    application_name, application_namespace, name, namespace = parts
    catalog = Catalog(store)
    for known in catalog.applications_of(asker.name, asker.realm):
        if (known.name, known.namespace) == (application_name, application_namespace):
            there = catalog.application(asker, known.id)
            if any((s.value.name, s.value.namespace) == (name, namespace) for s in catalog.services_of(known.id)):
                raise Conflict(
                    f"{application_name} has another service {name} by now: drop what runs of the old one with "
                    "`mangrove adopted drop`"
                )
            application, expected = there.value, there.revision
            break
    else:
        application = Application(
            new_id(), application_name, application_namespace, "", asker.name, organization=asker.realm
        )
        expected = ABSENT
    grown = msgspec.structs.replace(application, services=(*application.services, found.attempt.service))
    service = Service(
        found.attempt.service,
        application.id,
        application.owner,
        name,
        namespace,
        specification.digest,
        organization=application.organization,
    )
    return service, [Put(APPLICATIONS, application.id, msgspec.to_builtins(grown), expected)]
