"""Signing in, and what a user may know about themselves, at Oakestra's paths."""

from __future__ import annotations

import math
from threading import BoundedSemaphore
from typing import Annotated, Literal

import msgspec
from flask import Blueprint, request
from werkzeug.exceptions import TooManyRequests

from mangrove.base.clock import Clock
from mangrove.base.errors import Forbidden, NotFound, Unauthorized, Unavailable
from mangrove.identity.throttle import Throttle
from mangrove.model.documents import Organization, User
from mangrove.model.validation import shown
from mangrove.roles.web import read_body
from root_orchestrator.api.oakestra.documents import Json, user_document
from root_orchestrator.auth.guard import caller, open_to_all, with_refresh_token
from root_orchestrator.auth.passwords import Passwords
from root_orchestrator.auth.tokens import TokenSigner
from root_orchestrator.auth.users import ROOT_ORGANIZATION, Users, is_default_login

#: Failed logins in a minute: for one name from one address (a person who mistypes makes a few), and for one address in
#: all (which many people behind one router share).
FAILURES_PER_NAME = 10
FAILURES_PER_ADDRESS = 100
WINDOW = 60.0

#: Passwords checked at once. Each check costs 0.2 s of a core: logins must not take all cores from everything else.
CHECKED_AT_ONCE = 2

#: Seconds that a login waits for its turn.
PATIENCE = 10.0


class Login(msgspec.Struct, frozen=True):
    """What a login sends. Without organization_name, the organization `root` is meant."""

    username: Annotated[str, msgspec.Meta(max_length=256)]
    password: Annotated[str, msgspec.Meta(max_length=1024)]
    organization_name: Annotated[str, msgspec.Meta(max_length=256)] | None = None


def routes(
    users: Users, passwords: Passwords, signer: TokenSigner, clock: Clock, *, allow_default_admin: bool
) -> Blueprint:
    """Login, refresh, and the caller's own account. Refuses Oakestra's default password unless it is allowed."""
    blueprint = Blueprint("login", __name__)
    per_name = Throttle(clock, allowed=FAILURES_PER_NAME, window=WINDOW)
    per_address = Throttle(clock, allowed=FAILURES_PER_ADDRESS, window=WINDOW)
    turn = BoundedSemaphore(CHECKED_AT_ONCE)

    def authenticated(login: Login) -> User:
        address = request.remote_addr or ""
        tries = ((per_address, address), (per_name, f"{address} {login.username}"))
        for throttle, key in tries:
            if seconds := math.ceil(throttle.wait(key)):
                raise TooManyRequests(f"too many failed logins; try again in {seconds} s", retry_after=seconds)
        user = users.named(login.username)
        if not turn.acquire(timeout=PATIENCE):
            raise Unavailable("too many logins at once; try again")
        try:
            right = passwords.matches(user.password if user else None, login.password)
        finally:
            turn.release()
        if user is None or not right:
            raise Unauthorized("wrong username or password")
        for throttle, key in tries:
            throttle.forgive(key)
        return user

    def membership(user: User, name: str | None) -> tuple[Organization, tuple[str, ...]]:
        organization = users.organization_named(name or ROOT_ORGANIZATION)
        if organization is None:
            raise NotFound(f"organization_name: there is no organization {shown(name)}")
        roles = organization.roles_of(user.id)
        if roles is None and name:
            raise Forbidden(f"organization_name: you are no member of organization {shown(name)}")
        return organization, roles or ()

    @blueprint.post("/api/auth/login")
    @open_to_all
    def login() -> Json:
        sent = read_body(Login)
        user = authenticated(sent)
        if is_default_login(sent.username, sent.password) and not allow_default_admin:
            raise Forbidden("the default password is not accepted here; start the root with --allow-default-admin")
        organization, roles = membership(user, sent.organization_name)

        def token(kind: Literal["access", "refresh"]) -> str:
            return signer.issue(kind, user=user.name, user_id=user.id, organization=organization.id, roles=roles)

        return {"token": token("access"), "refresh_token": token("refresh")}

    @blueprint.post("/api/auth/refresh")
    @with_refresh_token
    def refresh() -> Json:
        me = caller()
        token = signer.issue("access", user=me.name, user_id=me.id, organization=me.organization, roles=me.roles)
        return {"token": token}

    @blueprint.get("/api/user/<name>")
    def user(name: str) -> Json:
        return user_document(*known(name))

    @blueprint.get("/api/permission/<name>")
    def permission(name: str) -> Json:
        return {"roles": list(known(name)[1])}

    def known(name: str) -> tuple[User, tuple[str, ...]]:
        """A user whom the caller may ask about, with the roles in the caller's organization."""
        me = caller()
        if name != me.name and not me.is_admin:
            raise Forbidden("You have not enough permissions! You may only ask about yourself")
        found, organization = users.named(name), users.organization(me.organization)
        if found is None or organization is None:
            raise NotFound(f"there is no user {shown(name)}")
        return found, organization.roles_of(found.id) or ()

    return blueprint
