"""The HTTP side that both kinds of parent share: common routes, and how errors are answered."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypedDict

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException, TooManyRequests

from mangrove import __version__
from mangrove.base.clock import Clock
from mangrove.base.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    MangroveError,
    NotFound,
    Refused,
    Unauthorized,
    Unavailable,
)
from mangrove.identity.join import Parent, join, leave
from mangrove.identity.messages import JoinReply, JoinRequest, LeaveRequest
from mangrove.identity.secret import MasterSecret
from mangrove.identity.throttle import Throttle
from mangrove.model.documents import Identity
from mangrove.roles.routes import OPEN, Route
from mangrove.store.interface import Gap, RevisionConflict, StaleLease, Store, StoreUnavailable

_log = logging.getLogger(__name__)

#: Largest request body in bytes. An SLA of a hundred services is about 100 kB; ten times that leaves room.
MAX_BODY = 1024 * 1024

#: Seconds after which a client may try again what could not be done now: about the time of a take-over or a restart.
RETRY_AFTER = 2

#: Failed joins that one address may make in how many seconds. A person who mistypes makes a few; a hundred devices
#: behind one address that all fail need the token mended, not more tries.
JOIN_FAILURES = 20
JOIN_WINDOW = 60.0

#: The status of each error that says whose fault it is; what is not listed here is our fault.
STATUS: dict[type[MangroveError], int] = {
    InvalidInput: 422,
    NotFound: 404,
    Conflict: 409,
    RevisionConflict: 409,
    Unauthorized: 401,
    Forbidden: 403,
    Refused: 403,
    Unavailable: 503,
    StoreUnavailable: 503,
    StaleLease: 503,
    Gap: 503,
}


class Message(TypedDict):
    """An answer of which the status says all; message: the same for people."""

    message: str


class Readiness(TypedDict):
    """Whether requests should come here. reasons: why not, one sentence each."""

    message: str
    reasons: list[str]


class Version(TypedDict):
    """What answers. name: of this parent; protocols: of the link, that it speaks."""

    program: str
    name: str
    software: str
    protocols: list[int]


def install_error_handlers(app: Flask) -> None:
    """Let every failed answer of `app` be JSON with a `message`, and bound request bodies to `MAX_BODY` bytes.

    A MangroveError gives its own message and the status in `STATUS`; InvalidInput adds `field`. Anything unexpected is
    logged with its traceback and answered with 500, without saying more.
    """
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.register_error_handler(MangroveError, _on_mangrove_error)
    app.register_error_handler(HTTPException, _on_http_error)
    app.register_error_handler(Exception, _on_unexpected)


def common_routes(
    store: Store,
    clock: Clock,
    secret: MasterSecret,
    parent: Parent,
    *,
    reasons_not_ready: Callable[[], Sequence[str]],
    on_joined: Callable[[Identity], None],
    on_left: Callable[[Identity], None],
) -> list[Route]:
    """Joining and leaving, `/livez`, `/readyz` and the version, for an app with `install_error_handlers`.

    reasons_not_ready: one sentence each, empty when ready. on_joined: called before a join is answered, and again when
    the join is repeated; it makes the child's account at the broker. on_left: likewise, to remove it.
    """
    throttle = Throttle(clock, allowed=JOIN_FAILURES, window=JOIN_WINDOW)

    def answer_join(body: JoinRequest) -> JoinReply:
        reply = join(store, clock, secret, parent, body, on_joined)
        _log.info("%s %s joined from %s as %s", parent.accepts, reply.name, request.remote_addr, reply.child)
        return reply

    def answer_leave(body: LeaveRequest) -> Message:
        identity = leave(store, secret, body)
        on_left(identity)
        _log.info("%s %s (%s) left", parent.accepts, identity.name, identity.id)
        return {"message": f"{identity.name} has left {parent.name}"}

    def live() -> Message:
        return {"message": "alive"}

    def ready() -> Readiness | Response:
        reasons = list(reasons_not_ready())
        if reasons:
            return _failed(503, "not ready: " + "; ".join(reasons), reasons=reasons)
        return {"message": "ready", "reasons": []}

    def version() -> Version:
        return {
            "program": parent.program,
            "name": parent.name,
            "software": __version__,
            "protocols": list(parent.protocols),
        }

    def counted() -> AbstractContextManager[None]:
        return _throttled(throttle)

    accepts, failing = parent.accepts, (401, 403, 404, 409, 429)
    return [
        Route(
            "POST",
            "/api/v1/join",
            answer_join,
            OPEN,
            f"Let a {accepts} join by its token",
            failing,
            example=JoinRequest("the token's text", "alpha", parent.accepts, parent.protocols),
            within=counted,
        ),
        Route(
            "POST",
            "/api/v1/leave",
            answer_leave,
            OPEN,
            f"Let a {accepts} leave for good",
            failing,
            example=LeaveRequest("0" * 24, 1, "0" * 64),
            within=counted,
        ),
        Route("GET", "/livez", live, OPEN, "Whether the process answers at all"),
        Route("GET", "/readyz", ready, OPEN, "Whether requests should come here"),
        Route("GET", "/api/v1/health", ready, OPEN, "Whether requests should come here, as `/readyz`"),
        Route("GET", "/api/v1/version", version, OPEN, "What answers here, and the protocols that it speaks"),
    ]


@contextmanager
def _throttled(throttle: Throttle) -> Iterator[None]:
    """Counts a failure of the caller's address unless it was ours. Raises TooManyRequests when there were too many."""
    address = request.remote_addr or ""
    seconds = math.ceil(throttle.wait(address))
    if seconds:
        raise TooManyRequests(f"too many failed joins from {address}: try again in {seconds} s", retry_after=seconds)
    try:
        yield
    except HTTPException:
        raise
    except Exception as error:
        if not isinstance(error, MangroveError) or _status_of(error) >= 500:
            throttle.forgive(address)
        raise
    throttle.forgive(address)


def _status_of(error: MangroveError) -> int:
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def _failed(status: int, message: str, **more: Any) -> Response:
    answer = jsonify({"message": message, **more})
    answer.status_code = status
    answer.headers["Cache-Control"] = "no-store"
    if status == 503:
        answer.headers["Retry-After"] = str(RETRY_AFTER)
    return answer


def _on_mangrove_error(error: MangroveError) -> Response:
    status = _status_of(error)
    if status == 500:
        return _on_unexpected(error)
    if isinstance(error, InvalidInput) and error.field:
        return _failed(status, error.message, field=error.field)
    return _failed(status, error.message)


def _on_http_error(error: HTTPException) -> Response:
    description = error.description or error.name
    if error.code == 413:
        description = f"the body is too large: at most {MAX_BODY} bytes are read"
    answer = _failed(error.code or 500, description)
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            answer.headers[name] = value  # such as Allow, Location, Retry-After
    return answer


def _on_unexpected(error: Exception) -> Response:
    _log.error("%s %s failed", request.method, request.path, exc_info=error)
    return _failed(500, "internal error: it was not your input; the log of the server says more")
