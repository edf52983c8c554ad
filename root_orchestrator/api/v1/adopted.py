"""Keeping what runs and a store that was brought back did not know: it becomes an instance of its service."""

from __future__ import annotations

import msgspec

from mangrove.base.errors import Conflict
from mangrove.base.log import request_id
from mangrove.model.documents import SERVICES, SLOTS, Adopted, Service, Slot
from mangrove.roles import adopted_routes
from mangrove.roles.adopted_routes import adopted_in
from mangrove.roles.routes import Route
from mangrove.roles.web import Message
from mangrove.store.interface import ABSENT, Put, RevisionConflict, Store
from root_orchestrator.auth.rules import ADMINISTER


def routes(store: Store) -> list[Route]:
    """What every parent has, and to keep."""

    def keep_adopted(adopted: str) -> Message:
        _, found = adopted_in(store, adopted)
        _keep(store, found)
        return {"message": f"{found.name} is kept: it is an instance of its service now"}

    one = "/api/v1/adopted/<adopted>"
    return [
        *adopted_routes.routes(store, ADMINISTER),
        Route("PUT", one, keep_adopted, ADMINISTER, "Keep an adopted instance as one of its service", (409,)),
    ]


def _keep(store: Store, found: Adopted) -> None:
    """Want the slot that it runs for; the controller then takes it for that slot's."""
    attempt = found.attempt
    stored = store.get(SERVICES, attempt.service)
    if stored is None:
        raise Conflict(
            f"the service of {found.name} is not in this store: deploy its SLA again, then `mangrove adopted drop` it"
        )
    service = stored.read(Service)
    counted = msgspec.structs.replace(service, next_number=max(service.next_number, attempt.number + 1))
    id = f"{service.id}.{attempt.number}"
    slot = Slot(id, service.id, attempt.number, attempt.specification, request=request_id())
    try:
        store.apply(
            [
                Put(SERVICES, service.id, msgspec.to_builtins(counted), stored.revision),
                Put(SLOTS, id, msgspec.to_builtins(slot), ABSENT),
            ]
        )
    except RevisionConflict:
        raise Conflict(
            f"{found.name} runs as another instance already, or its service is just being changed: look again with "
            "`mangrove adopted list`, and drop it if it is still there"
        ) from None
