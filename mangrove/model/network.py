"""What a user declares of a service's part in the network between services."""

from __future__ import annotations

from typing import Literal

import msgspec

#: How a service's address chooses among instances. `instance`: the one with the address's number.
Policy = Literal["round_robin", "closest", "least_loaded", "instance"]


class ServiceAddress(msgspec.Struct, frozen=True, omit_defaults=True):
    """One address of a service, IPv4 or IPv6. number: of the instance, with the policy `instance`."""

    address: str
    policy: Policy = "round_robin"
    number: int | None = None


class Egress(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where instances may connect to outside of this network. protocol: empty for any; port: 0 for any."""

    network: str
    protocol: Literal["", "tcp", "udp"] = ""
    port: int = 0


class Wiring(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a service is wired to others. reaches: services of other applications that its instances may connect to, each
    by id or by full name; they count when they are of the same owner. affinity: seconds for which a client stays with
    an instance; 0: none. egress: where its instances may connect to outside; None: anywhere.
    """

    reaches: tuple[str, ...] = ()
    affinity: float = 0.0
    egress: tuple[Egress, ...] | None = None


#: Of a service that says nothing.
UNWIRED = Wiring()
