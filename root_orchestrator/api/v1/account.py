"""Who the caller is."""

from __future__ import annotations

import msgspec

from mangrove.roles.routes import Route
from root_orchestrator.auth.guard import caller
from root_orchestrator.auth.rules import OWN_ACCOUNT
from root_orchestrator.auth.users import Users


class OrganizationName(msgspec.Struct, frozen=True):
    """An organization."""

    id: str
    name: str


class Me(msgspec.Struct, frozen=True):
    """Who asks. roles: in the organization of this login."""

    id: str
    name: str
    organization: OrganizationName
    roles: tuple[str, ...]


def routes(users: Users) -> list[Route]:
    """See the module."""

    def me() -> Me:
        asker = caller()
        organization = users.organization(asker.organization)
        name = organization.name if organization is not None else ""
        return Me(asker.id, asker.name, OrganizationName(asker.organization, name), asker.roles)

    return [Route("GET", "/api/v1/me", me, OWN_ACCOUNT, "Show who the caller is")]
