"""What each child has to know of the network, kept up to date change by change. Pure.

A child is interested in the services that run there, and in all those that may reach them or be reached by them. It is
told of these services, of their endpoints that are not its own, and of the nodes where these are. Each change costs as
much as there are children that it concerns, not as there are services or endpoints.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from mangrove.network.plan import Endpoint, Peer, PlanEntry, ServiceEntry, id_of

#: child → (entries that are new or different, ids of those that are gone)
Changes = dict[str, tuple[dict[str, PlanEntry], set[str]]]


class Planner:
    """The plans of all children of one parent.

    seen_from: a node (a Peer without distance) as a child has to know it.
    """

    def __init__(self, seen_from: Callable[[str, Peer], Peer] = lambda child, peer: peer) -> None:
        self._seen_from = seen_from
        self._services: dict[str, ServiceEntry] = {}
        self._groups: dict[str, set[str]] = {}  # group → services
        self._reached_by: dict[str, set[str]] = {}  # service → those of other groups that may connect to it
        self._residents: dict[str, Counter[str]] = {}  # child → service → how many attempts of it are there
        self._homes: dict[str, set[str]] = {}  # service → children that have attempts of it
        self._endpoints: dict[str, tuple[Endpoint, str]] = {}  # by attempt, with the child that has it
        self._of_service: dict[str, set[str]] = {}  # service → attempts
        self._peers: dict[str, tuple[Peer, str]] = {}  # by node, with the child that has it
        self._interest: dict[str, set[str]] = {}  # child that takes part → services
        self._watchers: dict[str, set[str]] = {}  # service → children
        self._foreign: dict[str, Counter[str]] = {}  # child → node → how many endpoints there it is told of
        self._stale: set[str] = set()  # children whose interest may be another one now
        self._changes: Changes = {}

    # -- what is

    def takes_part(self, child: str, takes_part: bool) -> None:
        """Whether a child has to be told anything."""
        if takes_part and child not in self._interest:
            self._interest[child] = set()
            self._foreign[child] = Counter()
            self._stale.add(child)
        elif not takes_part and child in self._interest:
            self._stale.discard(child)
            self._change_interest(child, set())
            del self._interest[child], self._foreign[child]

    def forget(self, child: str) -> None:
        """A child is no more."""
        self.takes_part(child, False)
        self._changes.pop(child, None)

    def listens(self, child: str) -> bool:
        """Whether a child takes part."""
        return child in self._interest

    def resident(self, child: str, service: str, count: int) -> None:
        """So many attempts of a service are at a child, more or fewer than before."""
        residents = self._residents.setdefault(child, Counter())
        before = residents[service]
        residents[service] += count
        homes = self._homes.setdefault(service, set())
        if residents[service] <= 0:
            del residents[service]
            homes.discard(child)
        else:
            homes.add(child)
        if (before > 0) != (service in residents) and child in self._interest:
            self._stale.add(child)

    def service(self, id: str, entry: ServiceEntry | None) -> None:
        """What a service is called and may do; None when it is no more."""
        before = self._services.get(id)
        if before == entry:
            return
        affected = self._interested_in_relatives(id)
        if before is not None:
            del self._services[id]
            self._groups[before.group].discard(id)
            for other in before.reaches:
                self._reached_by[other].discard(id)
        if entry is not None:
            self._services[id] = entry
            self._groups.setdefault(entry.group, set()).add(id)
            for other in entry.reaches:
                self._reached_by.setdefault(other, set()).add(id)
        for child in self._watchers.get(id, ()):
            self._tell(child, entry if entry is not None else None, f"service/{id}")
        if before is None or entry is None or (before.group, before.reaches) != (entry.group, entry.reaches):
            self._stale |= affected | self._interested_in_relatives(id)

    def endpoint(self, attempt: str, endpoint: Endpoint | None, child: str = "") -> None:
        """An instance can be reached so, and is at `child` (empty: at none of ours); None when it cannot any more."""
        before, there = self._endpoints.get(attempt, (None, ""))
        if (before, there) == (endpoint, child) or (before is None and endpoint is None):
            return
        told: set[str] = set()
        if before is not None:
            del self._endpoints[attempt]
            self._of_service[before.service].discard(attempt)
        if endpoint is not None:
            self._endpoints[attempt] = endpoint, child
            self._of_service.setdefault(endpoint.service, set()).add(attempt)
            told = self._watchers.get(endpoint.service, set()) - {child}
            for watcher in told:
                self._endpoint_there(watcher, endpoint)
        if before is not None:
            for watcher in self._watchers.get(before.service, set()) - {there}:
                self._endpoint_gone(watcher, before, keep=watcher in told)

    def peer(self, node: str, peer: Peer | None, child: str = "") -> None:
        """A node that may have endpoints, and at which child it is (empty: at none of ours); None: it is no more."""
        before = self._peers.get(node)
        if before == (None if peer is None else (peer, child)):
            return
        if peer is None:
            del self._peers[node]
        else:
            self._peers[node] = peer, child
        for each, nodes in self._foreign.items():
            if node in nodes:
                self._tell_peer(each, node)

    def tell(self, child: str, put: Iterable[PlanEntry], remove: Iterable[str] = ()) -> None:
        """What is a child's own: its grants, the ranges. remove: ids."""
        for id in remove:
            self._tell(child, None, id)
        for entry in put:
            self._tell(child, entry)

    # -- what follows

    def take(self) -> Changes:
        """What the plans of children gain and lose since the last call."""
        for child in self._stale:
            self._look_anew(child)
        self._stale.clear()
        changes, self._changes = self._changes, {}
        return changes

    def related(self, service: str) -> set[str]:
        """The services that may reach this one or be reached by it, itself among them."""
        found = {service} | self._reached_by.get(service, set())
        entry = self._services.get(service)
        return found if entry is None else found | self._groups[entry.group] | set(entry.reaches)

    def _interested_in_relatives(self, service: str) -> set[str]:
        """Children that take part and have attempts of services that are related to this one."""
        found: set[str] = set()
        for other in self.related(service):
            found |= self._homes.get(other, set())
        return found & self._interest.keys()

    def _look_anew(self, child: str) -> None:
        residents = self._residents.get(child, Counter())
        wanted, groups = set(residents), set()
        for service in residents:  # the union of what is related to each, but each group only once
            wanted |= self._reached_by.get(service, set())
            entry = self._services.get(service)
            if entry is not None:
                wanted.update(entry.reaches)
                groups.add(entry.group)
        for group in groups:
            wanted |= self._groups[group]
        self._change_interest(child, wanted)

    def _change_interest(self, child: str, wanted: set[str]) -> None:
        interest = self._interest[child]
        for service in interest - wanted:
            self._watchers[service].discard(child)
            if service in self._services:
                self._tell(child, None, f"service/{service}")
            for attempt in self._of_service.get(service, ()):
                endpoint, there = self._endpoints[attempt]
                if there != child:
                    self._endpoint_gone(child, endpoint)
        for service in wanted - interest:
            self._watchers.setdefault(service, set()).add(child)
            if service in self._services:
                self._tell(child, self._services[service])
            for attempt in self._of_service.get(service, ()):
                endpoint, there = self._endpoints[attempt]
                if there != child:
                    self._endpoint_there(child, endpoint)
        self._interest[child] = wanted

    def _endpoint_there(self, child: str, endpoint: Endpoint) -> None:
        self._tell(child, endpoint)
        nodes = self._foreign[child]
        nodes[endpoint.node] += 1
        if nodes[endpoint.node] == 1:
            self._tell_peer(child, endpoint.node)

    def _endpoint_gone(self, child: str, endpoint: Endpoint, *, keep: bool = False) -> None:
        """keep: it is there as another one under the same id."""
        if not keep:
            self._tell(child, None, id_of(endpoint))
        nodes = self._foreign[child]
        nodes[endpoint.node] -= 1
        if nodes[endpoint.node] <= 0:
            del nodes[endpoint.node]
            self._tell_peer(child, endpoint.node)

    def _tell_peer(self, child: str, node: str) -> None:
        known = self._peers.get(node) if node in self._foreign[child] else None
        self._tell(child, None if known is None else self._seen_from(child, known[0]), f"peer/{node}")

    def _tell(self, child: str, entry: PlanEntry | None, id: str = "") -> None:
        put, remove = self._changes.setdefault(child, ({}, set()))
        if entry is None:
            put.pop(id, None)
            remove.add(id)
        else:
            put[id_of(entry)] = entry
            remove.discard(id_of(entry))
