"""What an instance prints, from the node that runs it."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from flask import Response, request

from mangrove.base.clock import Clock
from mangrove.base.errors import Conflict, InvalidInput, NotFound, Unavailable
from mangrove.model.documents import CHILDREN, OBSERVED, PLACEMENTS, Child, Observed, Placement
from mangrove.model.validation import shown
from mangrove.roles.routes import Route
from mangrove.roles.streams import Source, Streams
from mangrove.store.interface import Store, StoreUnavailable
from root_orchestrator.api.catalog import Catalog, as_struct
from root_orchestrator.api.fleet import Apology, Fleet
from root_orchestrator.api.v1.instances import find_instance
from root_orchestrator.auth.guard import caller
from root_orchestrator.auth.rules import READ_APPLICATIONS
from root_orchestrator.auth.users import Users

_JSON_LINES, _TEXT = "application/x-ndjson", "text/plain"

#: `90`, `90s`, `10m`, `2h` or `3d`: seconds ago, unless it is too long for that.
_AGO = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([smhd]?)")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
#: `1795370000.5`: wall-clock seconds, of this century.
_MOMENT = re.compile(r"\d{10}(?:\.\d{1,9})?")
#: As in the field `position` of a line.
_POSITION = re.compile(r"p[0-9a-z]{1,24}-\d{1,20}(?:\.\d{1,10})?")


class LogLine(msgspec.Struct):
    """A line that an instance printed. time: wall-clock seconds by which it was there (of its node). stream: `stdout`,
    `stderr`, or `mangrove` for what is said in place of lines that are gone. position: as `since`, from where to go on
    behind it."""

    time: float
    stream: str
    line: str
    position: str


class LogQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """tail: at most the last so many lines that are there. since: lines from then on (`10m`, or wall-clock seconds), or
    behind a position. follow: also what is printed from now on, until the instance has ended for good. attempt: an
    earlier one, of which the end may still be kept."""

    tail: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] | None = None
    since: str = ""
    follow: bool = False
    attempt: str = ""


def routes(store: Store, catalog: Catalog, fleet: Fleet, users: Users, streams: Streams, clock: Clock) -> list[Route]:
    """The one route."""

    def logs(instance: str, query: LogQuery) -> Response:
        cluster, attempt = _place(store, catalog, instance, query.attempt)
        params: dict[str, Any] = {"attempt": attempt, **_where(query, clock.wall())}
        as_json = request.accept_mimetypes.best_match([_TEXT, _JSON_LINES]) == _JSON_LINES
        params["form"] = "json" if as_json else "text"

        def apologise(why: str) -> bytes:
            text = f"… the logs broke off: {why}"
            line = LogLine(clock.wall(), "mangrove", text, "")
            return msgspec.json.encode(line) + b"\n" if as_json else text.encode() + b"\n"

        asker = caller()

        def open_source() -> Source:
            stream = fleet.stream(cluster, "logs", params, apologise)
            return _WhileAllowed(stream, lambda: users.is_as_it_was(asker), apologise)

        return streams.answer(asker.id, open_source, _JSON_LINES if as_json else _TEXT, beat=b"\n" if as_json else b"")

    return [
        Route(
            "GET",
            "/api/v1/instances/<instance>/logs",
            logs,
            READ_APPLICATIONS,
            "Read what an instance prints",
            errors=(404, 409, 503),
            media={_TEXT: str, _JSON_LINES: LogLine},
        )
    ]


class _WhileAllowed:
    """A `Source` for as long as its reader's account is as it was: following may go on for weeks."""

    def __init__(self, source: Source, is_allowed: Callable[[], bool], apologise: Apology) -> None:
        self._source = source
        self._is_allowed = is_allowed
        self._apologise = apologise
        self._over = False

    def next(self, timeout: float) -> bytes | None:
        """See Source."""
        if self._over:
            return None
        with suppress(StoreUnavailable):  # nor can anybody be shut out meanwhile, and logs may tell what is wrong
            self._over = not self._is_allowed()
        if self._over:
            return self._apologise("your account was changed; sign in again")
        return self._source.next(timeout)

    def close(self) -> None:
        """See Source."""
        self._source.close()


def _place(store: Store, catalog: Catalog, instance: str, attempt: str) -> tuple[str, str]:
    """The cluster that has, or had, the instance, and the attempt there. Raises NotFound, Conflict, Unavailable."""
    slot, _ = find_instance(store, catalog, instance)
    stored = store.get(PLACEMENTS, slot.id)
    placement = as_struct(Placement, stored) if stored is not None else Placement(slot.id)
    attempts = placement.attempts
    if attempt:
        attempts = [known for known in attempts if known[1] == attempt]
        if not attempts:
            raise NotFound(
                f"there is no attempt {shown(attempt)} of this instance; GET /api/v1/instances/{slot.id} lists them"
            )
    if not attempts:
        raise Conflict(f"this instance runs nowhere yet: {placement.reason or 'it is waiting for its cluster'}")
    cluster, attempt = attempts[-1]
    child = store.get(CHILDREN, cluster)
    if child is not None and as_struct(Child, child).state != "live":
        found = as_struct(Child, child)
        raise Unavailable(f"cluster {found.name}, which has it, is not connected: {_last_heard(found.heard)}")
    observed = store.get(OBSERVED, attempt)
    status = as_struct(Observed, observed).status if observed is not None else None
    if status is not None and status.silent:
        raise Unavailable(f"its node {status.node_name or status.node} is silent: {status.reason}")
    return cluster, attempt


def _last_heard(wall: float) -> str:
    return f"it was last heard at {datetime.fromtimestamp(wall, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _where(query: LogQuery, now: float) -> dict[str, Any]:
    """The query in the words of the link's method `logs`. Raises InvalidInput."""
    params: dict[str, Any] = {"follow": query.follow}
    if query.tail is not None:
        params["tail"] = query.tail
    if not query.since:
        return params
    if _POSITION.fullmatch(query.since):
        return {**params, "position": query.since}
    if _MOMENT.fullmatch(query.since):
        return {**params, "since": float(query.since)}
    if found := _AGO.fullmatch(query.since):
        return {**params, "since": now - float(found[1]) * _UNITS[found[2]]}
    raise InvalidInput("since", f"must be like 10m, wall-clock seconds or a position, but is {shown(query.since)}")
