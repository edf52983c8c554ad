"""The parent's shell: link, store, placement and the loop over slots, wired together. Used by root and cluster.

One thread owns it. `handle` takes what a transport says; `work` does all that is due, in this order: hear, follow the
store, decide, make durable, and only then act.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from mangrove.base.clock import Clock
from mangrove.base.errors import Conflict, Unavailable
from mangrove.base.ids import NewId
from mangrove.base.log import request_id
from mangrove.link.messages import Call, Reply
from mangrove.link.pace import Settings
from mangrove.link.parent import ParentLink
from mangrove.link.transports.interface import Connected, Disconnected, ParentTransport, TransportEvent
from mangrove.model import documents
from mangrove.model.attempt import Usage
from mangrove.model.child import NodeView
from mangrove.model.documents import Adopted, Child, Event, Hold, Identity, Observed, Placement, Slot
from mangrove.model.events import KINDS
from mangrove.model.position import Position
from mangrove.model.specification import Preference
from mangrove.placement.fleet import Fleet
from mangrove.reconcile.patience import time_to_end, time_to_move
from mangrove.roles import adopting
from mangrove.roles.adopting import Adopting
from mangrove.roles.catalogue import Catalogue
from mangrove.roles.children import Children
from mangrove.roles.chronicle import Chronicle
from mangrove.roles.drops import Drops
from mangrove.roles.journal import Journal
from mangrove.roles.ledger import Ledger
from mangrove.roles.network import NetworkRole
from mangrove.roles.rebalancing import Moved, moves_of
from mangrove.roles.slots import Slots
from mangrove.roles.system_services import SystemServices, Without
from mangrove.roles.terms import Terms
from mangrove.roles.view import FleetView
from mangrove.store.interface import Change, Gap, Lease, Store, StoreUnavailable

#: Name of the lease in the store: whoever holds it runs the controllers.
CONTROLLER = "controller"


class Parent:
    """Everything a parent decides.

    id: its name in topics, which outlives its store. noun: what its children are. key_of: the link key of a child with
    this identity. holder: who takes the store's lease. may_refuse: whether slots that fit nowhere may be handed back
    now (clusters). may_adopt: whether it is known what is wanted (clusters: by the root). on_slot: called with the id
    of each slot whose status may have changed, once what changed it is durable. usage_kept: figures kept of each
    attempt and child. on_measured: called with the id of each attempt and child of which there is a new figure.
    measured_before: what is known of one from before this start, oldest first. position: where children stand that do
    not say. preferences: which child is the best for services that do not say. behind: seconds since our own parent, if
    there is one, is known to have heard us (see `ParentLink`). cluster: our id as a cluster at the root.
    Raises Conflict when another holds the lease.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        transport: ParentTransport,
        *,
        id: str,
        noun: Literal["cluster", "node"],
        settings: Settings,
        key_of: Callable[[Identity], bytes],
        holder: str,
        new_id: NewId,
        rng: random.Random,
        may_refuse: Callable[[], bool] = lambda: False,
        may_adopt: Callable[[], bool] = lambda: True,
        on_slot: Callable[[str], None] = lambda slot: None,
        usage_kept: int = 1,
        on_measured: Callable[[str], None] = lambda id: None,
        measured_before: Callable[[str], Iterable[Usage]] = lambda id: (),
        position: Position | None = None,
        preferences: tuple[Preference, ...] = (),
        behind: Callable[[float], float] = lambda now: 0.0,
        cluster: str = "",
    ) -> None:
        self.acquired = clock.now()
        lease = store.acquire(CONTROLLER, holder)
        if lease is None:
            raise Conflict("another controller holds the store's lease: stop it, or wait until it is over")
        self.store = store
        self.clock = clock
        self.lease: Lease = lease
        #: Called with a child whose connection broke or began anew, or that was removed, and why.
        self.on_broken: Callable[[str, str], object] = lambda child, why: None
        #: Until when nobody else can have taken the store's lease over (`Clock.now`). Afterwards another parent may
        #: wait for children to stop what is exclusive, so they are not told that they are heard.
        self.held_until: Callable[[], float] = lambda: math.inf
        self.fleet = Fleet(noun, preferences, position)
        self._hears_clusters = noun == "cluster"
        self._transport = transport
        self._new_id = new_id
        self._may_refuse = may_refuse
        self._may_adopt = may_adopt
        self._on_slot = on_slot
        self._on_measured = on_measured
        self._gathered = clock.now() + settings.lease
        self._patience = self._gathered + settings.lease
        self._started = clock.now()
        self._feed = store.revision()
        self._drops = Drops(f"from {noun}s")
        self._ledger = Ledger(store, lease)
        journal = Journal(self._ledger, clock, new_id)
        journal.load(store)
        catalogue = Catalogue(store)
        self._slots = Slots(self.fleet, self._ledger, journal, catalogue, clock, new_id)
        terms = Terms.begin(store, lease, new_id(), clock.wall())
        self._children = Children(
            self.fleet,
            self._ledger,
            journal,
            terms,
            clock,
            key_of=key_of,
            on_attempt=self._slots.attempt_changed,
            request_of=self._slots.request_of,
            on_child=self._slots.child_changed,
            on_confirmed=self._slots.child_confirmed,
            usage_kept=usage_kept,
            on_measured=self._measured,
            measured_before=measured_before,
            on_broken=lambda child, why: self.on_broken(child, why),
        )
        self.link = ParentLink(
            id,
            store.id,
            lease.term,
            settings,
            key_of=self._children.link_key,
            admit=self._children.reason_to_refuse,
            specification=catalogue.json,
            tenure=terms.tenure,
            revision=lambda: self._ledger.revision,
            behind=lambda now: max(behind(now), now - self.held_until()),
            rng=rng,
        )
        self._chronicle = Chronicle(
            store, lease, journal, clock, ask=self.call, name=self._children.name, is_its=self._is_its
        )
        self._view = FleetView(
            self.fleet,
            self._children,
            self.link,
            catalogue,
            self._slots.quiet,
            self._slots.failing,
            lambda: self._adopting.unknown,
        )
        self._children.load(store, self.link)
        for identity in self._children.identities.values():
            if identity.revoked:
                self._chronicle.forget(identity.id)
        self._slots.load(store)
        self._adopting = Adopting(
            store,
            self.link,
            self.fleet,
            self._slots,
            self._ledger,
            journal,
            clock,
            until=terms.adopting_until,
            ask=self.call,
            name=self._children.name,
            on_adopted=self._children.observe,
        )
        #: Called with each change of the store; with None when it is not known which there were.
        self.on_store: Callable[[Change | None], None] = lambda change: None
        self.network = NetworkRole(
            store,
            self._ledger,
            journal,
            self.link,
            noun=noun,
            cluster=cluster,
            name=self._children.name,
            slots=self._slots.wanted,
            placements=self._slots.placements,
            observed=self._children.observed,
            usage=self._children.usage,
            position=position,
            adopting=lambda: self._adopting.active,
        )
        self._system = SystemServices(
            store,
            lease,
            self.fleet,
            self.link.peers,
            self._slots.wanted,
            self._slots.placements,
            lambda: self._adopting.known.values(),
            catalogue,
            clock,
        )
        self._assign()

    # -- what comes in

    def handle(self, event: TransportEvent) -> None:
        """Something happened on the transport; `work` acts on it."""
        now = self.clock.now()
        if isinstance(event, Connected):
            self.link.connected(event.via, now)
        elif isinstance(event, Disconnected):
            self.link.disconnected(event.via, now)
        else:
            self.link.receive(event.child, event.kind, event.payload, event.via, now)

    def work(self) -> None:
        """Do all that is due."""
        now = self.clock.now()
        self.link.tick(now)
        if self._hears_clusters:
            self._chronicle.heed(self.link.events)
            self._chronicle.work()
            self._system.heed(self.link.events)
        self._adopting.heed(self.link.events)
        self.network.heed(self.link.events)
        self._adopting.ask()
        self._children.hear()
        try:
            self._follow_store()
            waits = self._waits(now)
            if self._hears_clusters and not waits and not self._adopting.asking:
                self._system.work()
                self._follow_store()
            if not waits:
                self._adopting.settle()
                self._slots.decide(self._view, may_refuse=self._may_refuse())
            self.network.work(self._slots.told)
            if self._ledger.save():
                self._chronicle.save()
                self._assign()
                self.network.tell()
                if not waits:
                    self.link.flush(now)
                for slot in self._slots.take_told():
                    self._on_slot(slot)
        except StoreUnavailable as error:
            self._ledger.failed(error)  # children are heard and answered all the same, and the rest is done later
        self._send()
        self._drops.look(self.link.dropped, self.link.newest_drop, now)

    def rebalance(self, *, dry_run: bool) -> list[Moved]:
        """Begin to move some of what would be better elsewhere, or only say so. Empty when nothing is.

        Raises Unavailable while it is not known yet what children run.
        """
        if self.gathering or self._waits(self.clock.now()) or self.unavailable:
            raise Unavailable("it is not known yet what runs where; try again later")
        moves = moves_of(self._slots, self.fleet, self._view, self.clock.wall())
        told = []
        for move in moves:
            slot = self.slots[self._slots.slot_of(move.attempt) or ""]
            told.append(Moved(slot.id, slot.service, slot.number, self.name(move.source), self.name(move.target)))
            if not dry_run:
                self._slots.move(move.attempt, move.target, self._view)
        return told

    def next_wake(self) -> float:
        """When `work` wants to be called at the latest (`Clock.now` seconds)."""
        now = self.clock.now()
        wake = min(self.link.next_wake(now), now + self._slots.seconds_to_wake(), self._chronicle.next_wake())
        wake = min(wake, self._adopting.next_wake(), self._system.next_wake())
        return min(wake, now + 1.0) if self._ledger.unavailable else wake

    def call(
        self, child: str, method: str, params: dict[str, object], timeout: float, on_reply: Callable[[Reply], None]
    ) -> None:
        """Ask a child; `on_reply` is called from `handle` or `work`."""
        self.ask(child, Call(self._new_id(), method, params, timeout, request_id()), on_reply)

    def ask(self, child: str, call: Call, on_reply: Callable[[Reply], None]) -> None:
        """The same with a call that is there already."""
        self.link.call(child, call, on_reply, self.clock.now())
        self._send()

    # -- what is known

    @property
    def slots(self) -> Mapping[str, Slot]:
        """What is wanted, by id."""
        return self._slots.wanted

    @property
    def placements(self) -> Mapping[str, Placement]:
        """What was decided, by slot."""
        return self._slots.placements

    @property
    def adopted(self) -> Mapping[str, Adopted]:
        """What children run and a store that was brought back did not know, by attempt."""
        return self._adopting.known

    @property
    def holds(self) -> Mapping[str, Hold]:
        """What an operator of this machine holds, by slot."""
        return self._slots.holds

    @property
    def observed(self) -> Mapping[str, Observed]:
        """What was heard, by attempt."""
        return self._children.observed

    @property
    def children(self) -> Mapping[str, Child]:
        """The children that may speak, by id."""
        return self._children.known

    @property
    def usage(self) -> Mapping[str, Sequence[Usage]]:
        """What was measured, by attempt or child, oldest first."""
        return self._children.usage

    def nodes(self) -> Iterator[tuple[str, NodeView]]:
        """The nodes that clusters have told of, each with its cluster's name. May be called from any thread."""
        for child, peer in list(self.link.peers.items()):
            for view in list(peer.nodes.entries.values()):
                yield self.name(child), view

    @property
    def phases(self) -> Mapping[str, int]:
        """How often an attempt was heard to come into each phase, since the start."""
        return self._children.phases

    @property
    def clock_offsets(self) -> Mapping[str, float]:
        """Seconds that a child's wall clock was behind ours when it last told what it uses."""
        return self._children.clock_offsets

    @property
    def decisions(self) -> tuple[int, int, float]:
        """On where to run something: how often a child was found, how often none, and the seconds spent on it."""
        return self._view.chosen[True], self._view.chosen[False], self._view.seconds

    def link_key(self, child: str) -> bytes | None:
        """The key of a child that may speak. May be called from any thread."""
        return self._children.link_key(child)

    @property
    def gathering(self) -> bool:
        """Whether this parent started so lately that children it knows may still be on their way."""
        return self.clock.now() < self._gathered and any(
            peer.state != "live" and not peer.silent for peer in self.link.peers.values()
        )

    @property
    def unavailable(self) -> str:
        """Why the store cannot be written just now, or empty."""
        return self._ledger.unavailable

    def without(self, service: str) -> list[Without]:
        """The nodes that have no instance of a system service, and why."""
        return self._system.without(service)

    def is_given_up(self, placement: Placement) -> bool:
        """Whether what is left of a slot may be run elsewhere, since nobody here has heard of it for long enough."""
        left = (placement.current,) if placement.current is not None else placement.leaving
        seconds = time_to_move if placement.current is not None else time_to_end
        return bool(left) and all(seconds(given, self._view) <= 0 for given in left)

    def slot_of(self, attempt: str) -> str | None:
        """The slot that an attempt was made for, or None when it is of an earlier time."""
        return self._slots.slot_of(attempt)

    def name(self, child: str) -> str:
        """What people call a child."""
        return self._children.name(child)

    def _is_its(self, child: str, event: Event) -> bool:
        """Whether an event of a cluster is about an instance that it has or had, or a node that is no other's."""
        placement = self.placements.get(event.subject)
        if placement is not None:
            return any(each == child for each, _ in placement.attempts)
        if event.subject in self.slots or KINDS[event.kind].subject == "instance":
            return False
        return not any(event.subject in peer.nodes.entries for other, peer in self.link.peers.items() if other != child)

    def _measured(self, id: str) -> None:
        slot = self._slots.slot_of(id)
        if slot is not None:
            self.network.measured(slot)
        self._on_measured(id)

    def _waits(self, now: float) -> bool:
        """Whether nothing is decided yet, since what children run may be about to be adopted."""
        if not self._adopting.active or now >= max(self._patience, self._started + adopting.PATIENCE):
            return False
        unheard = now < self._patience and (self.gathering or not self._may_adopt())
        return unheard or self._adopting.asking

    # -- the store

    def _follow_store(self) -> None:
        """Take in what the API, join, or the link to our own parent has written."""
        try:
            for change in self.store.changes(self._feed):
                self._feed = max(self._feed, change.revision)
                self._follow(change)
        except Gap:
            self._feed = self.store.revision()
            self.on_store(None)
            for stored in self.store.load(documents.IDENTITIES):
                self._identified(stored.read(Identity))
            slots = self.store.load(documents.SLOTS)
            self._slots.replace_all({stored.id: stored.read(Slot) for stored in slots})
            self._system.load()
            for stored in self.store.load(documents.ADOPTED):
                self._adopting.changed(stored.id, stored.read(Adopted))
            holds = {stored.id: stored.read(Hold) for stored in self.store.load(documents.HOLDS)}
            for id in self.holds.keys() | holds.keys():
                self._slots.hold_changed(id, holds.get(id))

    def _follow(self, change: Change) -> None:
        self.on_store(change)
        document = change.document
        if change.collection == documents.SLOTS:
            slot = None if document is None else msgspec.convert(document, Slot)
            self._slots.change(change.id, slot)
            if slot is not None and slot.desired == "stop":
                self._system.slot_changed(slot.service)
        elif change.collection == documents.ADOPTED:
            self._adopting.changed(change.id, None if document is None else msgspec.convert(document, Adopted))
        elif change.collection == documents.HOLDS:
            self._slots.hold_changed(change.id, None if document is None else msgspec.convert(document, Hold))
        elif change.collection == documents.IDENTITIES and document is not None:
            self._identified(msgspec.convert(document, Identity))
        elif change.collection == documents.SERVICES:
            self._system.changed(change.id, document)

    def _identified(self, identity: Identity) -> None:
        self._children.identified(identity)
        self._system.cluster_changed()
        if identity.revoked:
            self._chronicle.forget(identity.id)
            self.network.revoked(identity.id)

    # -- what goes out

    def _assign(self) -> None:
        for child, (give, take) in self._slots.take_moves().items():
            if self.link.expect(child, self.clock.now()) is not None:
                self.link.assign(child, give, frozenset(take))

    def _send(self) -> None:
        effects, self.link.effects = self.link.effects, []
        for effect in effects:
            self._transport.send(effect.child, effect.kind, effect.payload, effect.qos, effect.via)
