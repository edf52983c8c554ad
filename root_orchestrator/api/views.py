"""The read side: what became of what was declared, gathered from the store in bulk, in our own words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from mangrove.base.clock import Clock
from mangrove.model.attempt import Status, Usage
from mangrove.model.child import NodeView
from mangrove.model.documents import (
    APPLICATIONS,
    CHILDREN,
    IDENTITIES,
    NODES,
    OBSERVED,
    PLACEMENTS,
    SLOTS,
    SPECIFICATIONS,
    Application,
    Child,
    Identity,
    Observed,
    Placement,
    Service,
    Slot,
)
from mangrove.model.specification import Specification
from mangrove.reconcile.projection import slot_status
from mangrove.reconcile.rollout import Member, Rollout, rollout
from mangrove.store.interface import Store
from root_orchestrator.api.catalog import Catalog, as_struct
from root_orchestrator.api.fleet import Fleet

_T = TypeVar("_T")

#: Documents that are asked for by id; for more, reading the whole collection is quicker. One query in either case.
_FEW = 100


@dataclass(frozen=True, slots=True)
class ClusterView:
    """A cluster. age: seconds since it was last heard. usage: oldest first, may be empty. nodes: as it last told.
    cordoned, drained: as its Identity."""

    child: Child
    age: float
    usage: Sequence[Usage] = ()
    nodes: Sequence[NodeView] = ()
    cordoned: bool = False
    drained: bool = False

    @property
    def is_live(self) -> bool:
        return self.child.state == "live"


@dataclass(frozen=True, slots=True)
class InstanceView:
    """A wanted slot and what became of it. cluster: where it was given to, if anywhere; usage: oldest first.

    placement: what the controller decided, if anything yet; heard: wall-clock seconds of the newest word about it.
    """

    slot: Slot
    status: Status
    attempt: str
    cluster: ClusterView | None
    usage: Sequence[Usage]
    placement: Placement
    heard: float = 0.0

    @property
    def failures(self) -> int:
        """Attempts in a row that ended badly."""
        return self.placement.failures


@dataclass(frozen=True, slots=True)
class ServiceView:
    """A service with its instances by number. application: None only while it is being deleted."""

    service: Service
    specification: Specification
    application: Application | None
    instances: tuple[InstanceView, ...]

    def rollout(self, now: float) -> Rollout:
        """How far its newest specification has come. now: wall-clock seconds."""
        return rollout((_member(instance) for instance in self.instances), now)


@dataclass(frozen=True, slots=True)
class There:
    """An instance that is on a node (its id)."""

    slot: Slot
    node: str
    specification: Specification


class Views:
    """Answers from the store, a fixed number of reads for any number of services."""

    def __init__(self, store: Store, catalog: Catalog, fleet: Fleet, clock: Clock) -> None:
        self._store = store
        self._catalog = catalog
        self._fleet = fleet
        self._clock = clock

    def services(self, services: Sequence[Service]) -> list[ServiceView]:
        """Each service with its instances, in the order given."""
        slots = self._catalog.wanted_slots([service.id for service in services])
        instances = self.instances([slot.value for found in slots.values() for slot in found])
        specifications = self._many(SPECIFICATIONS, Specification, (service.specification for service in services))
        applications = self._many(APPLICATIONS, Application, (service.application for service in services))
        return [
            ServiceView(
                service=service,
                specification=specifications.get(service.specification, Specification(service.name)),
                application=applications.get(service.application),
                instances=tuple(instances[slot.value.id] for slot in slots[service.id]),
            )
            for service in services
        ]

    def instances(self, slots: Iterable[Slot]) -> dict[str, InstanceView]:
        """What became of slots, by id."""
        slots = list(slots)
        placements = self._many(PLACEMENTS, Placement, (slot.id for slot in slots))
        attempts = [placement.current.attempt for placement in placements.values() if placement.current]
        observed = self._many(OBSERVED, Observed, attempts)
        usage = self._fleet.usage(attempts)
        clusters = {cluster.child.id: cluster for cluster in self.clusters_alone()}

        def instance(slot: Slot) -> InstanceView:
            placement = placements.get(slot.id)
            given = placement.current if placement else None
            attempt = given.attempt if given else ""
            return InstanceView(
                slot=slot,
                status=slot_status(slot.id, placement, observed.get(attempt)),
                attempt=attempt,
                cluster=clusters.get(given.child) if given else None,
                usage=usage.get(attempt, ()),
                placement=placement or Placement(slot.id),
                heard=observed[attempt].heard if attempt in observed else 0.0,
            )

        return {slot.id: instance(slot) for slot in slots}

    def clusters(self) -> list[ClusterView]:
        """All clusters that ever joined, by name, with what was measured on them and their nodes."""
        clusters = self.clusters_alone()
        nodes: dict[str, list[NodeView]] = {cluster.child.id: [] for cluster in clusters}
        for stored in self._store.load(NODES):
            cluster = stored.id.partition("/")[0]
            if cluster in nodes:
                nodes[cluster].append(as_struct(NodeView, stored))
        usage, identities = self._fleet.usage(nodes), self._many(IDENTITIES, Identity, nodes)
        return [
            ClusterView(
                cluster.child,
                cluster.age,
                usage.get(id, ()),
                nodes[id],
                cordoned=id in identities and identities[id].cordoned,
                drained=id in identities and identities[id].drained,
            )
            for cluster in clusters
            for id in (cluster.child.id,)
        ]

    def where(self, clusters: Set[str]) -> dict[str, list[There]]:
        """All that is on the nodes of these clusters, the oldest first. Reads what there is of all instances."""
        found: dict[str, list[There]] = {cluster: [] for cluster in clusters}
        placements = [stored.read(Placement) for stored in self._store.load(PLACEMENTS)]
        given = {one.slot: one.current for one in placements if one.current and one.current.child in clusters}
        observed = self._many(OBSERVED, Observed, (one.attempt for one in given.values()))
        specifications = self._many(SPECIFICATIONS, Specification, (one.specification for one in given.values()))
        slots = self._many(SLOTS, Slot, given)
        for id in sorted(slots, key=lambda id: given[id].since):
            slot, attempt = slots[id], given[id]
            seen, specification = observed.get(attempt.attempt), specifications.get(attempt.specification)
            if seen is not None and specification is not None and seen.status.node and not seen.status.ended:
                found[attempt.child].append(There(slot, seen.status.node, specification))
        return found

    def active_clusters(self) -> dict[str, bool]:
        """Name of each cluster → whether it is heard."""
        return {cluster.child.name: cluster.is_live for cluster in self.clusters_alone()}

    def clusters_alone(self) -> list[ClusterView]:
        """The same without nodes and figures, which costs less."""
        ages, now = self._fleet.ages(), self._clock.wall()
        children = [as_struct(Child, stored) for stored in self._store.load(CHILDREN)]
        children.sort(key=lambda child: (child.name, child.id))
        # The link counts by a clock that never jumps; the document's time is for when it has only just started.
        return [ClusterView(child, ages.get(child.id, max(0.0, now - child.heard))) for child in children]

    def _many(self, collection: str, form: type[_T], ids: Iterable[str]) -> dict[str, _T]:
        wanted = list(dict.fromkeys(ids))
        if not wanted:
            return {}
        if len(wanted) <= _FEW:
            return {id: stored.read(form) for id, stored in self._store.get_many(collection, wanted).items()}
        found = {stored.id: stored for stored in self._store.load(collection)}
        return {id: found[id].read(form) for id in wanted if id in found}


def _member(view: InstanceView) -> Member:
    if not view.attempt:
        return Member(view.slot, view.placement)
    unheard = view.cluster is not None and not view.cluster.is_live
    status = msgspec.structs.replace(view.status, silent=True) if unheard else view.status
    return Member(view.slot, view.placement, status, view.heard)
