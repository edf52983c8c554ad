"""What the rules and the routes are made from: a plan, and what is known of this node. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Literal

from mangrove.network.plan import Endpoint, LocalInstance, NodePlan, Peer
from netmanager.balancing import Target

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Family = Literal[4, 6]
FAMILIES: tuple[Family, Family] = (4, 6)

#: Our interfaces begin with this. The gateway holds the node's own addresses in the network; the tunnel is VXLAN.
PREFIX = "mgv"
GATEWAY, TUNNEL = "mgv0", "mgvx"
#: Those of instances, each followed by ten hexadecimal digits: as many as an interface's name has room for.
INSTANCE = "mgvi"


@dataclass(frozen=True, slots=True)
class Uplink:
    """An interface of the node that is not ours. networks: its own addresses, with the length of their networks."""

    interface: str
    mtu: int
    addresses: tuple[ipaddress.IPv4Interface | ipaddress.IPv6Interface, ...]


@dataclass(frozen=True, slots=True)
class Path:
    """How packets to a network of another node go. via: the next hop, for the tunnel the peer's gateway.

    outer: for the tunnel, the peer's address on the underlay.
    """

    node: str
    network: Network
    kind: Literal["direct", "vxlan"]
    interface: str
    via: Address
    outer: Address | None = None


@dataclass(frozen=True, slots=True)
class Attached:
    """An instance that has its interface. service: its id."""

    attempt: str
    service: str
    number: int
    ipv4: str = ""
    ipv6: str = ""

    @property
    def interface(self) -> str:
        """Its end on the node."""
        return interface_of(self.attempt)

    def address(self, family: Family) -> str:
        return self.ipv4 if family == 4 else self.ipv6


@dataclass(frozen=True)
class Situation:
    """paths: to the networks of peers; troubles: peers that cannot be reached, and why, by their ids."""

    plan: NodePlan
    attached: Mapping[str, Attached] = field(default_factory=dict)
    paths: tuple[Path, ...] = ()
    troubles: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def gateways(self) -> dict[Family, str]:
        """The node's own address in the network, for each family that it has a grant of."""
        found: dict[Family, str] = {}
        for family in FAMILIES:
            if grants := self.grants(family):
                found[family] = str(gateway_of(grants[0]))
        return found

    def grants(self, family: Family) -> list[Network]:
        texts = (grant.ipv4 if family == 4 else grant.ipv6 for grant in self.plan.grants)
        return [ipaddress.ip_network(text) for text in texts if text]

    def ranges(self, family: Family) -> list[Network]:
        """All networks of instances, and then those of services."""
        nodes, services = self.plan.ranges.nodes, self.plan.ranges.services
        return [net for net in map(ipaddress.ip_network, (*nodes, *services)) if net.version == family]

    def services(self, family: Family) -> list[Network]:
        return [net for net in map(ipaddress.ip_network, self.plan.ranges.services) if net.version == family]

    @cached_property
    def endpoints(self) -> dict[str, list[Endpoint | LocalInstance]]:
        """By service: instances that packets can be sent to, those of this node first."""
        found: dict[str, list[Endpoint | LocalInstance]] = {}
        for local in self.running.values():
            found.setdefault(local.service, []).append(local)
        troubles = self.troubles
        for there in self.plan.endpoints.values():
            if there.node not in troubles:
                found.setdefault(there.service, []).append(there)
        return found

    def targets(self, service: str, family: Family) -> list[Target]:
        """Endpoints of a service that have an address of a family."""
        found = []
        for it in self.endpoints.get(service, ()):
            address = it.ipv4 if family == 4 else it.ipv6
            if not address:
                continue
            if isinstance(it, LocalInstance):
                found.append(Target(it.number, it.attempt, address, it.state, it.load))
            else:
                peer = self.plan.peers.get(it.node)
                distance = peer.distance if peer is not None else 0.0
                found.append(Target(it.number, it.attempt, address, it.state, it.load, distance))
        return found

    @cached_property
    def running(self) -> dict[str, LocalInstance]:
        """Instances of this node that have an address and an interface."""
        return {id: it for id, it in self.plan.instances.items() if id in self.attached}


def interface_of(attempt: str) -> str:
    """Name of the node's end of an instance's pair of interfaces."""
    return INSTANCE + blake2b(attempt.encode(), digest_size=5).hexdigest()


def gateway_of(network: Network) -> Address:
    """The first address of a node's network: its gateway's."""
    return network[1] if network.num_addresses > 1 else network[0]


def paths_of(
    plan: NodePlan, uplinks: Mapping[str, Uplink], *, encapsulate: bool
) -> tuple[tuple[Path, ...], dict[str, str]]:
    """How each peer is reached, and why those are not that cannot be. encapsulate: even where a link is shared."""
    paths: list[Path] = []
    troubles: dict[str, str] = {}
    for peer in plan.peers.values():
        if peer.remote:
            troubles[peer.node] = f"{peer.name or peer.node} is at another site: no encrypted path leads there yet"
            continue
        addresses = [ipaddress.ip_address(text) for text in peer.underlay]
        if not addresses:
            troubles[peer.node] = f"{peer.name or peer.node} has told no address to send packets to"
            continue
        for text in peer.networks:
            paths.append(_path(peer, ipaddress.ip_network(text), addresses, uplinks, encapsulate=encapsulate))
    return tuple(paths), troubles


def _path(
    peer: Peer, network: Network, addresses: list[Address], uplinks: Mapping[str, Uplink], *, encapsulate: bool
) -> Path:
    if not encapsulate:
        for address in addresses:
            for uplink in uplinks.values():
                if address.version == network.version and any(address in own.network for own in uplink.addresses):
                    return Path(peer.node, network, "direct", uplink.interface, address)
    return Path(peer.node, network, "vxlan", TUNNEL, gateway_of(network), addresses[0])
