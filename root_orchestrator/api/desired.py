"""The API's writes: applications, services, specifications and slots. Each is one batch, conditional on what was read.

A write that met somebody else's is read and tried again. What runs follows later: controllers watch the store.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

import msgspec

from mangrove.base.errors import Conflict, NotFound, Unauthorized
from mangrove.base.ids import NewId, new_id
from mangrove.base.log import request_id
from mangrove.model.documents import (
    APPLICATIONS,
    ORGANIZATIONS,
    SERVICES,
    SLOTS,
    SPECIFICATIONS,
    USERS,
    Application,
    Service,
    Slot,
)
from mangrove.model.specification import Specification
from mangrove.store.interface import ABSENT, Delete, Operation, Put, Store
from root_orchestrator.api.catalog import Catalog, Found
from root_orchestrator.api.declared import DeclaredApplication, DeclaredService
from root_orchestrator.api.service_addresses import ServiceAddresses
from root_orchestrator.auth.users import Caller
from root_orchestrator.writer import Writer

log = logging.getLogger(__name__)

#: Stands for all instances of a service, as Oakestra's clients write it.
ALL_INSTANCES = -1


class Desired(Writer):
    """Writes what users want. May be used from any thread, and beside other copies of itself on the same store."""

    def __init__(
        self, store: Store, catalog: Catalog, ids: NewId = new_id, addresses: ServiceAddresses | None = None
    ) -> None:
        """addresses: of services; without, none is given."""
        super().__init__()
        self._addresses = addresses or ServiceAddresses(store, None)
        self._store = store
        self._catalog = catalog
        self._new_id = ids

    def create_applications(self, caller: Caller, declared: Sequence[DeclaredApplication]) -> None:
        """Write new applications with their services, all or none. Raises Conflict when a name is taken."""
        self._retried(lambda: self._create_applications(caller, declared))

    def add_services(self, caller: Caller, application: str, declared: Sequence[DeclaredService]) -> list[Service]:
        """Add services to an application (an id). Raises NotFound, Conflict when a name is taken."""
        return self._retried(lambda: self._add_services(caller, application, declared))

    def change_application(
        self,
        caller: Caller,
        id: str,
        *,
        name: str | None = None,
        namespace: str | None = None,
        description: str | None = None,
    ) -> None:
        """Call or describe an application otherwise; None leaves a part as it is. Raises NotFound, Conflict.

        Its services and what runs of them stay; instances that come later carry the new name.
        """
        parts = {"name": name, "namespace": namespace, "description": description}
        given = {part: text for part, text in parts.items() if text is not None}
        self._retried(lambda: self._change_application(caller, id, given))

    def delete_application(self, caller: Caller, id: str) -> None:
        """Remove an application and its services, and stop what runs of them. Raises NotFound."""
        self._retried(lambda: self._delete_application(caller, id))

    def delete_service(self, caller: Caller, id: str) -> None:
        """Remove a service, and stop its instances. Raises NotFound."""
        self._retried(lambda: self._delete_service(caller, id))

    def add_instance(self, caller: Caller, service: str) -> int:
        """Want one more instance of a service; its number. Raises NotFound."""
        return self._retried(lambda: self._add_instance(caller, service), about=service)

    def remove_instances(self, caller: Caller, service: str, number: int) -> None:
        """Want instance `number` (or `ALL_INSTANCES`) no more, for ever. Raises NotFound."""
        self._retried(lambda: self._remove_instances(caller, service, number))

    def _create_applications(self, caller: Caller, declared: Sequence[DeclaredApplication]) -> None:
        # The user's own document is put back as it is: so two requests of one user cannot take the same name at once.
        user = self._store.get(USERS, caller.id)
        if user is None:
            raise Unauthorized("your account is not there any more; sign in again")
        operations: list[Operation] = [Put(USERS, user.id, user.document, user.revision)]
        if caller.realm:
            # So is the organization's, which is not removed while it has applications.
            home = self._store.get(ORGANIZATIONS, caller.realm)
            if home is None:
                raise Unauthorized("your organization is not there any more; sign in again")
            operations.append(Put(ORGANIZATIONS, home.id, home.document, home.revision))
        taken = {(app.name, app.namespace) for app in self._catalog.applications_of(caller.name, caller.realm)}
        addresses: set[str] = set()
        for new in declared:
            if (new.name, new.namespace) in taken:
                raise _name_taken(new.name, new.namespace)
            application = self._new_id()
            services = [self._service(application, caller.name, caller.realm, service) for service in new.services]
            services, writes = self._writes_of(services, new.services, addresses)
            operations += writes
            ids = tuple(service.id for service in services)
            created = Application(application, new.name, new.namespace, new.description, caller.name, ids, caller.realm)
            operations.append(Put(APPLICATIONS, application, msgspec.to_builtins(created), ABSENT))
        self._store.apply(operations)

    def _add_services(self, caller: Caller, application: str, declared: Sequence[DeclaredService]) -> list[Service]:
        found = self._catalog.application(caller, application)
        parent = found.value
        taken = {(s.value.name, s.value.namespace) for s in self._catalog.services_of(application)}
        for new in declared:
            if (new.name, new.namespace) in taken:
                raise Conflict(
                    f'microservice_name: application {application} has a service "{new.name}" in namespace '
                    f'"{new.namespace}" already; choose another name or namespace, or delete that one first'
                )
        declared = [renamed(new, parent) for new in declared]
        services = [self._service(application, parent.owner, parent.organization, new) for new in declared]
        services, writes = self._writes_of(services, declared, set())
        ids = parent.services + tuple(service.id for service in services)
        grown = msgspec.structs.replace(parent, services=ids)
        self._store.apply(
            [
                Put(APPLICATIONS, application, msgspec.to_builtins(grown), found.revision),
                *writes,
            ]
        )
        return services

    def _change_application(self, caller: Caller, id: str, given: dict[str, str]) -> None:
        found = self._catalog.application(caller, id)
        changed = msgspec.structs.replace(found.value, **given)
        operations: list[Operation] = [Put(APPLICATIONS, id, msgspec.to_builtins(changed), found.revision)]
        if (changed.name, changed.namespace) != (found.value.name, found.value.namespace):
            operations += self._renaming(changed)
        self._store.apply(operations)

    def _renaming(self, application: Application) -> list[Operation]:
        # The owner's document is put back as it is, as when an application is made.
        owner = self._store.query(USERS, "name", application.owner, limit=1)
        operations: list[Operation] = [Put(USERS, user.id, user.document, user.revision) for user in owner]
        for other in self._catalog.applications_of(application.owner, application.organization):
            if other.id != application.id and (other.name, other.namespace) == (
                application.name,
                application.namespace,
            ):
                raise _name_taken(application.name, application.namespace)
        for found in self._catalog.services_of(application.id):
            service = found.value
            stored = self._store.get(SPECIFICATIONS, service.specification)
            if stored is None:
                continue
            specification = stored.read(Specification)
            named = msgspec.structs.replace(
                specification, name=_full_name(application, service.name, service.namespace)
            )
            moved = msgspec.structs.replace(service, specification=named.digest)
            operations.append(Put(SPECIFICATIONS, named.digest, msgspec.to_builtins(named)))
            operations.append(Put(SERVICES, service.id, msgspec.to_builtins(moved), found.revision))
        return operations

    def _delete_application(self, caller: Caller, id: str) -> None:
        found = self._catalog.application(caller, id)
        services = self._catalog.services_of(id)
        self._store.apply([Delete(APPLICATIONS, id, found.revision), *self._removal(services)])

    def _delete_service(self, caller: Caller, id: str) -> None:
        found = self._catalog.service(caller, id)
        application = self._catalog.application(caller, found.value.application)
        rest = tuple(service for service in application.value.services if service != id)
        shrunk = msgspec.structs.replace(application.value, services=rest)
        put = Put(APPLICATIONS, shrunk.id, msgspec.to_builtins(shrunk), application.revision)
        self._store.apply([put, *self._removal([found])])

    def _add_instance(self, caller: Caller, service: str) -> int:
        found = self._catalog.service(caller, service)
        refuse_counting(found.value)
        number = found.value.next_number
        counted = msgspec.structs.replace(found.value, next_number=number + 1)
        slot = Slot(f"{service}.{number}", service, number, found.value.specification, request=request_id())
        self._store.apply(
            [
                Put(SERVICES, service, msgspec.to_builtins(counted), found.revision),
                Put(SLOTS, slot.id, msgspec.to_builtins(slot), ABSENT),
            ]
        )
        log.info("%s is wanted, and written", slot.id)
        return number

    def _remove_instances(self, caller: Caller, service: str, number: int) -> None:
        found = self._catalog.service(caller, service)
        if number == ALL_INSTANCES:
            refuse_counting(found.value)
        slots = self._catalog.wanted_slots([service])[service]
        if number != ALL_INSTANCES:
            slots = [slot for slot in slots if slot.value.number == number]
            if not slots:
                raise NotFound(f"service {service} has no instance {number}; GET /api/service/{service} lists them")
        if slots:
            self._store.apply(stopped(slots))
            log.info("%d instances of %s are no longer wanted, and that is written", len(slots), service)

    def _removal(self, services: Sequence[Found[Service]]) -> list[Operation]:
        slots = self._catalog.wanted_slots([service.value.id for service in services])
        operations: list[Operation] = [Delete(SERVICES, s.value.id, s.revision) for s in services]
        for service in services:
            operations += self._addresses.release(service.value.addresses)
            operations += stopped(slots[service.value.id])
        return operations

    def _service(self, application: str, owner: str, organization: str, declared: DeclaredService) -> Service:
        return Service(
            id=self._new_id(),
            application=application,
            owner=owner,
            name=declared.name,
            namespace=declared.namespace,
            specification=declared.specification.digest,
            declared=declared.declared,
            organization=organization,
            wiring=declared.wiring,
            mode=declared.mode,
        )

    def _writes_of(
        self, services: Iterable[Service], declared: Iterable[DeclaredService], taken: set[str]
    ) -> tuple[list[Service], list[Operation]]:
        """The new services with their addresses, and what to write. taken: addresses of others in the same batch."""
        operations: list[Operation] = []
        made: list[Service] = []
        for bare, source in zip(services, declared, strict=True):
            addresses, writes = self._addresses.settle(bare.id, (), source.addresses, taken)
            service = msgspec.structs.replace(bare, addresses=addresses)
            made.append(service)
            operations += writes
            # Named by its content, so putting one that is there already changes nothing.
            specification = msgspec.to_builtins(source.specification)
            operations.append(Put(SPECIFICATIONS, service.specification, specification))
            operations.append(Put(SERVICES, service.id, msgspec.to_builtins(service), ABSENT))
        return made, operations


def stopped(slots: Iterable[Found[Slot]]) -> list[Operation]:
    """What to write so that slots are wanted no more."""
    return [
        Put(
            SLOTS,
            slot.value.id,
            msgspec.to_builtins(msgspec.structs.replace(slot.value, desired="stop", request=request_id())),
            slot.revision,
        )
        for slot in slots
    ]


def renamed(declared: DeclaredService, parent: Application) -> DeclaredService:
    """The same service under the name that its application really has, whatever the SLA called it."""
    name = _full_name(parent, declared.name, declared.namespace)
    specification = msgspec.structs.replace(declared.specification, name=name)
    return replace(declared, specification=specification)


def refuse_counting(service: Service) -> None:
    """Raise Conflict for a system service: how many instances it has is not for users to say."""
    if service.mode == "global":
        raise Conflict(
            f"{service.name} is a system service (mode: global): it has one instance on each node that it matches, as "
            "many as there are; change its constraints, or delete it"
        )


def _full_name(application: Application, name: str, namespace: str) -> str:
    return f"{application.name}.{application.namespace}.{name}.{namespace}"


def _name_taken(name: str, namespace: str) -> Conflict:
    return Conflict(
        f'application_name: you have an application "{name}" in namespace "{namespace}" already; '
        "choose another name or namespace, or delete that one first"
    )
