"""What a user declares, once it is read and found right: in our words, not yet written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mangrove.model.documents import Mode
from mangrove.model.network import UNWIRED, Policy, Wiring
from mangrove.model.specification import Specification


@dataclass(frozen=True, slots=True)
class AddressWish:
    """An address that a service is to have. version: 4 or 6. address: which; empty: any that is free. number: of the
    instance that it leads to, with the policy `instance`. field: where the user wrote it."""

    policy: Policy
    version: int
    address: str = ""
    number: int | None = None
    field: str = ""


#: What each service has at least.
DEFAULT_WISHES = (AddressWish("round_robin", 4), AddressWish("round_robin", 6))


@dataclass(frozen=True, slots=True)
class DeclaredService:
    """A service as it was read: what to run, and what was declared, as it came; its addresses, and how it is wired.

    mode: see `Service`.
    """

    name: str
    namespace: str
    specification: Specification
    declared: dict[str, Any]
    addresses: tuple[AddressWish, ...] = DEFAULT_WISHES
    wiring: Wiring = UNWIRED
    mode: Mode = "replicated"


@dataclass(frozen=True, slots=True)
class DeclaredApplication:
    """An application as it was read. id: as the user wrote it; empty for a new one."""

    id: str
    name: str
    namespace: str
    description: str
    services: tuple[DeclaredService, ...]
