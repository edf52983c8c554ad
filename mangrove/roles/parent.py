"""The parent's shell: link, store, placement and the loop over slots, wired together. Used by root and cluster.

One thread owns it. `handle` takes what a transport says; `work` does all that is due, in this order: hear, follow the
store, decide, make durable, and only then act.
"""

from __future__ import annotations

import heapq
import logging
import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from mangrove.base.clock import Clock
from mangrove.base.ids import NewId
from mangrove.link import parent as link
from mangrove.link.messages import NODES, STATUS, Call, Hello, Reply
from mangrove.link.parent import ParentLink, Settings
from mangrove.link.transports.interface import Connected, Disconnected, ParentTransport, TransportEvent
from mangrove.model import documents
from mangrove.model.attempt import Attempt, Usage
from mangrove.model.child import NodeView
from mangrove.model.documents import Child, Event, Given, Identity, Observed, Placement, Slot
from mangrove.model.specification import Specification
from mangrove.placement.fleet import Fleet
from mangrove.reconcile.parent import decide
from mangrove.roles.ledger import Ledger
from mangrove.roles.terms import Terms
from mangrove.roles.view import FleetView
from mangrove.store.interface import Delete, Gap, Lease, Put, Store

log = logging.getLogger(__name__)

#: Name of the lease in the store: whoever holds it runs the controllers.
CONTROLLER = "controller"


