"""Which service has which address in the network between services.

Each address is a document of its own, written with the service in one batch that fails when it is there already: no two
services get one, however many copies of the API there are.
"""

from __future__ import annotations

import ipaddress
import logging
import random
from collections.abc import Iterable, Sequence

import msgspec

from mangrove.base.errors import Conflict, InvalidInput
from mangrove.model.documents import SERVICE_ADDRESSES, SERVICES, Service
from mangrove.model.network import ServiceAddress
from mangrove.model.validation import shown
from mangrove.network.addresses import Network
from mangrove.network.layout import Layout, contains
from mangrove.store.interface import ABSENT, Delete, Operation, Put, RevisionConflict, Store
from root_orchestrator.api.declared import DEFAULT_WISHES, AddressWish

log = logging.getLogger(__name__)

#: Free addresses are guessed: of so many guesses one is free as long as nine of ten addresses are not.
_GUESSES = 16
#: Free addresses that people are shown.
_SHOWN = 5
#: Ranges no larger than this are looked through when no guess was right.
_COUNTED = 1 << 20


class ServiceAddresses:
    """layout: where services have their addresses; None: there is no network, and nobody gets any."""

    def __init__(self, store: Store, layout: Layout | None, rng: random.Random | None = None) -> None:
        self._store = store
        self._layout = layout
        self._rng = rng or random.SystemRandom()

    @property
    def layout(self) -> Layout | None:
        """None: there is no network."""
        return self._layout

    def settle(
        self, service: str, current: Sequence[ServiceAddress], wishes: Sequence[AddressWish], taken: set[str]
    ) -> tuple[tuple[ServiceAddress, ...], list[Operation]]:
        """The addresses that a service is to have, and what to write for that.

        current: what it has. What is wished for without naming an address stays as it is. taken: addresses that others
        of the same batch get; the new ones are added. Raises InvalidInput for an address outside the range, Conflict
        for one that a service has, and when there are none left.
        """
        if self._layout is None:
            return tuple(current), []
        had = {(each.policy, _version(each.address), each.number): each for each in current}
        chosen: list[ServiceAddress] = []
        operations: list[Operation] = []
        for wish in wishes:
            key = (wish.policy, wish.version, wish.number)
            before = had.get(key)
            if before is not None and wish.address in ("", before.address):
                chosen.append(before)
                del had[key]
                continue
            networks = self._layout.services_of(wish.version)
            if not wish.address and not networks:
                continue  # there are none of this family
            address = self._wished(wish, networks, taken) if wish.address else self._free(networks, taken)
            taken.add(address)
            operations.append(Put(SERVICE_ADDRESSES, address, {"service": service}, ABSENT))
            chosen.append(ServiceAddress(address, wish.policy, wish.number))
        released = [Delete(SERVICE_ADDRESSES, each.address) for each in had.values()]
        return tuple(chosen), [*released, *operations]

    def release(self, addresses: Iterable[ServiceAddress]) -> list[Operation]:
        """What to write when a service is no more."""
        return [Delete(SERVICE_ADDRESSES, each.address) for each in addresses]

    def complete(self) -> None:
        """Give addresses to services that have none, since they are older than the network."""
        if self._layout is None:
            return
        for stored in self._store.load(SERVICES):
            service = stored.read(Service)
            if service.addresses:
                continue
            try:
                addresses, operations = self.settle(service.id, (), DEFAULT_WISHES, set())
                if addresses:
                    given = msgspec.structs.replace(service, addresses=addresses)
                    self._store.apply(
                        [*operations, Put(SERVICES, service.id, msgspec.to_builtins(given), stored.revision)]
                    )
            except (Conflict, RevisionConflict) as error:
                log.warning("service %s gets no address now: %s", service.id, error)

    def some_free(self) -> list[str]:
        """Some addresses that no service has now, for people who want to choose; fewer when few are left."""
        networks = self._layout.services_of(4) or self._layout.services_of(6) if self._layout is not None else []
        guesses = [self._guess(networks) for _ in range(_GUESSES)] if networks else []
        known = self._store.get_many(SERVICE_ADDRESSES, guesses)
        return sorted({guess for guess in guesses if guess not in known}, key=ipaddress.ip_address)[:_SHOWN]

    def _wished(self, wish: AddressWish, networks: Sequence[Network], taken: set[str]) -> str:
        address = ipaddress.ip_address(wish.address)
        if not contains(networks, address):
            there = ", ".join(map(str, networks)) or f"no range of IPv{wish.version}"
            raise InvalidInput(wish.field, f"is {shown(wish.address)}; choose an address in {there}, or leave it out")
        text = str(address)
        stored = self._store.get(SERVICE_ADDRESSES, text)
        if stored is not None or text in taken:
            whose = f"service {stored.document['service']}" if stored is not None else "another one of this SLA"
            raise Conflict(f"{wish.field}: {text} is the address of {whose}; choose another one, or leave it out")
        return text

    def _free(self, networks: Sequence[Network], taken: set[str]) -> str:
        guesses = [self._guess(networks) for _ in range(_GUESSES)]
        known = self._store.get_many(SERVICE_ADDRESSES, guesses)
        for guess in guesses:
            if guess not in known and guess not in taken:
                return guess
        if sum(network.num_addresses for network in networks) <= _COUNTED:
            gone = taken | {stored.id for stored in self._store.load(SERVICE_ADDRESSES)}
            left = [text for network in networks for host in network.hosts() if (text := str(host)) not in gone]
            if left:
                return self._rng.choice(left)
        there = ", ".join(map(str, networks))
        raise Conflict(
            f"addresses: all addresses for services are taken ({there}): delete services, or give the root more with "
            "--network-services"
        )

    def _guess(self, networks: Sequence[Network]) -> str:
        """Neither the first nor the last address of a network."""
        (network,) = self._rng.choices(networks, [each.num_addresses for each in networks])
        last = network.num_addresses - 1
        return str(network[self._rng.randint(min(1, last), max(min(1, last), last - 1))])


def _version(address: str) -> int:
    return ipaddress.ip_address(address).version
