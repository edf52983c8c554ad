"""A parent's part in the network between services: who has which addresses, and what each child has to know.

The one writer of `grants`. What it tells children goes out when all that was decided is durable.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from mangrove.link import parent_events as link
from mangrove.link.messages import NODES
from mangrove.link.parent import ParentLink
from mangrove.model import documents
from mangrove.model.attempt import Usage
from mangrove.model.child import NO_NETWORK, Capacity, Networking, NodeView
from mangrove.model.documents import Child, Granted, Observed, Placement, Slot
from mangrove.model.position import Position
from mangrove.network.addresses import Grants, Network
from mangrove.network.distance import milliseconds
from mangrove.network.endpoints import attempts_of, coarse, endpoint_of
from mangrove.network.plan import Endpoint, Grant, Peer, Ranges, ServiceEntry
from mangrove.network.planning import Planner
from mangrove.roles.journal import Journal
from mangrove.roles.ledger import Ledger
from mangrove.store.interface import Delete, Put, Store

log = logging.getLogger(__name__)

#: Grants that one node may have: a thousand instances with the usual networks, which no node runs.
_MOST = {"node": 16, "cluster": 4096}


class NetworkRole:
    """See the module. noun: what the children are. cluster: the id that we, as the cluster of our nodes, have at the
    root. adopting: whether the store was brought back lately, so that children may have what it does not know of."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        journal: Journal,
        link: ParentLink,
        *,
        noun: str,
        cluster: str,
        name: Callable[[str], str],
        slots: Mapping[str, Slot],
        placements: Mapping[str, Placement],
        observed: Mapping[str, Observed],
        usage: Mapping[str, Sequence[Usage]],
        position: Position | None = None,
        adopting: Callable[[], bool] = lambda: False,
    ) -> None:
        self._ledger = ledger
        self._journal = journal
        self._link = link
        self._noun = noun
        self._cluster = cluster
        self._name = name
        self._slots = slots
        self._placements = placements
        self._observed = observed
        self._usage = usage
        self._position = position
        self._adopting = adopting
        self._planner = Planner(self._seen_from)
        self._ranges = Ranges()
        self._grants = Grants((), (), 32, 128)
        self._networking: dict[str, Networking] = {}  # what each child says of itself
        self._positions: dict[str, Position | None] = {}  # of nodes, and of other clusters' nodes
        self._active = False  # whether any child has ever taken part
        #: How many grants all children need together.
        self.wanted = 0
        self._short: set[str] = set()  # children that need more addresses than there are
        self._waiting: set[str] = set()  # children that get what they need when all others have told what they have
        self._node_of: dict[str, str] = {}  # node → the cluster that has told of it
        self._spread: set[str] = set()  # services with an address that goes by load
        self._loads: dict[str, float] = {}  # attempt of one of these → percent of a core, as told
        self._measured: set[str] = set()  # attempts of which there is a new figure
        self._there: dict[str, tuple[str, dict[str, str]]] = {}  # slot → (service, attempt → child)
        for stored in store.load(documents.GRANTS):
            granted = stored.read(Granted)
            self._grants.restore(granted.child, Grant(granted.ipv4, granted.ipv6))
        for stored in store.load(documents.CHILDREN):
            child = stored.read(Child)
            self._child(child.id, child.capacity)
        for stored in store.load(documents.NODES) if noun == "cluster" else ():
            self._node(stored.id.partition("/")[0], stored.read(NodeView))

    # -- what there is to give

    def cut(self, ranges: Ranges, ipv4: Sequence[Network], ipv6: Sequence[Network], prefix4: int, prefix6: int) -> None:
        """Give from these from now on. What was given before stays its owner's, unless it belongs to nobody here: a
        cluster's nodes have nothing outside the cluster's own blocks."""
        before, self._ranges = self._grants, ranges
        self._grants = Grants(ipv4, ipv6, prefix4, prefix6)
        for grant, child in before.owners.items():
            if self._noun == "cluster":
                self._grants.restore(child, grant)
            elif not self._grants.adopt(child, grant):
                self._withdraw(child, grant)
        for child in list(self._networking):
            self._introduce(child)

    @property
    def grants(self) -> Mapping[Grant, str]:
        """Which child has what."""
        return self._grants.owners

    @property
    def networking(self) -> Mapping[str, Networking]:
        """What each child says of itself."""
        return self._networking

    @property
    def short(self) -> bool:
        """Whether somebody needs more addresses than there are."""
        return bool(self._short)

    @property
    def takes_part(self) -> bool:
        """Whether any child does."""
        return any(self._planner.listens(child) for child in self._networking)

    # -- what is heard

    def heed(self, events: Iterable[link.Event]) -> None:
        """Look at what the link has learnt, before others take it."""
        for event in events:
            if isinstance(event, link.CapacityChanged):
                self._child(event.child, event.capacity)
            elif isinstance(event, link.Reported) and event.channel == NODES:
                nodes = self._link.peers[event.child].nodes.entries
                for id in event.applied.changed & nodes.keys():
                    self._node(event.child, nodes[id])
                for id in event.applied.removed:
                    self._node_gone(event.child, id)

    def revoked(self, child: str) -> None:
        """A child is no more: what it had can be given to others."""
        for grant in self._grants.of(child):
            self._grants.take_back(grant)
            self._ledger.write(Delete(documents.GRANTS, _key(grant)))
        self.wanted -= self._networking.pop(child, NO_NETWORK).wanted
        self._positions.pop(child, None)
        self._short.discard(child)
        self._waiting.discard(child)
        for node in [node for node, cluster in self._node_of.items() if cluster == child]:
            self._node_gone(child, node)
        self._planner.peer(child, None)
        self._planner.forget(child)
        for each in sorted(self._short):
            self._introduce(each)

    def service(self, id: str, entry: ServiceEntry | None) -> None:
        """What is known of a service."""
        (self._spread.add if entry is not None and entry.by_load else self._spread.discard)(id)
        self._planner.service(id, entry)

    def endpoint(self, id: str, endpoint: Endpoint | None) -> None:
        """An endpoint that our own parent told of."""
        self._planner.endpoint(id, endpoint)

    def peer(self, node: str, peer: Peer | None) -> None:
        """A node that our own parent told of."""
        self._planner.peer(node, peer)

    def measured(self, slot: str) -> None:
        """There is a new figure of what an instance uses."""
        if self._spread and slot in self._there and self._there[slot][0] in self._spread:
            self._measured.add(slot)

    def work(self, slots: Iterable[str]) -> None:
        """Look at slots of which there is news."""
        if self._waiting and (not self._adopting() or self._all_have_told()):
            waiting, self._waiting = self._waiting, set()
            for child in sorted(waiting):
                self._introduce(child, supply=True)
        if not self._active:
            if not self.takes_part:
                return
            self._active, slots = True, self._placements.keys()
        for slot in {*slots, *self._measured}:
            self._look(slot)
        self._measured.clear()

    def tell(self) -> None:
        """Hand over what children have to know, since all that it follows from is durable."""
        for child, (put, remove) in self._planner.take().items():
            self._link.plan(child, put, remove)

    # -- what follows

    def _look(self, id: str) -> None:
        slot, attempts = self._slots.get(id), attempts_of(self._placements.get(id))
        service, before = self._there.get(id, ("", {}))
        service = slot.service if slot is not None else service
        now = {given.attempt: given.child for given, _ in attempts}
        for attempt, child in before.items() - now.items():
            self._planner.resident(child, service, -1)
            self._planner.endpoint(attempt, None)
        for _, child in now.items() - before.items():
            self._planner.resident(child, service, 1)
        if now:
            self._there[id] = service, now
        else:
            self._there.pop(id, None)
        for attempt in before.keys() - now.keys():
            self._loads.pop(attempt, None)
        for given, wanted in attempts:
            peer, seen = self._link.peers.get(given.child), self._observed.get(given.attempt)
            endpoint = endpoint_of(
                service,
                slot.number if slot is not None else 0,
                given.attempt,
                seen.status if seen is not None else None,
                wanted=wanted and slot is not None and slot.desired == "run",
                silent=peer is None or peer.silent,
                load=self._load(service, given.attempt),
            )
            if endpoint is not None and self._noun == "node":
                endpoint = msgspec.structs.replace(endpoint, node=given.child)
            if endpoint is not None and not self._may_have(given.child, endpoint.ipv4, endpoint.ipv6, single=True):
                endpoint = None
            self._planner.endpoint(given.attempt, endpoint, given.child)

    def _load(self, service: str, attempt: str) -> float:
        usages = self._usage.get(attempt) if service in self._spread else None
        if not usages:
            return 0.0
        self._loads[attempt] = coarse(usages[-1].cpu, self._loads.get(attempt, 0.0))
        return self._loads[attempt]

    def _may_have(self, child: str, *texts: str, single: bool = False) -> bool:
        """Whether these networks, or single addresses, are a child's: what it says may be wrong. Empty ones pass."""
        try:
            if single and any("/" in text for text in texts):
                return False
            return all(self._grants.covers(child, text) for text in texts if text)
        except ValueError:
            return False

    def _child(self, child: str, capacity: Capacity) -> None:
        networking = capacity.network
        moved = self._positions.get(child) != capacity.position
        self._positions[child] = capacity.position
        if networking == self._networking.get(child, NO_NETWORK) and not moved:
            return
        self.wanted += networking.wanted - self._networking.get(child, NO_NETWORK).wanted
        self._networking[child] = networking
        self._introduce(child)

    def _all_have_told(self) -> bool:
        """Whether every child has said, since this start, what it has."""
        return all(peer.state == "live" for peer in self._link.peers.values())

    def _introduce(self, child: str, *, supply: bool = False) -> None:
        """Give a child what it needs, and let it and others know. supply: also while others may still have it."""
        networking = self._networking[child]
        for held in networking.held[: _MOST[self._noun]]:
            self._adopt(child, Grant(*held))
        if supply or not self._adopting():
            self._supply(child, networking.wanted)
        else:
            self._waiting.add(child)
        takes_part = networking.wanted > 0 and self._ranges != Ranges()
        self._planner.takes_part(child, takes_part)
        if takes_part:
            self._planner.tell(child, [self._ranges, *self._grants.of(child)])
        if self._noun == "node":
            networks = tuple(text for grant in self._grants.of(child) for text in (grant.ipv4, grant.ipv6) if text)
            peer = Peer(child, self._name(child), self._cluster, networks, networking.underlay, key=networking.key)
            self._planner.peer(child, peer if networks else None, child)

    def _supply(self, child: str, wanted: int) -> None:
        while len(self._grants.of(child)) < min(wanted, _MOST[self._noun]):
            grant = self._grants.give(child)
            if grant is None:
                break
            self._write(child, grant)
        self._say_short(child, len(self._grants.of(child)) < wanted)

    def _adopt(self, child: str, grant: Grant) -> None:
        """A store that was set back does not know of all that it gave."""
        try:
            if grant not in self._grants.owners and self._grants.adopt(child, grant):
                log.info("%s keeps %s %s", self._name(child), grant.ipv4, grant.ipv6)
                self._write(child, grant)
        except ValueError:
            log.warning("%s says that it has %s, which is no network", self._name(child), str(grant)[:200])

    def _write(self, child: str, grant: Grant) -> None:
        document = msgspec.to_builtins(Granted(child, grant.ipv4, grant.ipv6))
        self._ledger.write(Put(documents.GRANTS, _key(grant), document))

    def _withdraw(self, child: str, grant: Grant) -> None:
        self._ledger.write(Delete(documents.GRANTS, _key(grant)))
        self._planner.tell(child, (), [f"grant/{_key(grant)}"])

    def _say_short(self, child: str, short: bool) -> None:
        if short and child not in self._short and self._ranges != Ranges():
            text = f"{self._name(child)} needs more addresses than are left: make the ranges larger, or remove others"
            self._journal.tell(f"{self._noun}-without-addresses", child, text)
        (self._short.add if short else self._short.discard)(child)

    def _node(self, cluster: str, view: NodeView) -> None:
        """A cluster's node, as others of other clusters have to know it. No cluster speaks of another one's nodes, nor
        of addresses that are not its own."""
        if self._node_of.setdefault(view.id, cluster) != cluster:
            return
        networking = view.capacity.network
        networks = [text for held in networking.held for text in held if text and self._may_have(cluster, text)]
        self._positions[view.id] = view.capacity.position
        peer = Peer(view.id, view.name, cluster, tuple(networks), networking.underlay, remote=True, key=networking.key)
        self._planner.peer(view.id, peer if networks else None, cluster)

    def _node_gone(self, cluster: str, node: str) -> None:
        if self._node_of.get(node) == cluster:
            del self._node_of[node]
            self._positions.pop(node, None)
            self._planner.peer(node, None)

    def _seen_from(self, child: str, peer: Peer) -> Peer:
        here = self._positions.get(child) or self._position
        there = self._positions.get(peer.node) or (None if peer.remote else self._position)
        distance = milliseconds(here, there, remote=peer.remote)
        return msgspec.structs.replace(peer, distance=max(distance, peer.distance))


def _key(grant: Grant) -> str:
    return grant.ipv4 or grant.ipv6
