"""The API's writes to one service that is there: another specification, another number of instances.

What runs follows later: the controller replaces instances one after another (`mangrove.reconcile.rollout`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from mangrove.base.errors import Conflict
from mangrove.base.log import request_id
from mangrove.model.documents import APPLICATIONS, SERVICES, SLOTS, SPECIFICATIONS, Slot
from mangrove.model.phases import Phase
from mangrove.model.specification import Specification
from mangrove.store.interface import ABSENT, Operation, Put, Store
from root_orchestrator.api.catalog import Catalog, Found
from root_orchestrator.api.declared import DeclaredService
from root_orchestrator.api.desired import refuse_counting, renamed, stopped
from root_orchestrator.api.service_addresses import ServiceAddresses
from root_orchestrator.api.views import InstanceView, Views
from root_orchestrator.auth.users import Caller
from root_orchestrator.writer import Writer

log = logging.getLogger(__name__)


class Scaled(msgspec.Struct, frozen=True):
    """What it took. instances: wanted now; added, removed: numbers of instances."""

    instances: int
    added: list[int]
    removed: list[int]


class Changing(Writer):
    """Writes what users want of a service. May be used from any thread, and beside other copies on the same store."""

    def __init__(self, store: Store, catalog: Catalog, views: Views, addresses: ServiceAddresses | None = None) -> None:
        """addresses: of services; without, they stay as they are."""
        super().__init__()
        self._addresses = addresses or ServiceAddresses(store, None)
        self._store = store
        self._catalog = catalog
        self._views = views

    def change(self, caller: Caller, service: str, declared: DeclaredService) -> int:
        """Declare a service anew; the number of its instances that this replaces.

        What differs in names and descriptions only replaces none. Raises NotFound, Conflict when the name is taken.
        """
        return self._retried(lambda: self._change(caller, service, declared), about=service)

    def scale(self, caller: Caller, service: str, instances: int) -> Scaled:
        """Want so many instances. New ones get new numbers; those that do not run are removed first, then those with
        the highest numbers. Raises NotFound."""
        return self._retried(lambda: self._scale(caller, service, instances), about=service)

    def _change(self, caller: Caller, id: str, declared: DeclaredService) -> int:
        found = self._catalog.service(caller, id)
        parent = self._catalog.application(caller, found.value.application)
        application = parent.value
        for other in self._catalog.services_of(application.id):
            if other.value.id != id and (other.value.name, other.value.namespace) == (
                declared.name,
                declared.namespace,
            ):
                raise Conflict(
                    f"microservice_name: application {application.id} has another service "
                    f'"{declared.name}" in namespace "{declared.namespace}"; choose another name or namespace'
                )
        if declared.mode != found.value.mode:
            raise Conflict(
                f"mode: is {declared.mode}, and {found.value.name} was declared as {found.value.mode}; "
                "it stays so: delete it and create it anew"
            )
        declared = renamed(declared, application)
        newer = declared.specification
        addresses, writes = self._addresses.settle(id, found.value.addresses, declared.addresses, set())
        changed = msgspec.structs.replace(
            found.value,
            name=declared.name,
            namespace=declared.namespace,
            specification=newer.digest,
            declared=declared.declared,
            addresses=addresses,
            wiring=declared.wiring,
        )
        operations: list[Operation] = [*writes]
        if (changed.name, changed.namespace) != (found.value.name, found.value.namespace):
            # The application is put back as it is: so two requests at once cannot both take the same name.
            operations.append(Put(APPLICATIONS, application.id, msgspec.to_builtins(application), parent.revision))
        slots = self._outdated(self._catalog.wanted_slots([id])[id], newer)
        self._store.apply(
            [
                *operations,
                # Named by its content, so putting one that is there already changes nothing.
                Put(SPECIFICATIONS, newer.digest, msgspec.to_builtins(newer)),
                Put(SERVICES, id, msgspec.to_builtins(changed), found.revision),
                *(_with_specification(slot, newer.digest) for slot in slots),
            ]
        )
        log.info("%s is declared anew, for %d instances", id, len(slots))
        return len(slots)

    def _outdated(self, slots: Sequence[Found[Slot]], newer: Specification) -> list[Found[Slot]]:
        digests = {slot.value.specification for slot in slots}
        known = self._store.get_many(SPECIFICATIONS, sorted(digests))
        same = {
            digest
            for digest, stored in known.items()
            if msgspec.structs.replace(stored.read(Specification), name=newer.name) == newer
        }
        return [slot for slot in slots if slot.value.specification not in same]

    def _scale(self, caller: Caller, id: str, instances: int) -> Scaled:
        found = self._catalog.service(caller, id)
        service = found.value
        refuse_counting(service)
        slots = self._catalog.wanted_slots([id])[id]
        surplus = len(slots) - instances
        operations: list[Operation] = []
        added: list[int] = []
        removed: list[Found[Slot]] = []
        if surplus > 0:
            views = {view.slot.id: view for view in self._views.services([service])[0].instances}
            removed = sorted(slots, key=lambda slot: _worth(slot.value, views.get(slot.value.id)))[:surplus]
            operations += stopped(removed)
        elif surplus < 0:
            added = list(range(service.next_number, service.next_number - surplus))
            for number in added:
                slot = Slot(f"{id}.{number}", id, number, service.specification, request=request_id())
                operations.append(Put(SLOTS, slot.id, msgspec.to_builtins(slot), ABSENT))
        if operations:
            # Put back also when it is as it was: so two requests at once cannot both count the same instances.
            counted = msgspec.structs.replace(service, next_number=service.next_number + len(added))
            self._store.apply([Put(SERVICES, id, msgspec.to_builtins(counted), found.revision), *operations])
            log.info("%s is scaled to %d instances", id, instances)
        return Scaled(instances, added, sorted(slot.value.number for slot in removed))


def _with_specification(slot: Found[Slot], digest: str) -> Put:
    changed = msgspec.structs.replace(slot.value, specification=digest, request=request_id())
    return Put(SLOTS, changed.id, msgspec.to_builtins(changed), slot.revision)


def _worth(slot: Slot, view: InstanceView | None) -> tuple[int, int]:
    """What is worth least is removed first."""
    phase = view.status.phase if view is not None else Phase.PENDING
    if phase in (Phase.RUNNING, Phase.COMPLETED):
        return (2, -slot.number)
    return (1 if phase in (Phase.ASSIGNED, Phase.PULLING, Phase.STARTING) else 0, -slot.number)
