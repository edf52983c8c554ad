"""Who has which addresses: pieces of ranges, given out so that no two owners' overlap. Pure; owners keep them on disk.

The root cuts its ranges into blocks for clusters, a cluster its blocks into subnets for nodes, and a node takes single
addresses out of its subnets.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from mangrove.network.plan import Grant

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: Addresses at the begin of a node's subnet that no instance gets: the network's own, and the node's, by which its
#: instances reach all others.
RESERVED = 2


def networks_in(text: str) -> tuple[Network, ...]:
    """The networks of a range: `10.18.0.0-10.29.255.255`, `fdff::/48`, or several with commas. Raises ValueError."""
    found: list[Network] = []
    for part in (part.strip() for part in text.split(",")):
        first, dash, last = part.partition("-")
        if not part:
            continue
        if dash:
            begin, end = ipaddress.ip_address(first.strip()), ipaddress.ip_address(last.strip())
            if begin.version != end.version or int(begin) > int(end):
                raise ValueError(f"{part[:80]!r} does not end behind its begin")
            found += ipaddress.summarize_address_range(begin, end)
        else:
            found.append(ipaddress.ip_network(part))
    for place, network in enumerate(found):
        if any(network.version == other.version and network.overlaps(other) for other in found[:place]):
            raise ValueError(f"{network} is in it twice")
    return tuple(found)


class Pool:
    """Equal pieces of networks of one family, and how many owners each piece has.

    networks: not overlapping. prefix: length of a piece; a network that is smaller than a piece gives none.
    """

    def __init__(self, networks: Iterable[Network], prefix: int) -> None:
        self._networks = [network for network in networks if network.prefixlen <= prefix]
        self._prefix = prefix
        self._counts = [1 << (prefix - network.prefixlen) for network in self._networks]
        self._owners: Counter[int] = Counter()
        self._next = 0
        #: How many pieces there are in all.
        self.size = sum(self._counts)

    @property
    def free(self) -> int:
        """How many pieces nobody has."""
        return self.size - len(self._owners)

    def take(self) -> Network | None:
        """A piece that nobody has, behind the one that was taken last; None when all are taken."""
        if not self.free:
            return None
        while self._next in self._owners:
            self._next = (self._next + 1) % self.size
        taken = self._next
        self._owners[taken] += 1
        self._next = (taken + 1) % self.size
        return self._piece(taken)

    def hold(self, network: Network) -> None:
        """Count somebody's network, of whatever size and from wherever, as taken; the next piece is one behind it."""
        indexes = self._indexes(network)
        self._owners.update(indexes)
        if indexes:
            self._next = (indexes[-1] + 1) % self.size

    def release(self, network: Network) -> None:
        """An owner of this network has it no more."""
        for index in self._indexes(network):
            self._owners[index] -= 1
            if self._owners[index] <= 0:
                del self._owners[index]

    def is_free(self, network: Network) -> bool:
        """Whether it is a piece or within one, and nobody has any part of that."""
        if network.prefixlen < self._prefix:
            return False
        indexes = self._indexes(network)
        return len(indexes) > 0 and not any(index in self._owners for index in indexes)

    def _piece(self, index: int) -> Network:
        for network, count in zip(self._networks, self._counts, strict=True):
            if index < count:
                start = int(network.network_address) + (index << (network.max_prefixlen - self._prefix))
                return type(network)((start, self._prefix))
            index -= count
        raise IndexError(index)

    def _indexes(self, network: Network) -> range:
        """The pieces that a network overlaps: as far as ours are concerned, these lie next to each other."""
        found: list[int] = []
        before = 0
        for each, count in zip(self._networks, self._counts, strict=True):
            if each.version == network.version and each.overlaps(network):
                shift = each.max_prefixlen - self._prefix
                begin, end = int(each.network_address), int(each.broadcast_address)
                first = max(int(network.network_address), begin) - begin >> shift
                last = min(int(network.broadcast_address), end) - begin >> shift
                found += [before + first, before + last]
            before += count
        return range(found[0], found[-1] + 1) if found else range(0)


