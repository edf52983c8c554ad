"""Whether a plan makes sense. It is data from elsewhere: what of it came into nft's words or the kernel's hands must be
what it says it is."""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from mangrove.base.errors import InvalidInput
from mangrove.network.door import Attach
from mangrove.network.plan import Grant, LocalInstance, NodePlan, ServiceEntry

#: Ids of attempts and services: ours are of letters and digits, and nothing else may come into a name or an alias.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
#: Entries of a kind: ten times what one node was measured with.
_MOST = 100_000
_KINDS = ("peers", "services", "endpoints", "instances")
_PORTS = range(1, 65536)

_Shape = TypeVar("_Shape", bound=msgspec.Struct)


def read_plan(path: Path, known: NodePlan | None = None) -> NodePlan | None:
    """The plan in a file; None when there is none. known: the plan before, which was checked. Raises InvalidInput,
    OSError."""
    try:
        plan = msgspec.json.decode(path.read_bytes(), type=NodePlan)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(str(path), f"it is no plan: {error}") from None
    return checked(plan, known)


def checked(plan: NodePlan, known: NodePlan | None = None) -> NodePlan:
    """The plan, made of the known one's entries wherever these are the same: only others are checked, and later ones
    are told apart at a glance. Raises InvalidInput for the first thing that is wrong with it."""
    known = known or NodePlan(plan.node)
    kept = {kind: _kept(getattr(plan, kind), getattr(known, kind)) for kind in _KINDS}
    plan = msgspec.structs.replace(plan, **kept)
    for kind in _KINDS:
        if len(getattr(plan, kind)) > _MOST:
            raise InvalidInput(kind, f"there are {len(getattr(plan, kind))}; at most {_MOST} are taken")
    for kind, networks in (("ranges.nodes", plan.ranges.nodes), ("ranges.services", plan.ranges.services)):
        _apart(kind, networks)
    _apart("grants", [text for grant in plan.grants for text in (grant.ipv4, grant.ipv6) if text])
    for index, grant in enumerate(plan.grants):
        _grant(f"grants[{index}]", grant)
    for id, peer in _new(plan.peers, known.peers):
        _same(f"peers.{id}", id, peer.node)
        for text in peer.networks:
            _network(f"peers.{id}.networks", text)
        for text in peer.underlay:
            _address(f"peers.{id}.underlay", text)
    for id, service in _new(plan.services, known.services):
        _same(f"services.{id}", id, service.service)
        _service(f"services.{id}", service)
    for id, endpoint in _new(plan.endpoints, known.endpoints):
        _same(f"endpoints.{id}", id, endpoint.attempt)
        _addresses(f"endpoints.{id}", endpoint.ipv4, endpoint.ipv6)
    for id, instance in _new(plan.instances, known.instances):
        _same(f"instances.{id}", id, instance.attempt)
        _instance(f"instances.{id}", instance)
    return plan


def _kept(entries: dict[str, _Shape], known: dict[str, _Shape]) -> dict[str, _Shape]:
    return {id: before if (before := known.get(id)) == entry else entry for id, entry in entries.items()}


def _new(entries: dict[str, _Shape], known: dict[str, _Shape]) -> Iterator[tuple[str, _Shape]]:
    return ((id, entry) for id, entry in entries.items() if known.get(id) is not entry)


def checked_attach(request: Attach, plan: NodePlan) -> Attach:
    """The request. Raises InvalidInput, also for an address that this node was not granted or that another has."""
    _id("attempt", request.attempt)
    _id("service", request.service)
    _addresses("attach", request.ipv4, request.ipv6)
    if not request.ipv4 and not request.ipv6:
        raise InvalidInput("ipv4", "empty, like ipv6: an interface without an address is of no use")
    granted = [ipaddress.ip_network(text) for grant in plan.grants for text in (grant.ipv4, grant.ipv6) if text]
    for field, text in (("ipv4", request.ipv4), ("ipv6", request.ipv6)):
        if text and not any(ipaddress.ip_address(text) in network for network in granted):
            raise InvalidInput(field, f"{text} is not in this node's {', '.join(map(str, granted)) or 'no grants'}")
    return request


def _grant(field: str, grant: Grant) -> None:
    for text, version in ((grant.ipv4, 4), (grant.ipv6, 6)):
        if text and _network(field, text).version != version:
            raise InvalidInput(f"{field}.ipv{version}", f"{text!r} is of the other family")


def _service(field: str, service: ServiceEntry) -> None:
    for where in service.addresses:
        _address(f"{field}.addresses", where.address)
    for egress in service.egress or ():
        _network(f"{field}.egress.network", egress.network)
        if egress.port and egress.port not in _PORTS:
            raise InvalidInput(f"{field}.egress.port", f"{egress.port} is not a port")


def _instance(field: str, instance: LocalInstance) -> None:
    _addresses(field, instance.ipv4, instance.ipv6)
    for port in instance.ports:
        for number in (port.host, port.container):
            if number not in _PORTS:
                raise InvalidInput(f"{field}.ports", f"{number} is not a port")


def _addresses(field: str, ipv4: str, ipv6: str) -> None:
    for name, text, version in (("ipv4", ipv4, 4), ("ipv6", ipv6, 6)):
        if text and _address(f"{field}.{name}", text).version != version:
            raise InvalidInput(f"{field}.{name}", f"{text!r} is of the other family")


def _address(field: str, text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise InvalidInput(field, f"{text[:80]!r} is not an address") from None
    if str(address) != text:
        raise InvalidInput(field, f"{text[:80]!r} is to be written {address}")
    return address


def _network(field: str, text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise InvalidInput(field, f"{text[:80]!r} is not a network: {error}") from None
    if str(network) != text:
        raise InvalidInput(field, f"{text[:80]!r} is to be written {network}")
    return network


def _apart(field: str, texts: Iterable[str]) -> None:
    networks = sorted((_network(field, text) for text in texts), key=lambda it: (it.version, it))
    for one, other in itertools.pairwise(networks):
        if one.version == other.version and one.overlaps(other):
            raise InvalidInput(field, f"{one} and {other} overlap")


def _same(field: str, key: str, id: str) -> None:
    if key != id:
        raise InvalidInput(field, f"stands there for {id[:80]!r}")
    _id(field, id)


def _id(field: str, id: str) -> None:
    if not _ID.fullmatch(id):
        raise InvalidInput(field, f"{id[:80]!r} is not an id of letters, digits, '.', '_' and '-'")
