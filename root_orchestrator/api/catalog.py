"""What was declared, read back with its revision, and only by those whose it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from mangrove.base.errors import NotFound
from mangrove.base.ids import is_id
from mangrove.model.documents import APPLICATIONS, SERVICES, SLOTS, Application, Service, Slot
from mangrove.model.validation import shown
from mangrove.store.interface import Store, Stored
from root_orchestrator.auth.rules import Scope
from root_orchestrator.auth.users import Caller

_T = TypeVar("_T")

#: Services of which the slots are asked for one by one; for more, reading all slots at once is quicker.
_FEW = 20


@dataclass(frozen=True, slots=True)
class Found(Generic[_T]):
    """A document as a struct, with the revision that a write of it must expect."""

    value: _T
    revision: int


class Catalog:
    """Reads applications, services and slots. What belongs to others is answered as if it were not there."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def application(self, caller: Caller, id: str) -> Found[Application]:
        """One application of the caller's. Raises NotFound."""
        stored = self._store.get(APPLICATIONS, id) if is_id(id) else None
        if stored is not None:
            found = found_as(Application, stored)
            if caller.reaches(found.value.owner, found.value.organization):
                return found
        raise NotFound(f"there is no application {shown(id)}; GET /api/applications lists yours")

    def service(self, caller: Caller, id: str) -> Found[Service]:
        """One service of the caller's. Raises NotFound."""
        stored = self._store.get(SERVICES, id) if is_id(id) else None
        if stored is not None:
            found = found_as(Service, stored)
            if caller.reaches(found.value.owner, found.value.organization):
                return found
        raise NotFound(
            f"there is no service {shown(id)}; GET /api/services/<application id> lists those of an application"
        )

    def applications_of(self, owner: str, organization: str) -> list[Application]:
        """Applications of one user (a name) in an organization (an id, empty for `root`), by their own name."""
        found = (as_struct(Application, stored) for stored in self._store.query(APPLICATIONS, "owner", owner))
        return _by_name(application for application in found if application.organization == organization)

    def applications(self, caller: Caller) -> list[Application]:
        """All applications within the caller's reach, by name."""
        if caller.scope == Scope.OWN:
            return self.applications_of(caller.name, caller.realm)
        found = (as_struct(Application, stored) for stored in self._store.load(APPLICATIONS))
        return _by_name(
            application for application in found if caller.reaches(application.owner, application.organization)
        )

    def services_of(self, application: str) -> list[Found[Service]]:
        """Services of one application (an id)."""
        return [found_as(Service, stored) for stored in self._store.query(SERVICES, "application", application)]

    def services(self, caller: Caller) -> list[Service]:
        """All services within the caller's reach."""
        found = (as_struct(Service, stored) for stored in self._store.load(SERVICES))
        return [service for service in found if caller.reaches(service.owner, service.organization)]

    def wanted_slots(self, services: Sequence[str]) -> dict[str, list[Found[Slot]]]:
        """The slots that are wanted, of each of `services` (ids), by number."""
        wanted: dict[str, list[Found[Slot]]] = {service: [] for service in services}
        for stored in self._stored_slots(services):
            found = found_as(Slot, stored)
            if found.value.desired == "run" and found.value.service in wanted:
                wanted[found.value.service].append(found)
        for slots in wanted.values():
            slots.sort(key=lambda found: found.value.number)
        return wanted

    def _stored_slots(self, services: Sequence[str]) -> Iterable[Stored]:
        if len(services) > _FEW:
            yield from self._store.load(SLOTS)
            return
        for service in services:
            yield from self._store.query(SLOTS, "service", service)


def _by_name(applications: Iterable[Application]) -> list[Application]:
    return sorted(applications, key=lambda application: (application.name, application.namespace, application.id))


def as_struct(form: type[_T], stored: Stored) -> _T:
    """A stored document as its struct."""
    return stored.read(form)


def found_as(form: type[_T], stored: Stored) -> Found[_T]:
    """A stored document as its struct, with its revision."""
    return Found(as_struct(form, stored), stored.revision)
