"""Signing in, and staying signed in, at Oakestra's paths."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from flask import request

from mangrove.base.errors import Forbidden, NotFound
from mangrove.model.documents import Organization, User
from mangrove.model.validation import shown
from mangrove.roles.routes import OPEN, Route
from root_orchestrator.api.oakestra.answers import Token, Tokens
from root_orchestrator.auth.credentials import Credentials
from root_orchestrator.auth.guard import caller
from root_orchestrator.auth.rules import REFRESH
from root_orchestrator.auth.tokens import TokenSigner
from root_orchestrator.auth.users import ROOT_ORGANIZATION, Users, is_default_login


class Login(msgspec.Struct, frozen=True):
    """What a login sends. Without organization_name, the organization `root` is meant."""

    username: Annotated[str, msgspec.Meta(max_length=256)]
    password: Annotated[str, msgspec.Meta(max_length=1024)]
    organization_name: Annotated[str, msgspec.Meta(max_length=256)] | None = None


def routes(users: Users, credentials: Credentials, signer: TokenSigner, *, allow_default_admin: bool) -> list[Route]:
    """Login and refresh. Refuses Oakestra's default password unless it is allowed."""

    def membership(user: User, name: str | None) -> tuple[Organization, tuple[str, ...]]:
        organization = users.organization_named(name or ROOT_ORGANIZATION)
        if organization is None:
            raise NotFound(f"organization_name: there is no organization {shown(name)}")
        roles = organization.roles_of(user.id)
        if roles is None and name:
            raise Forbidden(f"organization_name: you are no member of organization {shown(name)}")
        return organization, roles or ()

    def login(body: Login) -> Tokens:
        user = credentials.user(body.username, body.password, request.remote_addr or "")
        if is_default_login(body.username, body.password) and not allow_default_admin:
            raise Forbidden("the default password is not accepted here; start the root with --allow-default-admin")
        organization, roles = membership(user, body.organization_name)

        def token(kind: Literal["access", "refresh"]) -> str:
            return signer.issue(
                kind,
                user=user.name,
                user_id=user.id,
                generation=user.generation,
                organization=organization.id,
                roles=roles,
            )

        return {"token": token("access"), "refresh_token": token("refresh")}

    def refresh() -> Token:
        me = caller()
        return {
            "token": signer.issue(
                "access",
                user=me.name,
                user_id=me.id,
                generation=me.generation,
                organization=me.organization,
                roles=me.roles,
            )
        }

    return [
        Route(
            "POST",
            "/api/auth/login",
            login,
            OPEN,
            "Sign in",
            (401, 403, 404, 429),
            example={"username": "Admin", "password": "the password of Admin"},
        ),
        Route("POST", "/api/auth/refresh", refresh, REFRESH, "Get a new access token"),
    ]
