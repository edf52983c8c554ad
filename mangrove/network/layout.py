"""How the addresses of a whole tree are laid out: what is for instances, what for services, and in which pieces."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from mangrove.network.addresses import Network, networks_in
from mangrove.network.plan import Ranges

#: Where instances and services have their addresses unless told otherwise: IPv4 as with Oakestra, and of IPv6 what it
#: keeps for services, with local addresses for instances.
NODES, SERVICES = "10.18.0.0-10.29.255.255,fdff::/48", "10.30.0.0/16,fdff:2000::/21"
#: Length of a node's networks, IPv4 and IPv6: room for 61 instances, and what every IPv6 network has.
SUBNET4, SUBNET6 = 26, 64
#: A cluster is given addresses for so many nodes at once (as a power of two): few enough that hundreds of small
#: clusters have some, many enough that the root is not asked for every node.
_BLOCK = 4


@dataclass(frozen=True, slots=True)
class Layout:
    """nodes, services: of both families, none overlapping. subnet4: length of a node's IPv4 network."""

    nodes: tuple[Network, ...]
    services: tuple[Network, ...]
    subnet4: int = SUBNET4

    @property
    def ranges(self) -> Ranges:
        """As it stands in plans."""
        return Ranges(
            tuple(map(str, self.nodes)), tuple(map(str, self.services)), ipv4_prefix=self.subnet4, ipv6_prefix=SUBNET6
        )

    @property
    def block4(self) -> int:
        """Length of the IPv4 networks that a cluster is given at once."""
        return self.subnet4 - _BLOCK

    @property
    def block6(self) -> int:
        """The same of IPv6."""
        return SUBNET6 - _BLOCK

    def nodes_of(self, version: int) -> list[Network]:
        """What is for instances, of one family."""
        return _of(self.nodes, version)

    def services_of(self, version: int) -> list[Network]:
        """What is for services, of one family."""
        return _of(self.services, version)


def layout_of(nodes: str = NODES, services: str = SERVICES, subnet4: int = SUBNET4) -> Layout:
    """A layout from text such as `10.18.0.0-10.29.255.255,fdff::/48`.

    Raises ValueError, which says of which of the two.
    """
    found = []
    for what, text in (("nodes", nodes), ("services", services)):
        try:
            found.append(networks_in(text))
        except ValueError as error:
            raise ValueError(f"{what}: {error}") from None
    layout = Layout(found[0], found[1], subnet4)
    if not 16 <= subnet4 <= 29:
        raise ValueError(f"subnet: a network of length {subnet4} for one node is not between 16 and 29")
    for one in layout.nodes:
        for other in layout.services:
            if one.version == other.version and one.overlaps(other):
                raise ValueError(f"services: {other} overlaps {one}, which is for instances")
    for version, block in ((4, layout.block4), (6, layout.block6)):
        networks = layout.nodes_of(version)
        if networks and not any(network.prefixlen <= block for network in networks):
            raise ValueError(f"nodes: none of the IPv{version} networks has room for one cluster (a /{block})")
    return layout


def contains(networks: Sequence[Network], address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address is in one of them."""
    return any(address in network for network in networks if network.version == address.version)


def _of(networks: Sequence[Network], version: int) -> list[Network]:
    return [network for network in networks if network.version == version]
