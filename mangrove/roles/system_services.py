"""The root's part in system services: it gives each matching node of each cluster an instance, and takes it away.

Every such instance is a slot like any other, but pinned to its node; so all that holds for slots holds for it. The
slots of these services are written here instead of by the API, in the same way: one batch, conditional on what was
read.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from mangrove.base.clock import Clock
from mangrove.link import parent_events as link
from mangrove.link.messages import NODES
from mangrove.link.peer import Peer
from mangrove.model.child import Capacity, NodeView
from mangrove.model.documents import SERVICES, SLOTS, Adopted, Placement, Service, Slot
from mangrove.placement.fleet import Fleet, Row, undated
from mangrove.placement.pinned import matching, why_not
from mangrove.reconcile.system import Changes, Pin, Verdict, changes, verdict
from mangrove.roles.catalogue import Catalogue
from mangrove.store.interface import ABSENT, Lease, Operation, Put, RevisionConflict, Store

log = logging.getLogger(__name__)

#: Seconds between two looks: as often as a cluster sums up what changed on its nodes.
_PERIOD = 0.25
#: The same while instances belong on nodes that nobody tells of, and their clusters may say that these were removed.
_MISSING_PERIOD = 2.0
#: Slots written at once: a batch that a store writes in some milliseconds; the rest follows with the next look.
_BATCH = 1000


class Without(NamedTuple):
    """A node that has no instance of a system service, and why."""

    cluster: str
    node: str
    reason: str


class _Node(NamedTuple):
    """What counts of a node. live: it is heard, and has said what it is. instances: that are there, if it is
    drained. cordoned, drained: it, or its cluster."""

    name: str
    live: bool
    cordoned: bool
    drained: bool
    instances: int

    @classmethod
    def of(cls, view: NodeView, cluster: Row) -> _Node:
        drained = view.drained or cluster.drained
        instances = view.instances if drained else 0
        live = view.state == "live" and undated(view.capacity) != Capacity()  # and has said what it is
        return cls(view.name, live, view.cordoned or cluster.cordoned, drained, instances)


class SystemServices:
    """fleet: the clusters; peers: their links; wanted, placements: all slots; adopted: what runs, and the store does
    not know."""

    def __init__(
        self,
        store: Store,
        lease: Lease,
        fleet: Fleet,
        peers: Mapping[str, Peer],
        wanted: Mapping[str, Slot],
        placements: Mapping[str, Placement],
        adopted: Callable[[], Iterable[Adopted]],
        catalogue: Catalogue,
        clock: Clock,
    ) -> None:
        self._store = store
        self._lease = lease
        self._clusters = fleet
        self._peers = peers
        self._wanted = wanted
        self._placements = placements
        self._adopted = adopted
        self._catalogue = catalogue
        self._clock = clock
        self._services: dict[str, Service] = {}
        self._nodes = Fleet("node")
        self._told: set[str] = set()  # clusters that have told of their nodes since this start
        self._seen: dict[Pin, _Node] = {}
        self._views: dict[str, tuple[NodeView, object]] = {}  # node → what `_seen` has of it is made of this
        self._news = True  # of services and clusters
        self._heard = False  # whether a cluster has told of its nodes since the last look
        self._missing = False  # whether there are instances on nodes that no cluster tells of
        self._looked = -math.inf
        self.load()

    def load(self) -> None:
        """Begin with what the store has."""
        found = (stored.read(Service) for stored in self._store.load(SERVICES))
        self._services = {service.id: service for service in found if service.mode == "global"}
        self._news = True

    def changed(self, id: str, document: dict[str, Any] | None) -> None:
        """A service was declared, declared anew or deleted."""
        if document is not None and document.get("mode") == "global":
            self._services[id] = msgspec.convert(document, Service)
            self._news = True
        else:
            self._services.pop(id, None)

    def slot_changed(self, service: str) -> None:
        """A slot is wanted no more: by a user's word, unless by ours."""
        self._news |= service in self._services

    def cluster_changed(self) -> None:
        """A cluster was cordoned or drained, or removed."""
        self._news = True

    def heed(self, events: Iterable[link.Event]) -> None:
        """What the link has learnt."""
        for event in events:
            if isinstance(event, link.Reported) and event.channel == NODES:
                self._told.add(event.child)
                self._heard = True

    def work(self) -> None:
        """Write what is due, if there is anything. Raises StoreUnavailable, StaleLease."""
        now = self._clock.now()
        if now < self.next_wake():
            return
        self._looked, news, self._news, self._heard = now, self._news, False, False
        if not (self._mirror() or news or self._missing):
            return
        slots: dict[str, list[Slot]] = {service: [] for service in self._services}
        pinned = Counter[Pin]()
        for slot in self._wanted.values():
            if slot.service in slots and slot.desired == "run":
                slots[slot.service].append(slot)
                pinned[slot.pin] += 1
        for service in self._services.values():
            verdicts = self._verdicts(service, pinned)
            if self._changes(slots[service.id], verdicts) != Changes():
                self._write(service.id, verdicts)
        self._missing = not pinned.keys() <= self._seen.keys()

    def _changes(self, slots: Iterable[Slot], verdicts: Mapping[Pin, Verdict]) -> Changes:
        missing = [slot for slot in slots if slot.pin not in verdicts]
        refused = {
            slot.id for slot in missing if (known := self._placements.get(slot.id)) is not None and known.refused
        }
        return changes(slots, verdicts, self._clusters.rows.keys(), refused)

    def next_wake(self) -> float:
        """When `work` wants to be called at the latest (`Clock.now`)."""
        if not self._services or not (self._news or self._heard or self._missing):
            return math.inf
        return self._looked + (_PERIOD if self._news or self._heard else _MISSING_PERIOD)

    def without(self, service: str) -> list[Without]:
        """The nodes that have no instance of a system service, and why, by their names."""
        known = self._services.get(service)
        if known is None:
            return []
        self._mirror()
        there = {slot.pin for slot in self._wanted.values() if slot.service == service and slot.desired == "run"}
        unheard = self._clusters.rows.keys() - self._told
        found = [Without(self._clusters.rows[id].name, "", "has not told of its nodes yet") for id in unheard]
        for pin, node in self._seen.items():
            if pin not in there:
                found.append(Without(self._clusters.rows[pin[0]].name, node.name, self._why(known, pin, node)))
        return sorted(found)

    def _why(self, service: Service, pin: Pin, node: _Node) -> str:
        specification, cluster = self._catalogue[service.specification], self._clusters.rows[pin[0]]
        reason = why_not(self._clusters, specification, cluster.id) or why_not(self._nodes, specification, pin[1])
        if reason:
            return reason
        for held, what in ((node.drained, "drained"), (node.cordoned, "cordoned")):
            if held:
                return f"{what}: it gets nothing new"
        return "will get one" if node.live else "is not connected"

    def _verdicts(self, service: Service, pinned: Mapping[Pin, int]) -> dict[Pin, Verdict]:
        specification = self._catalogue[service.specification]
        clusters, nodes = matching(self._clusters, specification), matching(self._nodes, specification)
        staying = matching(self._nodes, specification, staying=True)
        return {
            pin: verdict(
                matches=pin[0] in clusters and pin[1] in nodes,
                stays=pin[0] in clusters and pin[1] in staying,
                live=node.live,
                cordoned=node.cordoned,
                drained=node.drained,
                alone=node.instances <= pinned[pin],
            )
            for pin, node in self._seen.items()
        }

    def _mirror(self) -> bool:
        """Take over what clusters tell of their nodes; whether something that counts has changed."""
        before, seen, views = self._nodes.changed, dict[Pin, _Node](), dict[str, tuple[NodeView, object]]()
        for id in self._clusters.rows.keys() & self._told & self._peers.keys():
            cluster = self._clusters.rows[id]
            where = cluster.capacity.position
            ours = (id, cluster.cordoned, cluster.drained, where)
            for view in self._peers[id].nodes.entries.values():
                views[view.id], (known, theirs) = (view, ours), self._views.get(view.id, (None, None))
                pin = (id, view.id)
                if known is view and theirs == ours:
                    seen[pin] = self._seen[pin]
                    continue
                seen[pin] = _Node.of(view, cluster)
                if known is None or known.name != view.name:
                    self._nodes.add(view.id, view.name)
                capacity = view.capacity
                self._nodes.update(
                    view.id,
                    msgspec.structs.replace(capacity, position=where) if capacity.position is None else capacity,
                )
        for gone in self._views.keys() - views.keys():
            self._nodes.remove(gone)
        changed = seen != self._seen or self._nodes.changed != before
        self._seen, self._views = seen, views
        return changed

    def _write(self, id: str, verdicts: Mapping[Pin, Verdict]) -> None:
        """Read anew what is there, and write what it lacks, all or nothing."""
        stored, read = self._store.get(SERVICES, id), self._store.query(SLOTS, "service", id)
        if stored is None:
            return
        service, known = stored.read(Service), {one.id: (one.read(Slot), one.revision) for one in read}
        slots = [slot for slot, _ in known.values() if slot.desired == "run"]
        due = self._changes(slots, verdicts)
        runs = {
            (kept.child, *kept.attempt.pin): kept.attempt.number
            for kept in self._adopted()
            if kept.attempt.service == id
        }
        number, operations = max([service.next_number, *(n + 1 for n in runs.values())]), list[Operation]()
        for pin in due.pins[:_BATCH]:
            own = runs.get(pin, number)
            if f"{id}.{own}" in known:
                own = number
            number = max(number, own + 1)
            slot = Slot(f"{id}.{own}", id, own, service.specification, pin=pin)
            operations.append(Put(SLOTS, slot.id, msgspec.to_builtins(slot), ABSENT))
        for gone in due.slots[:_BATCH]:
            slot, revision = known[gone]
            document = msgspec.to_builtins(msgspec.structs.replace(slot, desired="stop"))
            operations.append(Put(SLOTS, gone, document, revision))
        if not operations:
            return
        counted = msgspec.structs.replace(service, next_number=number)
        operations.append(Put(SERVICES, id, msgspec.to_builtins(counted), stored.revision))
        self._news |= len(due.pins) > _BATCH or len(due.slots) > _BATCH
        try:
            self._store.apply(operations, lease=self._lease)
        except RevisionConflict:  # a user has changed or deleted it just now
            self._news = True
            return
        log.info("%s: %d nodes get an instance, %d lose theirs", id, len(due.pins), len(due.slots))
