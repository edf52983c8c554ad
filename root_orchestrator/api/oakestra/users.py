"""Accounts at Oakestra's paths: registering, listing, changing and removing users, and what each may know of others."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from flask import Blueprint, request
from werkzeug.exceptions import NotImplemented as NotImplementedHere

from mangrove.base.errors import Forbidden, InvalidInput, NotFound, Unauthorized
from mangrove.model.documents import Organization, User
from mangrove.model.validation import shown
from mangrove.roles.web import read_body
from root_orchestrator.api.oakestra.documents import Json, user_document
from root_orchestrator.auth.accounts import Accounts
from root_orchestrator.auth.credentials import Credentials
from root_orchestrator.auth.guard import admin_only, caller, open_to_all
from root_orchestrator.auth.users import Users, known_roles

#: Names stand in paths, so no slash; the first character keeps `.` and `..` out.
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}\Z")]

#: Nothing, or something with an @ inside; 254 is the longest address that mail can carry.
Email = Annotated[str, msgspec.Meta(pattern=r"^([^\s\x00-\x1f\x7f@]+@[^\s\x00-\x1f\x7f@]+)?\Z", max_length=254)]


class Registration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new user. Clients also send when they made it, and an empty id: both are made here."""

    name: Name
    password: str
    email: Email = ""
    roles: list[str] = []
    created_at: Any = None
    id: Any = msgspec.field(default=None, name="_id")


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What Admin changes of a user; what is missing or null stays. Clients send back the whole document."""

    email: Email | None = None
    roles: list[str] | None = None
    password: str | None = None
    name: str | None = None
    created_at: Any = None
    id: dict[str, Any] | None = msgspec.field(default=None, name="_id")


class PasswordChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a user sends to have another password."""

    old: str = msgspec.field(name="oldPassword")
    new: str = msgspec.field(name="newPassword")


def routes(users: Users, credentials: Credentials, accounts: Accounts) -> Blueprint:
    """Register, list, show, change and remove users; change one's own password."""
    blueprint = Blueprint("users", __name__)

    @blueprint.post("/api/auth/register")
    @admin_only
    def register() -> Json:
        sent = read_body(Registration)
        roles = known_roles(sent.roles, "roles")
        hashed = credentials.hashed(sent.password, "password")
        return user_document(accounts.register(caller().organization, sent.name, sent.email, hashed, roles), roles)

    @blueprint.get("/api/users")
    @admin_only
    def everybody() -> list[Json]:
        home = organization(caller().organization)
        return [user_document(user, home.roles_of(user.id) or ()) for user in users.everybody()]

    @blueprint.get("/api/users/<organization_id>")
    @admin_only
    def members(organization_id: str) -> list[Json]:
        home = organization(organization_id)
        roles = ((user, home.roles_of(user.id)) for user in users.everybody())
        return [user_document(user, held) for user, held in roles if held is not None]

    @blueprint.get("/api/user/<name>")
    def show(name: str) -> Json:
        return user_document(*known(name))

    @blueprint.get("/api/permission/<name>")
    def permission(name: str) -> Json:
        return {"roles": list(known(name)[1])}

    @blueprint.post("/api/user/<name>")
    def change_password(name: str) -> Json:
        if name != caller().name:
            raise Forbidden("You have not enough permissions! You may only change your own password")
        sent = read_body(PasswordChange)
        if sent.new == sent.old:
            raise InvalidInput("newPassword", "is the old one; choose another")
        try:
            user = credentials.user(name, sent.old, request.remote_addr or "")
        except Unauthorized:
            raise InvalidInput("oldPassword", "is not your password") from None
        accounts.change_password(user, credentials.hashed(sent.new, "newPassword"))
        return {"message": "Password is changed; sign in anew everywhere"}

    @blueprint.put("/api/user/<name>")
    @admin_only
    def change(name: str) -> Json:
        user, _ = known(name)
        sent = read_body(Change)
        if sent.name not in (None, name):
            raise InvalidInput("name", f"is {shown(sent.name)}, but a user keeps their name; leave it out")
        if sent.id not in (None, {"$oid": user.id}):
            raise InvalidInput("_id", f"is {shown(sent.id)}, but a user keeps their id; leave it out")
        if sent.password and name == caller().name:
            raise InvalidInput("password", f"is your own; send oldPassword and newPassword by POST /api/user/{name}")
        accounts.change(
            caller().organization,
            name,
            email=sent.email,
            roles=None if sent.roles is None else known_roles(sent.roles, "roles"),
            password=credentials.hashed(sent.password, "password") if sent.password else None,
        )
        return user_document(*known(name))

    @blueprint.delete("/api/user/<name>")
    @admin_only
    def delete(name: str) -> Json:
        accounts.delete(caller(), name)
        return {"message": "User deleted"}

    @blueprint.post("/api/user")
    @open_to_all  # who asks for it cannot sign in
    def ask_for_reset() -> Json:
        raise NotImplementedHere("no mail is sent here; ask an Admin to give you a new password")

    @blueprint.put("/api/user")
    @open_to_all
    def reset() -> Json:
        raise NotImplementedHere("no passwords are reset by mail here; ask an Admin to give you a new one")

    def organization(id: str) -> Organization:
        found = users.organization(id)
        if found is None:
            raise NotFound(f"there is no organization {shown(id)}; GET /api/organization lists them")
        return found

    def known(name: str) -> tuple[User, tuple[str, ...]]:
        """A user whom the caller may ask about, with the roles in the caller's organization."""
        me = caller()
        if name != me.name and not me.is_admin:
            raise Forbidden("You have not enough permissions! You may only ask about yourself")
        found = users.named(name)
        if found is None:
            raise NotFound(f"there is no user {shown(name)}")
        return found, organization(me.organization).roles_of(found.id) or ()

    return blueprint
