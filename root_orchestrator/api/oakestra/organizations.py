"""Organizations at Oakestra's paths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from mangrove.base.errors import InvalidInput
from mangrove.model.documents import Member, Organization
from mangrove.model.validation import shown
from mangrove.roles.routes import Route
from mangrove.roles.web import Message
from root_orchestrator.api.oakestra.answers import ObjectId, OrganizationDocument
from root_orchestrator.api.oakestra.documents import object_id
from root_orchestrator.auth.accounts import Accounts
from root_orchestrator.auth.guard import caller
from root_orchestrator.auth.rules import ADMINISTER, MANAGE_ACCOUNTS, Scope
from root_orchestrator.auth.users import Users, known_roles

#: Up to 64 characters for people to read, without blanks around them.
Name = Annotated[str, msgspec.Meta(pattern=r"^[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]{0,62}[^\s\x00-\x1f\x7f])?\Z")]


class RoleEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A member, by user id, and what they may do."""

    user_id: str
    roles: list[str] = []


class NewOrganization(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new organization. Some clients send an empty id, which counts for nothing."""

    name: Name
    member: list[RoleEntry] = []
    id: Any = msgspec.field(default=None, name="_id")


class OrganizationChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A changed organization; what is missing or null stays. Clients send back the whole document."""

    name: Name | None = None
    member: list[RoleEntry] | None = None
    id: dict[str, Any] | None = msgspec.field(default=None, name="_id")


def routes(users: Users, accounts: Accounts) -> list[Route]:
    """List, create, change and remove."""

    def reached() -> list[OrganizationDocument]:
        me = caller()
        found = users.organizations()
        return [organization_document(each) for each in found if me.scope == Scope.ALL or each.id == me.organization]

    def create(body: NewOrganization) -> ObjectId:
        # What is answered becomes the `_id` of what the dashboard then shows.
        return object_id(accounts.create_organization(body.name, _members(body.member)).id)

    def change(organization: str, body: OrganizationChange) -> Message:
        if body.id not in (None, object_id(organization)):
            raise InvalidInput("_id", f"is {shown(body.id)}, but an organization keeps its id; leave it out")
        members = None if body.member is None else _members(body.member)
        accounts.change_organization(caller(), organization, body.name, members)
        return {"message": "Organization is updated"}

    def delete(organization: str) -> Message:
        accounts.delete_organization(organization)
        return {"message": "Organization deleted"}

    one = "/api/organization/<organization>"
    return [
        Route("GET", "/api/organization", reached, MANAGE_ACCOUNTS, "List the organizations that one may see"),
        Route(
            "POST",
            "/api/organization",
            create,
            ADMINISTER,
            "Create an organization; answers its id",
            (409,),
            example={"name": "lab", "member": []},
        ),
        Route("PUT", one, change, MANAGE_ACCOUNTS, "Change an organization's name or members", (409,)),
        Route("DELETE", one, delete, ADMINISTER, "Remove an organization, and end the tokens given for it", (409,)),
    ]


def organization_document(organization: Organization) -> OrganizationDocument:
    """An organization with its members."""
    return {
        "_id": object_id(organization.id),
        "name": organization.name,
        "member": [{"user_id": member.user, "roles": list(member.roles)} for member in organization.members],
    }


def _members(entries: Sequence[RoleEntry]) -> list[Member]:
    return [
        Member(entry.user_id, known_roles(entry.roles, f"member[{index}].roles")) for index, entry in enumerate(entries)
    ]
