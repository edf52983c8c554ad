"""What an operator on the cluster's machine may do with its instances, root or no root: list, hold and release them.

A hold is the cluster's own: it is kept in the cluster's store, told to the root as a status, and changes nothing of
what users want.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from cluster_orchestrator.local import OPERATOR
from mangrove.base.clock import Clock
from mangrove.base.errors import Conflict, InvalidInput, NotFound
from mangrove.client.documents import LocalInstance
from mangrove.model.attempt import Status
from mangrove.model.documents import EVENTS, HOLDS, SLOTS, SPECIFICATIONS, Event, Hold, Slot
from mangrove.model.phases import ENDED, Phase
from mangrove.model.specification import Specification
from mangrove.model.validation import shown
from mangrove.roles.routes import Route
from mangrove.roles.web import Message
from mangrove.store.interface import Check, Delete, Put, RevisionConflict, Store

#: Characters of a reason: it travels in every status of the instance.
_REASON = 200
#: Events in a list: a few screens.
_EVENTS = 100


class HoldRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """reason: why, for those who wonder at the root."""

    reason: str = ""


def routes(store: Store, clock: Clock, cluster: str, status: Callable[[str], Status | None]) -> list[Route]:
    """cluster: its name. status: what is said of a slot; may be called from any thread."""

    def instances() -> list[LocalInstance]:
        slots = [stored.read(Slot) for stored in store.load(SLOTS)]
        found = store.get_many(SPECIFICATIONS, sorted({slot.specification for slot in slots}))
        names = {id: stored.read(Specification).name for id, stored in found.items()}
        listed = [_listed(slot, names.get(slot.specification, ""), status(slot.id)) for slot in slots]
        return sorted(listed, key=lambda one: (one.name.rpartition(".")[0], int(one.name.rpartition(".")[2]), one.id))

    def hold(instance: str, body: HoldRequest) -> Message:
        reason = body.reason.strip()
        if len(reason) > _REASON or not (reason.isprintable() or not reason):
            raise InvalidInput("reason", f"must be one line of at most {_REASON} characters")
        stored = store.get(SLOTS, instance)
        if stored is None or stored.read(Slot).desired == "stop":
            raise NotFound(f"this cluster has no instance {shown(instance)}; `mangrove cluster instances` lists them")
        said = status(instance)
        if said is not None and said.phase in ENDED:
            raise Conflict(f"instance {instance} is {said.phase}: there is nothing to hold")
        text = f"held at cluster {cluster} by an operator" + (f": {reason}" if reason else "")
        held = Hold(instance, text, clock.wall())
        try:
            store.apply([Check(SLOTS, instance, stored.revision), Put(HOLDS, instance, msgspec.to_builtins(held))])
        except RevisionConflict:
            raise Conflict(f"instance {instance} is just being changed by the root; try again") from None
        return {"message": f"instance {instance} is held"}

    def release(instance: str) -> Message:
        if store.get(HOLDS, instance) is None:
            raise NotFound(f"no instance {shown(instance)} is held here; `mangrove cluster instances` lists them")
        store.apply([Delete(HOLDS, instance)])
        return {"message": f"instance {instance} is released"}

    def events() -> list[Event]:
        return [stored.read(Event) for stored in store.load(EVENTS)[-_EVENTS:]]

    one = "/api/v1/instances/<instance>/hold"
    return [
        Route("GET", "/api/v1/instances", instances, OPERATOR, "List the instances that this cluster was given"),
        Route("PUT", one, hold, OPERATOR, "Stop an instance here until it is released", (409,)),
        Route("DELETE", one, release, OPERATOR, "Let an instance run again"),
        Route("GET", "/api/v1/events", events, OPERATOR, "List the newest of what happened here"),
    ]


def _listed(slot: Slot, name: str, said: Status | None) -> LocalInstance:
    """name: of the specification, `application.namespace.service.namespace`."""
    parts = name.split(".")
    short = f"{parts[0]}.{parts[2]}" if len(parts) == 4 else name or slot.service
    if said is None:
        said = Status(slot.id, Phase.PENDING)
    return LocalInstance(
        slot.id, f"{short}.{slot.number}", said.phase, said.reason, said.node_name, said.restarts, said.since
    )
