"""Accounts at Oakestra's paths: registering, listing, changing and removing users, and what each may know of others."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from flask import request

from mangrove.base.errors import Forbidden, InvalidInput, Unauthorized
from mangrove.model.documents import Organization, User
from mangrove.model.validation import shown
from mangrove.roles.routes import OPEN, Route
from mangrove.roles.web import Message
from root_orchestrator.api.oakestra.answers import Roles, UserDocument
from root_orchestrator.api.oakestra.documents import user_document
from root_orchestrator.auth.accounts import Accounts, no_organization, no_user
from root_orchestrator.auth.credentials import Credentials
from root_orchestrator.auth.guard import caller
from root_orchestrator.auth.resets import Resets
from root_orchestrator.auth.rules import MANAGE_ACCOUNTS, OWN_ACCOUNT, READ_ACCOUNTS, Scope
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


class UserChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
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


class ResetRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who forgot their password. domain: counts for nothing, since links lead where the operator says."""

    username: Annotated[str, msgspec.Meta(max_length=256)]
    domain: Annotated[str, msgspec.Meta(max_length=256)] = ""


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new password, with the token that was mailed."""

    token: Annotated[str, msgspec.Meta(max_length=256)]
    password: str


def routes(users: Users, credentials: Credentials, accounts: Accounts, resets: Resets) -> list[Route]:
    """Register, list, show, change and remove users; change one's own password."""

    def register(body: Registration) -> UserDocument:
        roles = known_roles(body.roles, "roles")
        hashed = credentials.hashed(body.password, "password")
        return user_document(accounts.register(caller(), body.name, body.email, hashed, roles), roles)

    def everybody() -> list[UserDocument]:
        home, everyone = existing(caller().organization), caller().scope == Scope.ALL
        held = ((user, home.roles_of(user.id)) for user in users.everybody())
        return [user_document(user, roles or ()) for user, roles in held if everyone or roles is not None]

    def members(organization: str) -> list[UserDocument]:
        home = existing(organization)
        if caller().scope < Scope.ALL and organization != caller().organization:
            raise no_organization(organization)
        roles = ((user, home.roles_of(user.id)) for user in users.everybody())
        return [user_document(user, held) for user, held in roles if held is not None]

    def show(user: str) -> UserDocument:
        return user_document(*known(user))

    def permission(user: str) -> Roles:
        return {"roles": list(known(user)[1])}

    def change_password(user: str, body: PasswordChange) -> Message:
        if user != caller().name:
            raise Forbidden("You have not enough permissions! You may only change your own password")
        if body.new == body.old:
            raise InvalidInput("newPassword", "is the old one; choose another")
        try:
            proven = credentials.user(user, body.old, request.remote_addr or "")
        except Unauthorized:
            raise InvalidInput("oldPassword", "is not your password") from None
        accounts.change_password(proven, credentials.hashed(body.new, "newPassword"))
        return {"message": "Password is changed; sign in anew everywhere"}

    def change(user: str, body: UserChange) -> UserDocument:
        present, _ = known(user)
        if body.name not in (None, user):
            raise InvalidInput("name", f"is {shown(body.name)}, but a user keeps their name; leave it out")
        if body.id not in (None, {"$oid": present.id}):
            raise InvalidInput("_id", f"is {shown(body.id)}, but a user keeps their id; leave it out")
        if body.password and user == caller().name:
            raise InvalidInput("password", f"is your own; send oldPassword and newPassword by POST /api/user/{user}")
        accounts.change(
            caller(),
            user,
            email=body.email,
            roles=None if body.roles is None else known_roles(body.roles, "roles"),
            password=credentials.hashed(body.password, "password") if body.password else None,
        )
        return user_document(*known(user))

    def delete(user: str) -> Message:
        accounts.delete(caller(), user)
        return {"message": "User deleted"}

    def ask_for_reset(body: ResetRequest) -> Message:
        resets.ask(body.username, request.remote_addr or "")
        if resets.mails:
            return {"message": "If there is such a user, a link to choose a new password is on its way by mail"}
        return {"message": "No mail is sent here. If there is such a user, the Admins are told; ask them"}

    def reset(body: Choice) -> Message:
        resets.use(body.token, lambda: credentials.hashed(body.password, "password"))
        return {"message": "Password is changed; sign in anew everywhere"}

    def existing(id: str) -> Organization:
        found = users.organization(id)
        if found is None:
            raise no_organization(id)
        return found

    def known(name: str) -> tuple[User, tuple[str, ...]]:
        """A user whom the caller may ask about, with the roles in the caller's organization."""
        me = caller()
        if name != me.name and me.scope == Scope.OWN:
            raise Forbidden("You have not enough permissions! You may only ask about yourself")
        found = users.named(name)
        roles = existing(me.organization).roles_of(found.id) if found else None
        if found is None or (roles is None and name != me.name and me.scope < Scope.ALL):
            raise no_user(name)
        return found, roles or ()

    # Who asks for a new password by mail cannot sign in: these two are open.
    return [
        Route(
            "POST",
            "/api/auth/register",
            register,
            MANAGE_ACCOUNTS,
            "Make a user, a member of the organization of the caller's token",
            (409,),
            example={"name": "ada", "password": "long enough", "roles": ["Application_Provider"]},
        ),
        Route("GET", "/api/users", everybody, MANAGE_ACCOUNTS, "List the users"),
        Route("GET", "/api/users/<organization>", members, MANAGE_ACCOUNTS, "List an organization's members"),
        Route("GET", "/api/user/<user>", show, READ_ACCOUNTS, "Show a user"),
        Route("GET", "/api/permission/<user>", permission, READ_ACCOUNTS, "Show a user's roles"),
        Route(
            "POST",
            "/api/user/<user>",
            change_password,
            OWN_ACCOUNT,
            "Choose a new password",
            (409, 429),
            example={"oldPassword": "long enough", "newPassword": "longer than that"},
        ),
        Route("PUT", "/api/user/<user>", change, MANAGE_ACCOUNTS, "Change a user's mail, roles or password", (409,)),
        Route("DELETE", "/api/user/<user>", delete, MANAGE_ACCOUNTS, "Remove a user, and end their tokens", (409,)),
        Route(
            "POST",
            "/api/user",
            ask_for_reset,
            OPEN,
            "Ask for a new password by mail",
            (429,),
            example={"username": "ada"},
        ),
        Route(
            "PUT",
            "/api/user",
            reset,
            OPEN,
            "Choose a new password with a mailed token",
            example={"token": "as it was mailed", "password": "long enough"},
        ),
    ]
