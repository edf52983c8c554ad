"""What a parent whose store was brought back has adopted, over HTTP: listed, and dropped. Keeping is the root's."""

from __future__ import annotations

import msgspec

from mangrove.base.errors import Conflict, NotFound
from mangrove.model.answers import AdoptedInstance
from mangrove.model.documents import ADOPTED, Adopted
from mangrove.model.validation import shown
from mangrove.roles.routes import Access, Route
from mangrove.roles.web import Message
from mangrove.store.interface import Put, RevisionConflict, Store, Stored


def adopted_in(store: Store, instance: str) -> tuple[Stored, Adopted]:
    """One that is still kept, by its id. Raises NotFound, Conflict."""
    stored = store.get(ADOPTED, instance)
    if stored is None:
        raise NotFound(f"{shown(instance)} is not adopted; `mangrove adopted list` lists what is")
    found = stored.read(Adopted)
    if found.dropped:
        raise Conflict(f"{found.name} is being stopped already")
    return stored, found


def routes(store: Store, access: Access) -> list[Route]:
    """access: who may."""

    def list_adopted() -> list[AdoptedInstance]:
        found = [stored.read(Adopted) for stored in store.load(ADOPTED)]
        return sorted((_listed(one) for one in found), key=lambda one: (one.name, one.id))

    def drop_adopted(adopted: str) -> Message:
        stored, found = adopted_in(store, adopted)
        dropped = msgspec.structs.replace(found, dropped=True)
        try:
            store.apply([Put(ADOPTED, adopted, msgspec.to_builtins(dropped), stored.revision)])
        except RevisionConflict:
            raise Conflict(f"{found.name} has just become an instance that is wanted, or is gone") from None
        return {"message": f"{found.name} is stopped"}

    return [
        Route("GET", "/api/v1/adopted", list_adopted, access, "List what runs and a store brought back did not know"),
        Route("DELETE", "/api/v1/adopted/<adopted>", drop_adopted, access, "Stop an adopted instance", (409,)),
    ]


def _listed(one: Adopted) -> AdoptedInstance:
    attempt = one.attempt
    return AdoptedInstance(
        attempt.id, one.name, one.child_name, attempt.service, attempt.number, one.since, one.dropped
    )
