"""The cluster, put together: a child of the root and the parent of its nodes, over one store.

Without threads or I/O of its own: the program's main gives it real transports, the simulator virtual ones.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import msgspec

from cluster_orchestrator.desired import SlotMemory
from cluster_orchestrator.networking import ClusterNetwork, StoredPlan
from cluster_orchestrator.summary import cluster_capacity, node_view, total_usage
from mangrove.base.clock import Clock
from mangrove.base.ids import NewId
from mangrove.link.child import ChildIdentity
from mangrove.link.messages import NODES, STATUS
from mangrove.link.pace import Settings
from mangrove.link.sync import Source
from mangrove.link.transports.interface import Broker, ChildTransport, ParentTransport, TransportEvent
from mangrove.model.attempt import Status, Usage
from mangrove.model.child import Capacity, NodeView
from mangrove.model.documents import Identity
from mangrove.model.phases import Phase
from mangrove.model.position import Position
from mangrove.model.specification import Preference
from mangrove.network.endpoints import attempts_of
from mangrove.reconcile.projection import misplaced, slot_status
from mangrove.roles import chronicle
from mangrove.roles.child import Answer, ChildRole, unknown_method
from mangrove.roles.parent import Parent
from mangrove.store.interface import Store

#: Seconds between two sums over the fleet when only reservations have changed: a burst of placements is one change.
_SUM_PERIOD = 0.25
#: Slots of which it is remembered who had them last, so that what they printed can be asked for: those of a large
#: cluster, some 200 bytes each.
_REMEMBERED = 5000
#: Seconds between two messages about usage: what nodes told in between goes as one.
_PASS_PERIOD = 1.0
#: Entries of usage in one message, which stays well below the largest payload.
_USAGE_BATCH = 500


class Cluster:
    """One cluster of a root. id: its name in its nodes' topics. root_store: id of the root's store when it joined.

    holder: under what name it takes its own store's lease; the store's id when it alone has it. network: whether its
    nodes may take part in the network between services.
    """

    def __init__(
        self,
        identity: ChildIdentity,
        brokers: Sequence[Broker],
        store: Store,
        up: ChildTransport,
        down: ParentTransport,
        clock: Clock,
        *,
        id: str,
        root_store: str,
        settings: Settings,
        key_of: Callable[[Identity], bytes],
        new_id: NewId,
        rng: random.Random,
        holder: str = "",
        position: Position | None = None,
        preferences: tuple[Preference, ...] = (),
        answer: Answer = unknown_method,
        network: bool = True,
    ) -> None:
        self._clock = clock
        self._position = position
        self._statuses = Source(STATUS)
        self._nodes = Source(NODES)
        self._told: set[str] = set()
        self._summed = (-1, 0.0)  # (state of the fleet, when) of `_capacity`
        self._capacity = Capacity(nodes=0)
        self._measured = 0.0  # when the whole cluster was told of last
        self._passed = 0.0  # when usage was passed on last
        self._news: set[str] = set()  # of what a new figure came since
        self._told_session = ""
        self._vouched = -math.inf  # as the link to the root says, once that is decided upon which that session wants
        self._vouched_session = ""
        self._views: dict[str, NodeView] = {}
        self._given: dict[str, tuple[str, str]] = {}  # slot → (node, attempt) that had it last
        self.parent = Parent(
            store,
            clock,
            down,
            id=id,
            noun="node",
            settings=settings,
            key_of=key_of,
            holder=holder or store.id,
            new_id=new_id,
            rng=rng,
            may_refuse=lambda: self.role.link.state == "settled" and not self.parent.gathering,
            may_adopt=lambda: self.role.link.state == "settled",
            on_slot=self._told.add,
            on_measured=self._news.add,
            position=position,
            preferences=preferences,
            behind=self._behind,
            cluster=identity.child,
        )
        self.role = ChildRole(
            identity,
            brokers,
            SlotMemory(store),
            up,
            clock,
            store=root_store,
            new_session=new_id,
            rng=rng,
            channels=(self._statuses, self._nodes),
            capacity=self._told_capacity,
            on_assignment=lambda attempts, specifications: None,  # the parent half follows the store
            answer=lambda call: chronicle.answer(store, call) if call.method == chronicle.METHOD else answer(call),
            plan_memory=StoredPlan(store) if network else None,
            on_plan=lambda changed, removed: self._network.changed(changed, removed),
        )
        self._network = ClusterNetwork(self.parent.network, lambda: self.role.plan, on=network)

    def _told_capacity(self) -> Capacity:
        return msgspec.structs.replace(self._capacity, troubles=self._troubles(), network=self._network.networking)

    def _troubles(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(trouble for trouble in (self.parent.unavailable, self.role.trouble) if trouble))

    def handle_up(self, event: TransportEvent) -> None:
        """Something happened on the transport to the root; `work` acts on it."""
        self.role.handle(event)

    def handle_down(self, event: TransportEvent) -> None:
        """Something happened on the transport to the nodes; `work` acts on it."""
        self.parent.handle(event)

    def work(self) -> None:
        """Do all that is due: hear the root, run the cluster, and only then tell the root."""
        self.role.hear()
        self.parent.work()
        self._vouch()
        self._project()
        self._sum()
        self._measure()
        self.role.speak()

    def nodes(self) -> list[NodeView]:
        """All nodes as the root is told of them. May be called from any thread."""
        return list(self._views.values())

    def last_given(self, slot: str) -> tuple[str, str] | None:
        """The node that has a slot or had it last, and its attempt there; None when nobody remembers."""
        placement = self.parent.placements.get(slot)
        attempts = placement.attempts if placement is not None else []
        return attempts[-1] if attempts else self._given.get(slot)

    def next_wake(self) -> float:
        """When `work` wants to be called at the latest (`Clock.now` seconds)."""
        wake = min(self.role.next_wake(), self.parent.next_wake(), self._measured + self.role.link.usage_period)
        if self._news and self.role.link.settled_session:
            wake = min(wake, self._passed + _PASS_PERIOD)
        if self._summed[0] != self.parent.fleet.touched:
            wake = min(wake, self._summed[1] + _SUM_PERIOD)
        return wake

    def _vouch(self) -> None:
        """Once what the root wants in this session is decided upon, tell the nodes that the root hears us.

        Not earlier: while we were cut off, the root may have given to others what nodes here stopped by themselves, and
        would start again at that word.
        """
        session = self.role.link.settled_session
        if session and session != self._vouched_session and self.role.is_kept and not self.parent.unavailable:
            self._vouched_session = session
            self.parent.link.vouch_anew()
        if session and session == self._vouched_session:
            self._vouched = self.role.link.vouched

    def _behind(self, now: float) -> float:
        """Seconds since we sent what the root acknowledged last; infinite when it never did in this life."""
        return now - self._vouched

    def _project(self) -> None:
        """Mirror what became of the root's attempts."""
        told = sorted(self._told)
        self._told.clear()
        put, remove = {}, []
        for id in told:
            self._remember(id)
            status = self.status(id)
            if status is None:
                remove.append(id)
            else:
                put[id] = status
                if status.phase is Phase.REFUSED:
                    # Told together with the room that it was refused by, so that the root sees when that changes.
                    self._summed = (-1, 0.0)
        self._statuses.change(put, remove)

    def _remember(self, id: str) -> None:
        given = self.last_given(id)
        if given is not None:
            self._given.pop(id, None)
            self._given[id] = given
            if len(self._given) > _REMEMBERED:
                del self._given[next(iter(self._given))]

    def status(self, id: str) -> Status | None:
        """What is said of a slot (the root's attempt). May be called from any thread."""
        parent = self.parent
        slot, placement = parent.slots.get(id), parent.placements.get(id)
        if slot is None and placement is None:
            return None
        given_up = placement is not None and parent.is_given_up(placement)
        if slot is None or slot.desired == "stop":
            withdrawn = placement is not None and placement.current is None
            status = Status(id, Phase.STOPPING, "being removed", given_up=given_up and withdrawn)
            attempts = [given.attempt for given, _ in attempts_of(placement)]
            seen = next((parent.observed[attempt].status for attempt in attempts if attempt in parent.observed), None)
            if seen is None or not (seen.ipv4 or seen.ipv6):
                return status
            # Who is connected to it stays so while it lasts.
            return msgspec.structs.replace(status, node=seen.node, ipv4=seen.ipv4, ipv6=seen.ipv6)
        held = parent.holds.get(id)
        if held is not None and not (placement is not None and placement.final is not None):
            return Status(id, Phase.HELD, held.text, since=held.since)
        current = placement.current if placement is not None else None
        if current is None:
            status = slot_status(id, placement, None)
        else:
            silent = current.child not in parent.link.peers or parent.link.peers[current.child].silent
            observed = parent.observed.get(current.attempt)
            status = slot_status(id, placement, observed, silent=silent, given_up=given_up)
        drained = current is not None and current.child in parent.fleet.drained
        return msgspec.structs.replace(status, misplaced=misplaced(placement, drained))

    def _sum(self) -> None:
        fleet, now = self.parent.fleet, self._clock.now()
        seen, when = self._summed
        version = self.role.version
        if fleet.touched != seen and (now - when >= _SUM_PERIOD or seen < 0):
            self._summed = (fleet.touched, now)
            self._capacity = cluster_capacity(fleet, version, self._position)
            self._view_nodes()

    def _view_nodes(self) -> None:
        parent = self.parent
        views = {}
        for id, row in parent.fleet.rows.items():
            measured = parent.usage.get(id)
            views[id] = node_view(row, parent.children[id], measured[-1] if measured else Usage())
        self._nodes.change(views, self._nodes.ids - views.keys())
        self._views = views

    def _measure(self) -> None:
        """Pass on what nodes told, under the root's own names, as it comes; and once a period what it adds up to."""
        now, link, parent = self._clock.now(), self.role.link, self.parent
        usages: list[tuple[str, Usage]] = []
        if now >= self._measured + link.usage_period:
            self._measured = now
            self._view_nodes()
            own = [measured[-1] for id, measured in parent.usage.items() if id in parent.fleet.rows]
            usages.append(("", total_usage(own, self._capacity.allocatable.memory)))
        if link.settled_session and now >= self._passed + _PASS_PERIOD:
            self._passed = now
            if link.settled_session != self._told_session:  # a root that knows nothing yet
                self._told_session = link.settled_session
                self._news.update(parent.usage)
            for id in sorted(self._news):
                slot, measured = parent.slot_of(id), parent.usage.get(id)
                if slot is not None and measured:
                    usages.append((slot, measured[-1]))
            self._news.clear()
        for start in range(0, len(usages), _USAGE_BATCH):
            link.send_usage(dict(usages[start : start + _USAGE_BATCH]))
