"""Addresses of this node's instances in the network between services, out of what its cluster has granted it."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Sequence

from mangrove.network.addresses import Hosts
from mangrove.network.plan import Grant
from mangrove.reconcile.child import Record


class Addresses:
    """grants: what there is now; none when the node takes no part in the network."""

    def __init__(self, grants: Callable[[], Sequence[Grant]]) -> None:
        self._ask = grants
        self._grants: tuple[Grant, ...] = ()
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        self._hosts = Hosts()

    def changed(self) -> bool:
        """Whether there are other grants than at the last call."""
        grants = tuple(self._ask())
        if grants == self._grants:
            return False
        self._grants = grants
        self._networks = [ipaddress.ip_network(text) for grant in grants for text in (grant.ipv4, grant.ipv6) if text]
        return True

    @property
    def available(self) -> bool:
        """Whether there are any."""
        return bool(self._grants)

    def has(self, record: Record) -> bool:
        """Whether it has addresses, and they are this node's."""
        texts = [text for text in (record.ipv4, record.ipv6) if text]
        return bool(texts) and all(
            any(ipaddress.ip_address(text) in network for network in self._networks) for text in texts
        )

    def choose(self, taken: Collection[str]) -> tuple[str, str] | None:
        """An IPv4 and an IPv6 address that are not among `taken`; None when there are no more."""
        return self._hosts.choose(self._grants, taken)
