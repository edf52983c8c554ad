"""The plan: what the network of one child has to know. Mirrored from parent to child, entry by entry (link/sync.py).

A node's plan holds the addresses that it may give its instances, the services that these may talk to, the endpoints of
those elsewhere, and the nodes where these are. A cluster's plan holds the same for all its nodes together, but for what
the cluster knows by itself. A plan says what is, not what to do: how packets get there is the node's matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from mangrove.model.network import Egress, Policy, ServiceAddress
from mangrove.model.specification import Port

#: Whether an endpoint can be given new connections: `doubtful`: its node is not heard now, so only when none is ready;
#: `stopping`: it ends soon, and is left to the connections that it has.
Readiness = Literal["ready", "doubtful", "stopping"]


class Ranges(msgspec.Struct, frozen=True, omit_defaults=True, tag="ranges"):
    """All that belongs to this network, as networks such as `10.30.0.0/16`, of both families.

    nodes: where instances have their addresses; services: where services have theirs. Whatever is sent there stays in
    this network, or is turned down. ipv4_prefix, ipv6_prefix: length of what one node is granted.
    """

    nodes: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    ipv4_prefix: int = 26
    ipv6_prefix: int = 64


class Grant(msgspec.Struct, frozen=True, omit_defaults=True, tag="grant"):
    """Addresses that are this child's alone until it is removed: a node's for its instances, a cluster's for its nodes.

    ipv4, ipv6: a network each, such as `10.18.0.64/26` and `fdff:0:0:1::/64`; either may be empty.
    """

    ipv4: str = ""
    ipv6: str = ""


class Peer(msgspec.Struct, frozen=True, omit_defaults=True, tag="peer"):
    """Another node that has endpoints of this plan.

    networks: its grants, of both families. underlay: its own addresses, to which packets for it can be sent, the best
    first. remote: whether it belongs to another cluster, so that what is sent there must be encrypted. key: its public
    key for WireGuard (base64), empty without one. distance: estimated milliseconds there and back, from here.
    """

    node: str
    name: str = ""
    cluster: str = ""
    networks: tuple[str, ...] = ()
    underlay: tuple[str, ...] = ()
    remote: bool = False
    key: str = ""
    distance: float = 0.0


class ServiceEntry(msgspec.Struct, frozen=True, omit_defaults=True, tag="service"):
    """A service that runs here, or that something here may talk to.

    name, namespace, application_name, application_namespace: for names in the DNS. group: services of the same group
    reach each other (those of one owner whose applications have the same namespace). reaches: ids of services of other
    groups that its instances may connect to. affinity: seconds for which a client stays with an endpoint; 0: none.
    egress: where its instances may connect to outside; None: anywhere.
    """

    service: str
    name: str
    namespace: str
    application: str
    application_name: str
    application_namespace: str
    group: str
    addresses: tuple[ServiceAddress, ...] = ()
    reaches: tuple[str, ...] = ()
    affinity: float = 0.0
    egress: tuple[Egress, ...] | None = None

    @property
    def by_load(self) -> bool:
        """Whether an address of it goes by load."""
        return any(each.policy == "least_loaded" for each in self.addresses)

    def may_reach(self, other: ServiceEntry) -> bool:
        """Whether an instance of this service may connect to the other one."""
        return self.group == other.group or other.service in self.reaches


class Endpoint(msgspec.Struct, frozen=True, omit_defaults=True, tag="endpoint"):
    """An instance that has an address. load: percent of a core in coarse steps, known only where a policy needs it."""

    attempt: str
    service: str
    number: int
    node: str
    ipv4: str = ""
    ipv6: str = ""
    state: Readiness = "ready"
    load: float = 0.0


PlanEntry = Ranges | Grant | Peer | ServiceEntry | Endpoint

RANGES = "ranges"  # the id of the one entry of that kind


def id_of(entry: PlanEntry) -> str:
    """Under which id an entry stands in a plan: `ranges`, `grant/…`, `peer/…`, `service/…` or `endpoint/…`."""
    match entry:
        case Ranges():
            return RANGES
        case Grant():
            return f"grant/{entry.ipv4 or entry.ipv6}"
        case Peer():
            return f"peer/{entry.node}"
        case ServiceEntry():
            return f"service/{entry.service}"
        case Endpoint():
            return f"endpoint/{entry.attempt}"


class LocalInstance(msgspec.Struct, frozen=True, omit_defaults=True):
    """An instance of this node that has an address, as its engine knows it. state: `doubtful` until it runs. ports:
    published on the node. load: as an endpoint's."""

    attempt: str
    service: str
    number: int
    ipv4: str = ""
    ipv6: str = ""
    state: Readiness = "ready"
    ports: tuple[Port, ...] = ()
    load: float = 0.0


class NodePlan(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a node engine writes for its netmanager: the plan by kinds, and what runs here.

    version, digest: of the plan's entries as the cluster counts them; both stay when only `instances` differ. Endpoints
    and peers are those of other nodes; what runs here is in `instances`, whatever the plan says.
    """

    node: str
    name: str = ""
    version: int = 0
    digest: str = ""
    ranges: Ranges = Ranges()
    grants: tuple[Grant, ...] = ()
    peers: dict[str, Peer] = {}
    services: dict[str, ServiceEntry] = {}
    endpoints: dict[str, Endpoint] = {}
    instances: dict[str, LocalInstance] = {}


def node_plan(
    node: str,
    name: str,
    entries: Mapping[str, PlanEntry],
    instances: Mapping[str, LocalInstance],
    *,
    version: int = 0,
    digest: str = "",
) -> NodePlan:
    """The entries of a plan by kinds: grants in the order of their ids, all else by the id of what it is about."""
    ranges, grants = Ranges(), []
    peers: dict[str, Peer] = {}
    services: dict[str, ServiceEntry] = {}
    endpoints: dict[str, Endpoint] = {}
    for _, entry in sorted(entries.items()):
        match entry:
            case Ranges():
                ranges = entry
            case Grant():
                grants.append(entry)
            case Peer():
                peers[entry.node] = entry
            case ServiceEntry():
                services[entry.service] = entry
            case Endpoint():
                endpoints[entry.attempt] = entry
    return NodePlan(node, name, version, digest, ranges, tuple(grants), peers, services, endpoints, dict(instances))


__all__ = [
    "RANGES",
    "Egress",
    "Endpoint",
    "Grant",
    "LocalInstance",
    "NodePlan",
    "Peer",
    "PlanEntry",
    "Policy",
    "Ranges",
    "Readiness",
    "ServiceAddress",
    "ServiceEntry",
    "id_of",
    "node_plan",
]
