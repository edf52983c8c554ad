"""Organizations at Oakestra's paths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from flask import Blueprint

from mangrove.base.errors import InvalidInput
from mangrove.model.documents import Member, Organization
from mangrove.model.validation import shown
from mangrove.roles.web import read_body
from root_orchestrator.api.oakestra.documents import Json, object_id
from root_orchestrator.auth.accounts import Accounts
from root_orchestrator.auth.guard import admin_only
from root_orchestrator.auth.users import Users, known_roles

#: Up to 64 characters for people to read, without blanks around them.
Name = Annotated[str, msgspec.Meta(pattern=r"^[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]{0,62}[^\s\x00-\x1f\x7f])?\Z")]


class RoleEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A member, by user id, and what they may do."""

    user_id: str
    roles: list[str] = []


class Creation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new organization. Some clients send an empty id, which counts for nothing."""

    name: Name
    member: list[RoleEntry] = []
    id: Any = msgspec.field(default=None, name="_id")


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A changed organization; what is missing or null stays. Clients send back the whole document."""

    name: Name | None = None
    member: list[RoleEntry] | None = None
    id: dict[str, Any] | None = msgspec.field(default=None, name="_id")


def routes(users: Users, accounts: Accounts) -> Blueprint:
    """List, create, change and remove; for Admin alone."""
    blueprint = Blueprint("organizations", __name__)

    @blueprint.get("/api/organization")
    @admin_only
    def everyone() -> list[Json]:
        return [organization_document(organization) for organization in users.organizations()]

    @blueprint.post("/api/organization")
    @admin_only
    def create() -> Json:
        sent = read_body(Creation)
        # What is answered becomes the `_id` of what the dashboard then shows.
        return object_id(accounts.create_organization(sent.name, _members(sent.member)).id)

    @blueprint.put("/api/organization/<id>")
    @admin_only
    def change(id: str) -> Json:
        sent = read_body(Change)
        if sent.id not in (None, object_id(id)):
            raise InvalidInput("_id", f"is {shown(sent.id)}, but an organization keeps its id; leave it out")
        accounts.change_organization(id, sent.name, None if sent.member is None else _members(sent.member))
        return {"message": "Organization is updated"}

    @blueprint.delete("/api/organization/<id>")
    @admin_only
    def delete(id: str) -> Json:
        accounts.delete_organization(id)
        return {"message": "Organization deleted"}

    return blueprint


def organization_document(organization: Organization) -> Json:
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
