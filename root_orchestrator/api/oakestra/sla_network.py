"""What an SLA's fields about the network between services mean: addresses, whom it may connect to."""

from __future__ import annotations

import ipaddress

from mangrove.base.errors import InvalidInput
from mangrove.model.network import Egress, Policy, Wiring
from mangrove.model.validation import shown
from root_orchestrator.api.declared import AddressWish
from root_orchestrator.api.oakestra import sla_form as form

#: For any address that is free.
AUTO = "auto"
#: For no connection to outside at all.
NOWHERE = "none"
#: Addresses of single instances that one service may have: each is an entry in the plans of many nodes.
_INSTANCES = 256

#: Field of the form → policy, and whether a service has such an address though nobody asks for it.
_POLICIES: tuple[tuple[str, Policy, bool], ...] = (
    ("rr_ip", "round_robin", True),
    ("closest_ip", "closest", False),
    ("least_loaded_ip", "least_loaded", False),
)


def wishes_of(addresses: form.Addresses | None, path: str) -> tuple[AddressWish, ...]:
    """The addresses that a service is to have. Raises InvalidInput."""
    wanted = addresses or form.Addresses()
    wishes: list[AddressWish] = []
    for name, policy, always in _POLICIES:
        for version, suffix in ((4, ""), (6, "_v6")):
            text, other = getattr(wanted, name + suffix), getattr(wanted, name + ("" if suffix else "_v6"))
            if not (text or always or other == AUTO):
                continue
            chosen = "" if text in ("", AUTO) else str(_address(text, version, f"{path}.{name}{suffix}"))
            wishes.append(AddressWish(policy, version, chosen, None, f"{path}.{name}{suffix}"))
    for index, some in enumerate(wanted.instances):
        wishes += _of_instances(some, f"{path}.instances[{index}]")
    _check(wishes)
    return tuple(wishes)


def wiring_of(service: form.Microservice, path: str) -> Wiring:
    """Whom a service may connect to. Raises InvalidInput."""
    targets = [each.target_microservice_id.strip() for each in service.connectivity]
    return Wiring(
        tuple(dict.fromkeys(target for target in targets if target)),
        service.addresses.client_affinity if service.addresses is not None else 0.0,
        _all_egress(service.egress, f"{path}.egress"),
    )


def _all_egress(texts: list[str], path: str) -> tuple[Egress, ...] | None:
    if not texts:
        return None
    return () if texts == [NOWHERE] else tuple(_egress(text, f"{path}[{index}]") for index, text in enumerate(texts))


def _of_instances(some: form.InstanceAddresses, path: str) -> list[AddressWish]:
    first = _address(some.from_, None, f"{path}.from")
    last = _address(some.to, first.version, f"{path}.to") if some.to else first
    count = int(last) - int(first) + 1
    if not 1 <= count <= _INSTANCES:
        problem = f"is {shown(some.to)}, which is {count} addresses from {first} on; write 1 to {_INSTANCES} of them"
        raise InvalidInput(f"{path}.to", problem)
    return [
        AddressWish("instance", first.version, str(first + place), some.start + place, f"{path}.from")
        for place in range(count)
    ]


def _check(wishes: list[AddressWish]) -> None:
    """No address is wished for twice, nor two of a kind for one instance."""
    seen: set[object] = set()
    instances = [wish for wish in wishes if wish.policy == "instance"]
    if len(instances) > _INSTANCES:
        problem = f"{len(instances)} addresses for single instances; write at most {_INSTANCES}"
        raise InvalidInput(instances[0].field, problem)
    for wish in wishes:
        if wish.address and wish.address in seen:
            raise InvalidInput(wish.field, f"{wish.address} is there twice; choose another one for one of them")
        key = (wish.policy, wish.version, wish.number)
        if key in seen:
            raise InvalidInput(wish.field, f"instance {wish.number} has two IPv{wish.version} addresses; leave one out")
        seen |= {wish.address, key}


def _address(text: str, version: int | None, path: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        raise InvalidInput(path, f'{shown(text)} is no address; write one, or "{AUTO}" for any that is free') from None
    if version not in (None, address.version):
        raise InvalidInput(path, f"{shown(text)} is an IPv{address.version} address; write one of IPv{version}")
    return address


def _egress(text: str, path: str) -> Egress:
    """`network[:port][/protocol]`; a network of IPv6 with a port stands in brackets."""
    problem = f"{shown(text)} is none; write a network such as 192.0.2.0/24, or 0.0.0.0/0:443/tcp"
    rest, protocol = text.strip(), ""
    for name in ("tcp", "udp"):
        if rest.endswith(f"/{name}"):
            rest, protocol = rest[: -len(name) - 1], name
    if rest.startswith("["):
        network, _, port = rest[1:].partition("]")
        port = port.removeprefix(":")
    elif rest.count(":") == 1:
        network, _, port = rest.partition(":")
    else:
        network, port = rest, ""
    try:
        found = ipaddress.ip_network(network)
        number = int(port or 0)
    except ValueError as error:
        raise InvalidInput(path, f"{problem} ({error})") from None
    if not 0 <= number <= 65535:
        raise InvalidInput(path, f"{shown(text)}: {number} is no port number; choose one from 1 to 65535")
    return Egress(str(found), "tcp" if protocol == "tcp" else "udp" if protocol == "udp" else "", number)
