"""The guard before every endpoint: closed unless an endpoint is marked open; who passed is the `caller()`."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar

from flask import Flask, g, request

from mangrove.base.errors import Forbidden, Unauthorized
from root_orchestrator.auth.tokens import Kind, TokenSigner
from root_orchestrator.auth.users import Caller, Users

_View = TypeVar("_View", bound=Callable[..., Any])
_OPEN, _ADMIN, _REFRESH = "_mangrove_open", "_mangrove_admin", "_mangrove_refresh"


def open_to_all(view: _View) -> _View:
    """Mark an endpoint that needs no token."""
    return _marked(view, _OPEN)


def admin_only(view: _View) -> _View:
    """Mark an endpoint that needs the role Admin."""
    return _marked(view, _ADMIN)


def with_refresh_token(view: _View) -> _View:
    """Mark an endpoint that takes a refresh token instead of an access token."""
    return _marked(view, _REFRESH)


def caller() -> Caller:
    """Who makes the current request; only behind the guard."""
    found: Caller = g.caller
    return found


def install_guard(app: Flask, signer: TokenSigner, users: Users, *, open_blueprints: Collection[str] = ()) -> None:
    """Let no request of `app` through without a valid token, but for what is marked and for `open_blueprints`."""

    def check() -> None:
        view = app.view_functions.get(request.endpoint or "")
        if view is None or request.method == "OPTIONS":
            return  # unknown paths and methods are answered with 404 and 405; OPTIONS tells nothing secret
        if hasattr(view, _OPEN) or request.blueprint in open_blueprints:
            return
        g.caller = _identify("refresh" if hasattr(view, _REFRESH) else "access", signer, users)
        request.environ["REMOTE_USER"] = g.caller.name  # for the log
        if hasattr(view, _ADMIN) and not g.caller.is_admin:
            raise Forbidden("You have not enough permissions! This needs the role Admin")

    app.before_request(check)


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
    if kind == "refresh" and claims.generation != found.generation:
        raise Unauthorized("The password was changed after this token was given out; sign in again")
    return found


def _marked(view: _View, mark: str) -> _View:
    setattr(view, mark, True)
    return view
