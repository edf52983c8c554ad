"""The cluster between two networks' plans: what the root says of other clusters, and what the nodes have to know."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Set
from typing import Any, cast

import msgspec

from mangrove.model.child import Networking
from mangrove.model.documents import META
from mangrove.model.documents import PLAN as PLAN_ENTRIES
from mangrove.network.plan import Endpoint, Grant, Peer, PlanEntry, Ranges, ServiceEntry
from mangrove.roles.network import NetworkRole
from mangrove.store.interface import Delete, Operation, Put, Store

#: In the collection of what there is only one of: which plan the entries are.
_MARK = "plan"


class StoredPlan:
    """A `roles.child.PlanMemory` in the cluster's store: a change writes the entries that it concerns."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def load_plan(self) -> tuple[int, dict[str, PlanEntry]]:
        mark = self._store.get(META, _MARK)
        entries = {stored.id: stored.read(cast(Any, PlanEntry)) for stored in self._store.load(PLAN_ENTRIES)}
        return (int(mark.document["version"]) if mark is not None else 0), entries

    def save_plan(self, version: int, entries: Mapping[str, PlanEntry], changed: Set[str], removed: Set[str]) -> None:
        operations: list[Operation] = [Put(META, _MARK, {"version": version})]
        operations += [Put(PLAN_ENTRIES, id, msgspec.to_builtins(entries[id])) for id in sorted(changed)]
        operations += [Delete(PLAN_ENTRIES, id) for id in sorted(removed)]
        self._store.apply(operations)


class ClusterNetwork:
    """Hands the root's plan on to what plans for the nodes, and says what the cluster needs.

    plan: the entries of it that are held. on: whether nodes may take part.
    """

    def __init__(self, network: NetworkRole, plan: Callable[[], Mapping[str, PlanEntry]], *, on: bool) -> None:
        self._network = network
        self._on = on
        self._plan = plan
        self._blocks: tuple[tuple[str, str], ...] = ()
        self._ranges = Ranges()
        self.changed(plan().keys(), frozenset())

    def changed(self, changed: Set[str], removed: Set[str]) -> None:
        """These entries of the root's plan are new or different, or gone."""
        entries = self._plan()
        cut = False
        for id in removed:
            kind, _, name = id.partition("/")
            self._gone(kind, name)
            cut |= kind in ("grant", "ranges")
        for id in changed:
            entry = entries[id]
            match entry:
                case ServiceEntry():
                    self._network.service(entry.service, entry)
                case Endpoint():
                    self._network.endpoint(entry.attempt, entry)
                case Peer():
                    self._network.peer(entry.node, entry)
                case _:
                    cut = True
        if cut:
            self._cut(entries)

    @property
    def networking(self) -> Networking:
        """What the root is to know: so many blocks that half of one is left for nodes to come."""
        nodes = self._network.wanted if self._on else 0
        if nodes == 0:
            return Networking(held=self._blocks)
        trouble = ""
        if not self._blocks:
            trouble = "its nodes have no addresses yet: the root has not given any"
        elif self._network.short:
            trouble = "some of its nodes have no addresses: the root has given no more"
        return Networking(-(-(nodes + _SPARE) // self._nodes_of_block), self._blocks, trouble=trouble)

    @property
    def _nodes_of_block(self) -> int:
        """How many nodes one block is for."""
        counts = [
            1 << max(0, prefix - ipaddress.ip_network(text).prefixlen)
            for block in self._blocks[:1]
            for text, prefix in zip(block, (self._ranges.ipv4_prefix, self._ranges.ipv6_prefix), strict=True)
            if text
        ]
        return min(counts, default=_SPARE * 2)

    def _gone(self, kind: str, name: str) -> None:
        if kind == "service":
            self._network.service(name, None)
        elif kind == "endpoint":
            self._network.endpoint(name, None)
        elif kind == "peer":
            self._network.peer(name, None)

    def _cut(self, entries: Mapping[str, PlanEntry]) -> None:
        grants = [entry for _, entry in sorted(entries.items()) if isinstance(entry, Grant)]
        ranges = next((entry for entry in entries.values() if isinstance(entry, Ranges)), Ranges())
        self._ranges, self._blocks = ranges, tuple((grant.ipv4, grant.ipv6) for grant in grants)
        ipv4, ipv6 = (
            [ipaddress.ip_network(block[family]) for block in self._blocks if block[family]] for family in (0, 1)
        )
        self._network.cut(ranges, ipv4, ipv6, ranges.ipv4_prefix, ranges.ipv6_prefix)


#: Nodes for which addresses are kept ready, so that as many can join while the root is away: half a usual block.
_SPARE = 8
