"""What a parent knows of its children: who they are, what they said, and whether they are heard.

The one writer of `children`, `observed` and `nodes`.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Set
from contextlib import suppress
from typing import Any

import msgspec

from mangrove.base.clock import Clock
from mangrove.base.log import about
from mangrove.identity.join import cordoned_words
from mangrove.link import parent_events as link
from mangrove.link.messages import NODES, Hello
from mangrove.link.parent import OLD_HELLO, ParentLink
from mangrove.model import documents
from mangrove.model.attempt import Usage
from mangrove.model.child import Capacity, NodeView
from mangrove.model.documents import Child, Identity, Observed
from mangrove.model.plausible import nonsense_in
from mangrove.placement.fleet import Fleet
from mangrove.reconcile.absence import Absence
from mangrove.reconcile.brake import Brake
from mangrove.roles.journal import Journal
from mangrove.roles.ledger import Ledger
from mangrove.roles.terms import Terms
from mangrove.store.interface import Delete, Put, Store, StoreUnavailable

log = logging.getLogger(__name__)

#: Characters of what a child says is wrong with it, in an event: as many as a reason may have.
_TROUBLE = 400


class Children:
    """The children of one parent.

    key_of: the link key of a child with this identity. on_attempt: called when a child has news of an attempt; answers
    whether the attempt is that child's. request_of: the request that an attempt follows from. on_child: called when a
    child fell silent, was heard again, or was revoked. on_confirmed: called when it has applied a newer assignment.
    usage_kept: figures kept of each attempt and child. on_measured: called with the id of each attempt and child of
    which there is a new figure. measured_before: what is known of one from before this start, oldest first. on_broken:
    called when a child's connection broke or began anew, with why.
    """

    def __init__(
        self,
        fleet: Fleet,
        ledger: Ledger,
        journal: Journal,
        terms: Terms,
        clock: Clock,
        *,
        key_of: Callable[[Identity], bytes],
        on_attempt: Callable[[str, str], bool],
        request_of: Callable[[str], str],
        on_child: Callable[[str], None],
        on_confirmed: Callable[[str], None],
        usage_kept: int,
        on_measured: Callable[[str], None] = lambda id: None,
        measured_before: Callable[[str], Iterable[Usage]] = lambda id: (),
        on_broken: Callable[[str, str], object] = lambda child, why: None,
    ) -> None:
        self.known: dict[str, Child] = {}
        self.identities: dict[str, Identity] = {}
        self.observed: dict[str, Observed] = {}
        self.usage: dict[str, deque[Usage]] = {}  # by attempt or child, oldest first
        self.phases: Counter[str] = Counter()  # how often an attempt was heard to come into a phase
        self.clock_offsets: dict[str, float] = {}  # child → seconds that its wall clock is behind ours
        self._fleet = fleet
        self._ledger = ledger
        self._journal = journal
        self._terms = terms
        self._clock = clock
        self._key_of = key_of
        self._on_attempt = on_attempt
        self._request_of = request_of
        self._on_child = on_child
        self._on_confirmed = on_confirmed
        self._on_measured = on_measured
        self._measured_before = measured_before
        self._usage_kept = usage_kept
        self._on_broken = on_broken
        self._brake = Brake()
        self._suspects: set[str] = set()
        self._started = clock.now()
        self._removed: dict[str, float] = {}  # child that was removed since then → when it was heard last
        self._refused: dict[str, str] = {}  # child → why it was turned away last, until it is let in
        self._link: ParentLink
        self._store: Store

    def load(self, store: Store, link: ParentLink) -> None:
        """Begin with what the store has."""
        self._link = link
        self._store = store
        for stored in store.load(documents.CHILDREN):
            self.known[stored.id] = stored.read(Child)
        for stored in store.load(documents.OBSERVED):
            self.observed[stored.id] = stored.read(Observed)
        for stored in store.load(documents.IDENTITIES):
            self.identified(stored.read(Identity))

    # -- what others ask

    def link_key(self, child: str) -> bytes | None:
        """The key of a child that may speak."""
        identity = self.identities.get(child)
        return None if identity is None or identity.revoked else self._key_of(identity)

    def reason_to_refuse(self, child: str, hello: Hello) -> str:
        """Whether this is an old message, a restored disk, a clone, or a child of a future that the store forgot."""
        if not self._terms.may_have_said(hello.term, hello.tenure, hello.revision):
            return (
                f"this child was told things in term {hello.term} that this parent's store does not know: the store is "
                "an old copy; bring back the newest one, or say by `restore` that this is the one to go on with"
            )
        known = self.known.get(child)
        if known is None:
            return ""
        said = f"this device says start {hello.incarnation}, and start {known.incarnation} was seen"
        if hello.incarnation < known.incarnation:
            return f"{said}: its disk was set back, or another device has the same identity; let one of them join anew"
        if hello.incarnation == known.incarnation and hello.boot != known.boot:
            return f"{said} on another boot: two devices have the same identity; let one of them join anew"
        if hello.incarnation == known.incarnation and hello.connect <= known.connect:
            return OLD_HELLO
        return ""

    def absence(self, child: str) -> Absence | None:
        """How a child is not heard; None when it is."""
        peer = self._link.peers.get(child)
        if peer is None:
            return Absence(self._clock.now() - self._removed.get(child, self._started), float("inf"), 0.0)
        if not peer.silent and peer.gone is None:
            return None
        now = self._clock.now()
        gone = now - peer.gone if peer.gone is not None else None
        held = self._brake.holds(child, now)
        counted = 0.0 if self._link.deaf else now - peer.counted
        return Absence(now - peer.heard, counted, peer.lease, peer.silent, gone, held)

    @property
    def suspects(self) -> Set[str]:
        """Children whose connection broke, and that may be back at any moment."""
        if self._suspects:  # a late word of the same session may have ended the suspicion
            peers = self._link.peers
            self._suspects = {id for id in self._suspects if id in peers and peers[id].gone is not None}
        return self._suspects

    def name(self, child: str) -> str:
        """What people call a child."""
        identity = self.identities.get(child)
        return identity.name if identity is not None else child

    # -- what happened

    def identified(self, identity: Identity) -> None:
        """A child has joined, or was revoked."""
        id = identity.id
        self.identities[id] = identity
        if identity.revoked:
            self._revoked(id)
            return
        is_new = id not in self._fleet.rows
        row = self._fleet.add(id, identity.name)
        if (row.cordoned, row.drained) != (identity.cordoned, identity.drained):
            self._fleet.set_cordoned(id, identity.cordoned, identity.drained)
            if not is_new:  # else it was told before this parent's last start
                self._tell("cordoned", id, f"{identity.name} {cordoned_words(identity)}")
            self._on_child(id)
        child = self.known.get(id)
        if child is None:
            self._write(Child(id, identity.name, "joined"))
            self._tell("joined", id, f"{self.name(id)} joined")
        elif not row.heard:
            self._fleet.update(id, child.capacity)
        self._link.expect(id, self._clock.now())

    def _revoked(self, id: str) -> None:
        peer = self._link.peers.get(id)
        if peer is not None:
            self._removed[id] = peer.heard
        self._link.forget(id)
        self._on_broken(id, f"{self.name(id)} was removed")
        self._fleet.remove(id)
        self._brake.heard(id)
        self._suspects.discard(id)
        self.usage.pop(id, None)
        self.clock_offsets.pop(id, None)
        if self.known.pop(id, None) is not None:
            self._ledger.write(Delete(documents.CHILDREN, id))
            self._tell("removed", id, f"{self.name(id)} was removed, or has left")
        for node in self._store.query(documents.NODES, "cluster", id):
            self._ledger.write(Delete(documents.NODES, node.id))
        for attempt in [attempt for attempt, seen in self.observed.items() if seen.child == id]:
            self._unobserve(attempt, id)
        self._on_child(id)

    def hear(self) -> None:
        """Take in what the link has learnt."""
        events, self._link.events = self._link.events, []
        for event in events:
            self._hear(event)
        fallen = [event.child for event in events if isinstance(event, link.Silent | link.Suspect)]
        if fallen:
            self._hold_back(fallen)

    def _hear(self, event: link.Event) -> None:
        child = event.child
        if isinstance(event, link.Reported):
            if event.channel == NODES:
                self._nodes_reported(event)
            else:
                self._statuses_reported(event)
        elif isinstance(event, link.Measured):
            self._measured(event)
        elif isinstance(event, link.Confirmed):
            self._on_confirmed(child)
        elif isinstance(event, link.CapacityChanged):
            self._described(child, event.capacity)
        elif isinstance(event, link.Greeted):
            self._greeted(child, event.hello)
        elif isinstance(event, link.Silent):
            self._on_broken(child, f"{self.name(child)} is not heard any more")
            self._fleet.set_live(child, False)
            self._change(child, state="silent")
            self._on_child(child)
            self._suspects.discard(child)
            seconds = self._clock.now() - self._link.peers[child].heard
            self._tell("silent", child, f"{self.name(child)} was not heard for {seconds:.1f} s")
        elif isinstance(event, link.Suspect):
            self._on_broken(child, f"the connection of {self.name(child)} broke")
            self._suspects.add(child)
            self._on_child(child)
            self._tell("suspect", child, f"the connection of {self.name(child)} broke")
        elif self._refused.get(child) != event.reason:  # it asks again and again
            self._refused[child] = event.reason
            self._tell("refused", child, f"{self.name(child)} was turned away: {event.reason}")

    def _described(self, child: str, said: Capacity) -> None:
        """A child has said what it can allocate. What cannot be true changes nothing but that it gets no new work."""
        before = self.known[child].capacity.troubles if child in self.known else ()
        nonsense = nonsense_in(said)
        if nonsense:
            trouble = (
                f"quarantined: it reports nonsense ({nonsense}), and gets nothing new until it reports what can be"
            )
            said = msgspec.structs.replace(self._fleet.rows[child].capacity, troubles=(trouble,))
        self._fleet.set_quarantined(child, bool(nonsense))
        self._fleet.update(child, said)
        self._change(child, capacity=said)
        self._troubled(child, before, said.troubles)

    def _hold_back(self, fallen: list[str]) -> None:
        """When too many fell silent at once, nothing of theirs is replaced for a while."""
        now, lease, noun = self._clock.now(), self._link.lease, self._fleet.noun
        there = sum(not peer.silent and peer.gone is None for peer in self._link.peers.values())
        for child in fallen:
            count = self._brake.fell(child, there, lease, now)
            if count:
                text = f"{count} of {there + count} {noun}s fell silent within {lease:g} s"
                self._tell("mass-loss", child, f"{text}: none is replaced for another {lease:g} s, then one by one")

    def _greeted(self, child: str, hello: Hello) -> None:
        self._refused.pop(child, None)
        self._suspects.discard(child)
        self._brake.heard(child)
        self._on_broken(child, f"{self.name(child)} connected anew")
        self._change(
            child,
            state="live",
            incarnation=hello.incarnation,
            connect=hello.connect,
            boot=hello.boot,
            software=hello.software,
        )
        self._tell("connected", child, f"{self.name(child)} connected")

    def _statuses_reported(self, event: link.Reported) -> None:
        statuses = self._link.peers[event.child].status.entries
        gone = set(event.applied.removed)
        if event.first:
            # What this child once said and does not say any more, also before this parent's last start.
            gone |= {id for id, seen in self.observed.items() if seen.child == event.child} - statuses.keys()
            self._fleet.set_live(event.child, True)
            self._on_child(event.child)
        wall = self._clock.wall()
        for attempt in sorted(event.applied.changed & statuses.keys()):  # what has gone since comes with its own event
            self._observe(Observed(attempt, event.child, statuses[attempt], wall))
        for attempt in sorted(gone):
            self._unobserve(attempt, event.child)

    def observe(self, child: str, attempt: str) -> None:
        """What a child said of an attempt counts now, though it did not when it was said."""
        status = self._link.peers[child].status.entries.get(attempt)
        if status is not None:
            self._observe(Observed(attempt, child, status, self._clock.wall()))

    def _observe(self, seen: Observed) -> None:
        attempt, child, before = seen.attempt, seen.child, self.observed.get(seen.attempt)
        if not self._on_attempt(attempt, child):
            return  # another child's; or of an earlier time: not in its assignment, hence being stopped there
        if before is None or before.status.phase != seen.status.phase:
            self.phases[seen.status.phase] += 1
            with about(self._request_of(attempt)):
                said = f": {seen.status.reason}" if seen.status.reason else ""
                log.info("attempt %s of %s is %s%s", attempt, self.name(child), seen.status.phase, said)
        self.observed[attempt] = seen
        self._ledger.write(Put(documents.OBSERVED, attempt, msgspec.to_builtins(seen)))

    def _unobserve(self, attempt: str, child: str) -> None:
        if self._observed_on(attempt, child):
            del self.observed[attempt]
            self._ledger.write(Delete(documents.OBSERVED, attempt))
            self.usage.pop(attempt, None)
        self._on_attempt(attempt, child)

    def _observed_on(self, attempt: str, child: str) -> bool:
        seen = self.observed.get(attempt)
        return seen is not None and seen.child == child

    def _nodes_reported(self, event: link.Reported) -> None:
        nodes: Mapping[str, NodeView] = self._link.peers[event.child].nodes.entries
        for id in sorted(event.applied.changed & nodes.keys()):
            node, key = nodes[id], f"{event.child}/{id}"
            self._ledger.write(Put(documents.NODES, key, {"cluster": event.child, **msgspec.to_builtins(node)}))
        gone = {f"{event.child}/{id}" for id in event.applied.removed}
        if event.applied.complete:  # also what was removed before this parent's last start
            kept = {f"{event.child}/{id}" for id in nodes}
            with suppress(StoreUnavailable):  # else it is seen in the next session
                gone |= {stored.id for stored in self._store.query(documents.NODES, "cluster", event.child)} - kept
        for key in sorted(gone):
            self._ledger.write(Delete(documents.NODES, key))

    def _troubled(self, child: str, before: tuple[str, ...], now: tuple[str, ...]) -> None:
        for trouble in now:
            if trouble not in before:
                self._tell("troubled", child, f"{self.name(child)}: {trouble[:_TROUBLE]}")
        if before and not now:
            self._tell("well", child, f"{self.name(child)} is well again; it was: {'; '.join(before)[:_TROUBLE]}")

    def _tell(self, what: str, child: str, text: str) -> None:
        self._journal.tell(f"{self._fleet.noun}-{what}", child, text)

    def _measured(self, event: link.Measured) -> None:
        own = event.usage.get("")
        if own is not None and own.measured:
            self.clock_offsets[event.child] = self._clock.wall() - own.measured
        for attempt, usage in event.usage.items():
            if not attempt or self._observed_on(attempt, event.child):
                subject = attempt or event.child
                if subject not in self.usage:
                    self.usage[subject] = deque(self._measured_before(subject), maxlen=self._usage_kept)
                self.usage[subject].append(usage)
                self._on_measured(subject)
                if not attempt:
                    self._fleet.measured(event.child, usage)

    def _change(self, id: str, **changes: Any) -> None:
        child = self.known.get(id) or Child(id, self.name(id), "joined")
        peer = self._link.peers.get(id)
        heard = self._clock.wall() - (self._clock.now() - peer.heard if peer is not None and peer.silent else 0.0)
        self._write(msgspec.structs.replace(child, heard=heard, **changes))

    def _write(self, child: Child) -> None:
        self.known[child.id] = child
        self._ledger.write(Put(documents.CHILDREN, child.id, msgspec.to_builtins(child)))
