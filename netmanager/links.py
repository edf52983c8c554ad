"""Interfaces, addresses, routes and neighbours that a plan comes to, as data. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

from netmanager.situation import FAMILIES, GATEWAY, TUNNEL, Path, Situation, Uplink

#: By which our routes are known (rtnetlink's `protocol`): not in iproute2's list, nor FRR's.
PROTOCOL = 77
#: The tunnel's network identifier: any, the same everywhere.
TUNNEL_ID = 7741
#: Bytes that VXLAN adds: Ethernet 14, VXLAN 8, UDP 8, and the outer IPv4's 20 or IPv6's 40.
_OVERHEAD = {4: 50, 6: 70}
#: Ethernet's, where no uplink tells its own.
_USUAL_MTU = 1500
#: Metric of the route that ends what belongs to the network and leads nowhere: the last to be looked at.
_LAST = 0x7FFF


@dataclass(frozen=True, slots=True, order=True)
class Route:
    """interface: empty for `unreachable`. via, source: addresses, or empty."""

    network: str
    interface: str = ""
    via: str = ""
    source: str = ""
    metric: int = 0


@dataclass(frozen=True, slots=True, order=True)
class Neighbour:
    """kind: `arp`: the address has that hardware address; `fdb`: that hardware address is behind the outer address."""

    kind: Literal["arp", "fdb"]
    interface: str
    address: str
    hardware: str


@dataclass(frozen=True, slots=True)
class Links:
    """All of it. addresses: of the gateway. tunnel: the tunnel's MTU, 0 when there is none; hardware: its own end's
    address. mtu: of instances. forwarding: interfaces that forward."""

    addresses: frozenset[str]
    routes: frozenset[Route]
    neighbours: frozenset[Neighbour]
    tunnel: int
    hardware: str
    mtu: int
    forwarding: frozenset[str]


def hardware_of(node: str) -> str:
    """The hardware address of a node's end of the tunnel, which all others work out of its id. Locally administered."""
    return ":".join(f"{byte:02x}" for byte in (0x0A, 0x4D, *blake2b(node.encode(), digest_size=4).digest()))


def links(situation: Situation, uplinks: Mapping[str, Uplink]) -> Links:
    """What a situation comes to."""
    addresses, routes, neighbours = set[str](), set[Route](), set[Neighbour]()
    mtu = min((uplink.mtu for uplink in uplinks.values()), default=_USUAL_MTU)
    tunnelled = [path for path in situation.paths if path.outer is not None]
    for family in FAMILIES:
        gateway = situation.gateways.get(family, "")
        if not gateway:
            continue
        addresses.add(f"{gateway}/{32 if family == 4 else 128}")
        # What is in use is more exact, so these are for what is not: answered at once, and never sent elsewhere.
        for network in {*situation.ranges(family), *situation.grants(family)} - set(situation.services(family)):
            routes.add(Route(str(network), metric=_LAST))
        for network in situation.services(family):
            routes.add(Route(str(network), GATEWAY, source=gateway))
        for attached in situation.attached.values():
            if address := attached.address(family):
                routes.add(Route(f"{address}/{32 if family == 4 else 128}", attached.interface, source=gateway))
        for path in situation.paths:
            if path.network.version == family:
                routes.add(Route(str(path.network), path.interface, str(path.via), gateway))
    for path in tunnelled:
        neighbours |= _behind(path)
    overhead = max((_OVERHEAD[path.outer.version] for path in tunnelled if path.outer), default=0)
    return Links(
        frozenset(addresses),
        frozenset(routes),
        frozenset(neighbours),
        mtu - overhead if tunnelled else 0,
        hardware_of(situation.plan.node),
        mtu,
        frozenset(
            {GATEWAY, *uplinks, *(TUNNEL for _ in tunnelled[:1]), *(it.interface for it in situation.attached.values())}
        ),
    )


def _behind(path: Path) -> set[Neighbour]:
    """Where a tunnel's far end is, told instead of asked for: nothing is learned, so nothing can be lied about."""
    hardware = hardware_of(path.node)
    return {
        Neighbour("arp", TUNNEL, str(path.via), hardware),
        Neighbour("fdb", TUNNEL, str(path.outer), hardware),
    }