class Grants:
    """Who has which grant of a parent's addresses.

    ipv4, ipv6: what there is to give, each may be empty. prefix4, prefix6: lengths of what one grant has of them.
    """

    def __init__(self, ipv4: Sequence[Network], ipv6: Sequence[Network], prefix4: int, prefix6: int) -> None:
        self._pools = tuple(Pool(networks, prefix) for networks, prefix in ((ipv4, prefix4), (ipv6, prefix6)))
        self._has = (bool(ipv4), bool(ipv6))
        self._owner: dict[Grant, str] = {}
        self._of: dict[str, list[Grant]] = {}

    @property
    def owners(self) -> dict[Grant, str]:
        """By grant; not to be changed."""
        return self._owner

    @property
    def free(self) -> int:
        """How many more can be given."""
        return min((pool.free for pool, has in zip(self._pools, self._has, strict=True) if has), default=0)

    def of(self, owner: str) -> list[Grant]:
        """What one owner has."""
        return list(self._of.get(owner, ()))

    def covers(self, owner: str, text: str) -> bool:
        """Whether an address or a network lies within what one owner has. Raises ValueError for what is neither."""
        network = ipaddress.ip_network(text)
        mine = (
            ipaddress.ip_network(mine) for grant in self._of.get(owner, ()) for mine in (grant.ipv4, grant.ipv6) if mine
        )
        return any(_within(network, other) for other in mine)

    def give(self, owner: str) -> Grant | None:
        """One more for this owner; None when there are no more."""
        if not self.free:
            return None
        pieces = [pool.take() if has else None for pool, has in zip(self._pools, self._has, strict=True)]
        grant = Grant(*("" if piece is None else str(piece) for piece in pieces))
        self._note(owner, grant)
        return grant

    def restore(self, owner: str, grant: Grant) -> None:
        """It was given before, by whatever ranges there were then."""
        self._note(owner, grant)
        for pool, network in self._parts(grant):
            pool.hold(network)

    def adopt(self, owner: str, grant: Grant) -> bool:
        """Let an owner keep what it says it has, if it is ours to give and nobody else's; whether it may."""
        parts = self._parts(grant)
        if grant in self._owner or not parts or not all(pool.is_free(network) for pool, network in parts):
            return self._owner.get(grant) == owner
        self.restore(owner, grant)
        return True

    def take_back(self, grant: Grant) -> None:
        """Nobody has it any more."""
        owner = self._owner.pop(grant)
        self._of[owner].remove(grant)
        if not self._of[owner]:
            del self._of[owner]
        for pool, network in self._parts(grant):
            pool.release(network)

    def _note(self, owner: str, grant: Grant) -> None:
        if grant not in self._owner:
            self._of.setdefault(owner, []).append(grant)
        self._owner[grant] = owner

    def _parts(self, grant: Grant) -> list[tuple[Pool, Network]]:
        texts = (grant.ipv4, grant.ipv6)
        return [(pool, ipaddress.ip_network(text)) for pool, text in zip(self._pools, texts, strict=True) if text]


def _within(network: Network, other: Network) -> bool:
    if isinstance(network, ipaddress.IPv4Network):
        return isinstance(other, ipaddress.IPv4Network) and network.subnet_of(other)
    return isinstance(other, ipaddress.IPv6Network) and network.subnet_of(other)


class Hosts:
    """Chooses addresses for a node's instances. The one behind the last is taken first, so that one that was given back
    is used again as late as possible."""

    def __init__(self) -> None:
        self._last = ("", "")

    def choose(self, grants: Sequence[Grant], taken: Collection[str]) -> tuple[str, str] | None:
        """An IPv4 and an IPv6 address of one of the grants that are not among `taken`, or None when there are no more.

        Both have the same number in their networks; either is empty when the grant has none of its family.
        """
        candidates = [(grant, number) for grant in grants for number in _numbers(grant)]
        pairs = [_pair(grant, number) for grant, number in candidates]
        behind = pairs.index(self._last) + 1 if self._last in pairs else 0
        for pair in pairs[behind:] + pairs[:behind]:
            if not any(address in taken for address in pair if address):
                self._last = pair
                return pair
        return None


def _numbers(grant: Grant) -> range:
    """Numbers of the addresses that instances can have: a node never runs thousands, however large its network is."""
    sizes = [ipaddress.ip_network(text).num_addresses for text in (grant.ipv4, grant.ipv6) if text]
    return range(RESERVED, min([*sizes, _MOST]) - 1) if sizes else range(0)


#: Numbers looked at in one grant.
_MOST = 1024


def _pair(grant: Grant, number: int) -> tuple[str, str]:
    ipv4, ipv6 = (str(ipaddress.ip_network(text)[number]) if text else "" for text in (grant.ipv4, grant.ipv6))
    return ipv4, ipv6