class Parent:
    """Everything a parent decides.

    id: its name in topics, which outlives its store. noun: what its children are. key_of: the link key of a child with
    this identity. holder: who takes the store's lease. may_refuse: whether slots that fit nowhere may be handed back
    now (clusters). on_slot: called with the id of each slot whose status may have changed, once what changed it is
    durable. usage_kept: figures kept of each attempt and child.
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
        brokers: tuple[str, ...] = (),
        may_refuse: Callable[[], bool] = lambda: False,
        on_slot: Callable[[str], None] = lambda slot: None,
        usage_kept: int = 1,
    ) -> None:
        lease = store.acquire(CONTROLLER, holder)
        if lease is None:
            raise RuntimeError("another controller holds the store's lease")
        self.store = store
        self.clock = clock
        self.lease: Lease = lease
        self.fleet = Fleet(noun)
        self.slots: dict[str, Slot] = {}
        self.placements: dict[str, Placement] = {}
        self.observed: dict[str, Observed] = {}
        self.children: dict[str, Child] = {}
        self.identities: dict[str, Identity] = {}
        self.usage: dict[str, deque[Usage]] = {}  # by attempt or child, oldest first
        self._transport = transport
        self._key_of = key_of
        self._new_id = new_id
        self._may_refuse = may_refuse
        self._on_slot = on_slot
        self._usage_kept = usage_kept
        self._ledger = Ledger(store, lease)
        self._terms = Terms.begin(store, lease)
        self._specifications: dict[str, tuple[Specification, bytes]] = {}
        self._slot_of: dict[str, str] = {}  # attempt → slot
        self._on_child: dict[str, set[str]] = {}  # child → slots that have an attempt there
        self._waiting: set[str] = set()  # slots that want a child: they have none, or a silent one
        self._dirty: set[str] = set()
        self._told: set[str] = set()
        self._wakes: list[tuple[float, str]] = []
        self._wakes_set: set[tuple[float, str]] = set()
        self._moves: dict[str, tuple[dict[str, Attempt], set[str]]] = {}  # child → attempts to give, to take away
        self._fleet_seen = -1
        self._feed = 0
        self.link = ParentLink(
            id,
            store.id,
            lease.term,
            settings,
            key_of=self._link_key,
            admit=self._admit,
            specification=lambda digest: self._specification(digest)[1],
            revision=store.revision,
            brokers=brokers,
            rng=rng,
        )
        self._view = FleetView(self)
        self._gathered = clock.now() + settings.lease
        self._load()

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
        self._follow_store()
        self._hear()
        self._wake()
        if self.fleet.changed != self._fleet_seen:
            self._fleet_seen = self.fleet.changed
            self._dirty |= self._waiting
        self._decide()
        if self._ledger.save():
            self._assign()
            self.link.flush(now)
            told, self._told = self._told, set()
            for slot in sorted(told):
                self._on_slot(slot)
        self._send()

    def next_wake(self) -> float:
        """When `work` wants to be called at the latest (`Clock.now` seconds)."""
        now = self.clock.now()
        wake = self.link.next_wake(now)
        if self._wakes:
            wake = min(wake, now + max(0.0, self._wakes[0][0] - self.clock.wall()))
        if self._ledger.unavailable:
            wake = min(wake, now + 1.0)
        return wake

    def call(
        self, child: str, method: str, params: dict[str, object], timeout: float, on_reply: Callable[[Reply], None]
    ) -> None:
        """Ask a child; `on_reply` is called from `handle` or `work`."""
        self.link.call(child, Call(self._new_id(), method, params, timeout), on_reply, self.clock.now())
        self._send()

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

    # -- the store

    def _load(self) -> None:
        self._feed = self.store.revision()
        load = self.store.load
        for stored in load(documents.CHILDREN):
            child = msgspec.convert(stored.document, Child)
            self.children[child.id] = child
        for stored in load(documents.IDENTITIES):
            self._identity_changed(stored.id, msgspec.convert(stored.document, Identity))
        for stored in load(documents.OBSERVED):
            self.observed[stored.id] = msgspec.convert(stored.document, Observed)
        for stored in load(documents.SLOTS):
            self.slots[stored.id] = msgspec.convert(stored.document, Slot)
        for stored in load(documents.PLACEMENTS):
            self._place(stored.id, msgspec.convert(stored.document, Placement), loaded=True)
        self._dirty |= self.slots.keys() | self.placements.keys()
        self._told |= self._dirty
        self._assign()

    def _follow_store(self) -> None:
        """Take in what the API, or the link to our own parent, has written."""
        try:
            changes = self.store.changes(self._feed)
        except Gap:
            self._reload()
            return
        for change in changes:
            self._feed = max(self._feed, change.revision)
            if change.collection == documents.SLOTS:
                slot = None if change.document is None else msgspec.convert(change.document, Slot)
                self._slot_changed(change.id, slot)
            elif change.collection == documents.IDENTITIES and change.document is not None:
                self._identity_changed(change.id, msgspec.convert(change.document, Identity))

    def _reload(self) -> None:
        """The feed has a gap: read anew what others write."""
        self._feed = self.store.revision()
        for stored in self.store.load(documents.IDENTITIES):
            self._identity_changed(stored.id, msgspec.convert(stored.document, Identity))
        now_there = {stored.id: msgspec.convert(stored.document, Slot) for stored in self.store.load(documents.SLOTS)}
        for id in self.slots.keys() - now_there.keys():
            self._slot_changed(id, None)
        for id, slot in now_there.items():
            self._slot_changed(id, slot)

    def _slot_changed(self, id: str, slot: Slot | None) -> None:
        if slot is None:
            self.slots.pop(id, None)
        else:
            self.slots[id] = slot
        self._dirty.add(id)

    def _identity_changed(self, id: str, identity: Identity) -> None:
        self.identities[id] = identity
        if identity.revoked:
            self.link.forget(id)
            self.fleet.remove(id)
            self.usage.pop(id, None)
            if self.children.pop(id, None) is not None:
                self._ledger.write(Delete(documents.CHILDREN, id))
            for attempt in [key for key, seen in self.observed.items() if seen.child == id]:
                self._unobserve(attempt)
            self._dirty |= self._on_child.get(id, set())
            return
        child = self.children.get(id) or Child(id, identity.name, "joined")
        row = self.fleet.add(id, identity.name)
        if id not in self.children:
            self._write_child(child)
        elif not row.revision:
            self.fleet.update(id, child.capacity)
        self.link.expect(id, self.clock.now())

    def _specification(self, digest: str) -> tuple[Specification, bytes]:
        known = self._specifications.get(digest)
        if known is None:
            stored = self.store.get(documents.SPECIFICATIONS, digest)
            if stored is None:
                raise KeyError(f"specification {digest} is not in the store")
            specification = msgspec.convert(stored.document, Specification)
            known = self._specifications[digest] = (specification, msgspec.json.encode(specification))
        return known

    def specification(self, digest: str) -> Specification:
        """A specification by its digest."""
        return self._specification(digest)[0]

    # -- the children

    def _link_key(self, child: str) -> bytes | None:
        identity = self.identities.get(child)
        return None if identity is None or identity.revoked else self._key_of(identity)

    def _admit(self, child: str, hello: Hello) -> str:
        """A reason to refuse, when this is an old message, a restored disk or a clone."""
        if not self._terms.may_have_said(hello.term, hello.revision):
            return (
                f"this child was told things in term {hello.term} that this parent's store does not know: the store is "
                "an old copy; bring back the newest one, or let the child join anew"
            )
        known = self.children.get(child)
        if known is None:
            return ""
        said = f"this device says start {hello.incarnation}, and start {known.incarnation} was seen"
        if hello.incarnation < known.incarnation:
            return f"{said}: its disk was set back, or another device has the same identity; let one of them join anew"
        if hello.incarnation == known.incarnation and hello.boot != known.boot:
            return f"{said} on another boot: two devices have the same identity; let one of them join anew"
        if hello.incarnation == known.incarnation and hello.connect <= known.connect:
            return "an old hello came again"
        return ""

    def _hear(self) -> None:
        events, self.link.events = self.link.events, []
        for event in events:
            if isinstance(event, link.Reported):
                self._reported(event)
            elif isinstance(event, link.Measured):
                self._measured(event)
            elif isinstance(event, link.Confirmed):
                self._dirty |= {slot for slot in self._on_child.get(event.child, ()) if self.placements[slot].leaving}
            elif isinstance(event, link.CapacityChanged):
                self.fleet.update(event.child, event.capacity)
                self._change_child(event.child, capacity=event.capacity)
            elif isinstance(event, link.Greeted):
                self._greeted(event)
            elif isinstance(event, link.Silent):
                self._silent(event.child)
            elif isinstance(event, link.Suspect):
                self._tell("child-suspect", event.child, f"the connection of {self.name(event.child)} broke")
            else:
                self._tell("child-refused", event.child, f"{self.name(event.child)} was turned away: {event.reason}")

    def _greeted(self, event: link.Greeted) -> None:
        hello = event.hello
        self._change_child(
            event.child,
            state="live",
            incarnation=hello.incarnation,
            connect=hello.connect,
            boot=hello.boot,
            software=hello.software,
        )
        self._tell("child-connected", event.child, f"{self.name(event.child)} connected")

    def _silent(self, child: str) -> None:
        self.fleet.set_live(child, False)
        self._change_child(child, state="silent")
        self._dirty |= self._on_child.get(child, set())
        self._told |= self._on_child.get(child, set())
        self._tell("child-silent", child, f"{self.name(child)} was not heard for {self.silent_for(child) or 0:.1f} s")

    def _reported(self, event: link.Reported) -> None:
        if event.channel == NODES:
            self._nodes_reported(event)
            return
        peer = self.link.peers[event.child]
        gone = set(event.applied.removed)
        if event.first:
            # What this child once said and does not say any more, also before this parent's last start.
            gone |= {id for id, seen in self.observed.items() if seen.child == event.child} - peer.status.entries.keys()
            self.fleet.set_live(event.child, True)
            self._dirty |= self._on_child.get(event.child, set())
        wall = self.clock.wall()
        for attempt in sorted(event.applied.changed):
            slot = self._slot_of.get(attempt)
            if slot is None:
                continue  # of an earlier time: it is not in the child's assignment, so the child is stopping it
            seen = Observed(attempt, event.child, peer.status.entries[attempt], wall)
            self.observed[attempt] = seen
            self._ledger.write(Put(documents.OBSERVED, attempt, msgspec.to_builtins(seen)))
            self._dirty.add(slot)
            self._told.add(slot)
        for attempt in sorted(gone):
            self._unobserve(attempt)

    def _unobserve(self, attempt: str) -> None:
        if self.observed.pop(attempt, None) is not None:
            self._ledger.write(Delete(documents.OBSERVED, attempt))
        self.usage.pop(attempt, None)
        slot = self._slot_of.get(attempt)
        if slot is not None:
            self._dirty.add(slot)
            self._told.add(slot)

    def _nodes_reported(self, event: link.Reported) -> None:
        nodes: Mapping[str, NodeView] = self.link.peers[event.child].nodes.entries
        for id in event.applied.changed:
            document = {"cluster": event.child, **msgspec.to_builtins(nodes[id])}
            self._ledger.write(Put(documents.NODES, f"{event.child}/{id}", document))
        for id in event.applied.removed:
            self._ledger.write(Delete(documents.NODES, f"{event.child}/{id}"))

    def _measured(self, event: link.Measured) -> None:
        listed = self.link.peers[event.child].status.entries
        for attempt, usage in event.usage.items():
            if not attempt or attempt in listed:
                self.usage.setdefault(attempt or event.child, deque(maxlen=self._usage_kept)).append(usage)

    def slot_of(self, attempt: str) -> str | None:
        """The slot that an attempt was made for, or None when it is of an earlier time."""
        return self._slot_of.get(attempt)

    def silent_for(self, child: str) -> float | None:
        """Seconds since the last word of a child that counts as silent; None for one that does not."""
        peer = self.link.peers.get(child)
        if peer is None:
            return float("inf")
        return self.clock.now() - peer.heard if peer.silent else None

    def name(self, child: str) -> str:
        """What people call a child."""
        identity = self.identities.get(child)
        return identity.name if identity is not None else child

    def _change_child(self, id: str, **changes: object) -> None:
        child = self.children.get(id) or Child(id, self.name(id), "joined")
        heard = self.clock.wall() - (self.silent_for(id) or 0.0)
        self._write_child(msgspec.structs.replace(child, heard=heard, **changes))

    def _write_child(self, child: Child) -> None:
        self.children[child.id] = child
        self._ledger.write(Put(documents.CHILDREN, child.id, msgspec.to_builtins(child)))

    # -- the slots

    def _wake(self) -> None:
        wall = self.clock.wall()
        while self._wakes and self._wakes[0][0] <= wall:
            due = heapq.heappop(self._wakes)
            self._wakes_set.discard(due)
            self._dirty.add(due[1])

    def _decide(self) -> None:
        dirty, self._dirty = self._dirty, set()
        wall = self.clock.wall()
        self._view.forget_misfits()
        for id in sorted(dirty):
            slot = self.slots.get(id)
            if slot is None and id not in self.placements:
                continue
            before = self.placements.get(id)
            decision = decide(
                slot, before or Placement(id), self._view, wall, self._new_id, may_refuse=self._may_refuse()
            )
            for text in decision.told:
                self._tell("slot", id, f"{self._slot_name(slot)} {text}")
            if decision.wake is not None and (decision.wake, id) not in self._wakes_set:
                self._wakes_set.add((decision.wake, id))
                heapq.heappush(self._wakes, (decision.wake, id))
            if decision.placement is None:
                self._drop(id, slot)
                continue
            if decision.placement != before:
                self._place(id, decision.placement)
            current = decision.placement.current
            homeless = current is None and decision.placement.final is None
            if homeless or (current is not None and self.silent_for(current.child) is not None):
                self._waiting.add(id)
            else:
                self._waiting.discard(id)

    def _place(self, id: str, placement: Placement, *, loaded: bool = False) -> None:
        """Let `placement` stand for the slot: reservations, indexes, what to tell the children, and the document."""
        before = self.placements.get(id)
        old = self._attempts(before)
        new = self._attempts(placement)
        for ended in old.keys() - new.keys():
            self.fleet.release(ended)
            self._slot_of.pop(ended, None)
        for given in new.values():
            if given.attempt not in old:
                self.fleet.reserve(given.attempt, given.child, given.resources)
                self._slot_of[given.attempt] = id
        for child in {given.child for given in old.values()} - {given.child for given in new.values()}:
            self._on_child[child].discard(id)
        for given in new.values():
            self._on_child.setdefault(given.child, set()).add(id)
        was = before.current if before is not None else None
        if was is not None and was != placement.current:
            self._move(was.child)[0].pop(was.attempt, None)
            self._move(was.child)[1].add(was.attempt)
        if placement.current is not None and was != placement.current:
            slot, given = self.slots.get(id), placement.current
            if slot is not None:
                attempt = Attempt(given.attempt, slot.service, slot.number, given.epoch, given.specification)
                self._move(given.child)[0][given.attempt] = attempt
        self.placements[id] = placement
        self._told.add(id)
        if not loaded:
            self._ledger.write(Put(documents.PLACEMENTS, id, msgspec.to_builtins(placement)))

    def _drop(self, id: str, slot: Slot | None) -> None:
        """Nothing is left of the slot."""
        if id in self.placements:
            self._place(id, Placement(id), loaded=True)
            del self.placements[id]
            self._ledger.write(Delete(documents.PLACEMENTS, id))
        self._waiting.discard(id)
        self._told.add(id)
        if slot is not None:
            self.slots.pop(id, None)
            self._ledger.collect(Delete(documents.SLOTS, id))

    def _assign(self) -> None:
        moves, self._moves = self._moves, {}
        for child, (give, take) in moves.items():
            if self.link.expect(child, self.clock.now()) is not None:
                self.link.assign(child, give, frozenset(take))

    def _move(self, child: str) -> tuple[dict[str, Attempt], set[str]]:
        return self._moves.setdefault(child, ({}, set()))

    @staticmethod
    def _attempts(placement: Placement | None) -> dict[str, Given]:
        if placement is None:
            return {}
        current = (placement.current,) if placement.current is not None else ()
        return {given.attempt: given for given in (*placement.leaving, *current)}

    def _slot_name(self, slot: Slot | None) -> str:
        if slot is None:
            return "a removed instance"
        return f"{self.specification(slot.specification).name}/{slot.number}"

    # -- what goes out

    def _tell(self, kind: str, subject: str, text: str) -> None:
        event = Event(self._new_id(), self.clock.wall(), kind, subject, text)
        self._ledger.write(Put(documents.EVENTS, event.id, msgspec.to_builtins(event)))
        log.info("%s", text)

    def _send(self) -> None:
        effects, self.link.effects = self.link.effects, []
        for effect in effects:
            self._transport.send(effect.child, effect.kind, effect.payload, effect.qos, effect.via)


__all__ = ["CONTROLLER", "STATUS", "Parent"]
