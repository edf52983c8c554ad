"""What a user declares, once it is read and found right: in our words, not yet written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mangrove.model.specification import Specification


@dataclass(frozen=True, slots=True)
class DeclaredService:
    """A service as it was read: what to run, and what was declared, as it came."""

    name: str
    namespace: str
    specification: Specification
    declared: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DeclaredApplication:
    """An application as it was read. id: as the user wrote it; empty for a new one."""

    id: str
    name: str
    namespace: str
    description: str
    services: tuple[DeclaredService, ...]
