"""What the root tells clusters of services: who they are, which addresses they have, and who may reach whom."""

from __future__ import annotations

import msgspec

from mangrove.model.documents import APPLICATIONS, SERVICES, Application, Service
from mangrove.network.layout import Layout
from mangrove.network.plan import ServiceEntry
from mangrove.roles.network import NetworkRole
from mangrove.store.interface import Change, Store

#: Whose a service is, and what it is called in full.
_Name = tuple[str, str, str]


class RootNetwork:
    """Follows the store's applications and services, and hands on what has changed. Used in the loop's thread."""

    def __init__(self, store: Store, network: NetworkRole, layout: Layout) -> None:
        self._store = store
        self._network = network
        self._applications: dict[str, Application] = {}
        self._services: dict[str, Service] = {}
        self._of_application: dict[str, set[str]] = {}
        self._named: dict[_Name, str] = {}
        self._wished: dict[_Name, set[str]] = {}  # what services declare that they connect to → these
        self._load()
        network.cut(layout.ranges, layout.nodes_of(4), layout.nodes_of(6), layout.block4, layout.block6)

    def follow(self, change: Change | None) -> None:
        """Something was written; None: it is not known what."""
        if change is None:
            self._load()
        elif change.collection == APPLICATIONS:
            application = None if change.document is None else msgspec.convert(change.document, Application)
            self._application(change.id, application)
        elif change.collection == SERVICES:
            self._service(change.id, None if change.document is None else msgspec.convert(change.document, Service))

    def _load(self) -> None:
        applications = {stored.id: stored.read(Application) for stored in self._store.load(APPLICATIONS)}
        services = {stored.id: stored.read(Service) for stored in self._store.load(SERVICES)}
        for id in self._services.keys() - services.keys():
            self._service(id, None)
        for id in self._applications.keys() | applications.keys():
            self._application(id, applications.get(id))
        for id, service in services.items():
            self._service(id, service)

    def _application(self, id: str, application: Application | None) -> None:
        before = self._applications.get(id)
        if before is not None and application is not None and _said(before) == _said(application):
            return
        services = sorted(self._of_application.get(id, ()))
        for service in services:
            self._name(self._services[service], remove=True)
        if application is None:
            self._applications.pop(id, None)
        else:
            self._applications[id] = application
        for service in services:
            self._name(self._services[service])
        for service in services:
            self._hand_on(service)

    def _service(self, id: str, service: Service | None) -> None:
        before = self._services.get(id)
        if before is not None and service is not None and _shown(before) == _shown(service):
            return  # one more instance was asked for, most often
        if before is not None:
            self._name(before, remove=True)
            self._wish(before, remove=True)
            self._of_application.get(before.application, set()).discard(id)
            del self._services[id]
        if service is not None:
            self._services[id] = service
            self._of_application.setdefault(service.application, set()).add(id)
            self._wish(service)
            self._name(service)
        self._hand_on(id)

    def _name(self, service: Service, *, remove: bool = False) -> None:
        """A service can be found by its full name, or not any more; who has wished for that name is told."""
        for name in self._names(service):
            if remove:
                if self._named.get(name) == service.id:
                    del self._named[name]
            else:
                self._named[name] = service.id
            for other in self._wished.get(name, ()):
                self._hand_on(other)

    def _names(self, service: Service) -> list[_Name]:
        application = self._applications.get(service.application)
        names = [service.id]
        if application is not None:
            names.append(f"{application.name}.{application.namespace}.{service.name}.{service.namespace}")
        return [(service.organization, service.owner, name) for name in names]

    def _wish(self, service: Service, *, remove: bool = False) -> None:
        for target in service.wiring.reaches:
            wishers = self._wished.setdefault((service.organization, service.owner, target), set())
            (wishers.discard if remove else wishers.add)(service.id)

    def _hand_on(self, id: str) -> None:
        service = self._services.get(id)
        application = self._applications.get(service.application) if service is not None else None
        if service is None or application is None:
            self._network.service(id, None)
            return
        wishes = ((service.organization, service.owner, target) for target in service.wiring.reaches)
        entry = ServiceEntry(
            id,
            service.name,
            service.namespace,
            service.application,
            application.name,
            application.namespace,
            f"{service.organization}/{service.owner}/{application.namespace}",
            service.addresses,
            tuple(sorted({self._named[wish] for wish in wishes if wish in self._named} - {id})),
            service.wiring.affinity,
            service.wiring.egress,
        )
        self._network.service(id, entry)


def _said(application: Application) -> tuple[str, str]:
    return application.name, application.namespace


def _shown(service: Service) -> Service:
    """Without what means nothing to the network."""
    return msgspec.structs.replace(service, specification="", declared={}, next_number=0)
