"""The gate: who a request comes from, and whether the rule of its route lets them through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from flask import g, request

from mangrove.base.errors import Forbidden, Unauthorized
from mangrove.roles.metrics_page import METRICS
from mangrove.roles.routes import OPEN, Route
from root_orchestrator.auth.rules import Rule
from root_orchestrator.auth.tokens import Kind, TokenSigner
from root_orchestrator.auth.users import Caller, Users


def caller() -> Caller:
    """Who makes the current request; only in handlers of routes that are not open."""
    found: Caller = g.caller
    return found


def guard(signer: TokenSigner, users: Users) -> Callable[[Route], None]:
    """Lets no request through without the token that its route needs, and nobody whom its rule does not name."""

    def check(route: Route) -> None:
        rule = route.access
        if rule is OPEN or rule is METRICS:  # the latter has a token of its own
            return
        if not isinstance(rule, Rule):
            raise Forbidden(f"{route.name} has no rule of this root")
        found = _identify("refresh" if rule.token == "refresh" else "access", signer, users)  # noqa: S105
        request.environ["REMOTE_USER"] = found.name  # for the log
        scope = rule.scope(found.roles, in_root=found.in_root)
        if not scope:
            raise Forbidden(f"You have not enough permissions! This needs the role {rule.needed}")
        g.caller = replace(found, scope=scope)

    return check


def _identify(kind: Kind, signer: TokenSigner, users: Users) -> Caller:
    header = request.headers.get("Authorization", "")
    if not header:
        raise Unauthorized("Missing Authorization Header; send `Authorization: Bearer <token>` from /api/auth/login")
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorized("Bad Authorization header; expected `Bearer <token>`")
    claims = signer.read(token.strip(), kind)
    found = users.caller(claims.user_id, claims.sub, claims.organization)
    if found is None:
        raise Unauthorized("The user or organization of this token is not there any more; sign in again")
    if claims.generation != found.generation:
        raise Unauthorized("The password was changed after this token was given out; sign in again")
    return found
