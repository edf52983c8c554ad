"""What happened, in sentences: a list behind a cursor, or as it happens (server-sent events)."""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec
from flask import Response, request

from mangrove.base.clock import Clock
from mangrove.model.documents import EVENTS, SERVICES, Event, Service
from mangrove.roles.routes import Route
from mangrove.roles.streams import Streams
from mangrove.store.interface import Store, Stored
from root_orchestrator.api.catalog import as_struct
from root_orchestrator.api.paging import CHUNK, Listing, PageQuery, chunks, chunks_of, page
from root_orchestrator.auth.guard import caller
from root_orchestrator.auth.rules import READ_APPLICATIONS, Scope
from root_orchestrator.auth.users import Caller, Users

_STREAM = "text/event-stream"
#: What browsers send by themselves when they take a broken stream up again.
_LAST_SEEN = "Last-Event-ID"

#: Seconds between two looks of a stream for news, however much is written meanwhile.
_PAUSE = 0.2
#: Seconds after which a stream ends, and its reader asks anew, with a token that is good then.
LASTING = 3600.0

#: Kinds of what clusters and nodes do, which everybody may see who may list them.
_INFRASTRUCTURE = ("cluster-", "node-")


class EventQuery(PageQuery, frozen=True):
    """Which events. after: id of an event; those behind it, the oldest first. Without it, the newest ones, also the
    oldest first. subject: id of a service, instance, cluster or node."""

    subject: str | None = None
    kind: str | None = None


def routes(store: Store, clock: Clock, users: Users, streams: Streams) -> list[Route]:
    """The one route."""

    def events(query: EventQuery) -> Listing[Event] | Response:
        asker = caller()
        if request.accept_mimetypes.best_match(["application/json", _STREAM]) == _STREAM:
            after = request.headers.get(_LAST_SEEN, "") or query.after

            def open_source() -> Following:
                return Following(store, clock, users, asker, query, after)

            return streams.answer(asker.id, open_source, _STREAM, beat=b":\n\n")
        if query.after:
            return page(_candidates(store, asker, query), query.limit)
        everything = list(_candidates(store, asker, query))
        meant = [event for _, event in everything if event is not None]
        return Listing(meant[-query.limit :], None)

    return [
        Route(
            "GET",
            "/api/v1/events",
            events,
            READ_APPLICATIONS,
            "List what happened, or follow it with `Accept: text/event-stream`",
            (503,),
            media={_STREAM: str},
            headers={
                _LAST_SEEN: "Id of the last event that a stream brought: it goes on behind it, whatever `after` is."
            },
        )
    ]


class Following:
    """A `Source` of events as they are written."""

    def __init__(self, store: Store, clock: Clock, users: Users, asker: Caller, query: EventQuery, after: str) -> None:
        self._store = store
        self._clock = clock
        self._users = users
        self._asker = asker
        self._query = query
        self._seen = -1
        self._looked = 0.0
        self._end = clock.now() + LASTING
        self._after = after or max((stored.id for stored in store.load(EVENTS)), default="")

    def next(self, timeout: float) -> bytes | None:
        """See Source."""
        if self._clock.now() >= self._end or not self._users.is_as_it_was(self._asker):
            return None  # who loses a role reads no further
        if not self._store.wait(self._seen, timeout):
            return b""
        time.sleep(max(0.0, self._looked + _PAUSE - time.monotonic()))
        self._looked = time.monotonic()
        seen = self._store.revision()
        found = self._store.page(EVENTS, after=self._after, limit=CHUNK)
        if len(found) < CHUNK:
            self._seen = seen  # else there is more at once
        if found:
            self._after = found[-1].id
        fit = _visible(self._store, self._asker, self._query, found)
        return b"".join(
            b"id: %s\ndata: %s\n\n" % (event.id.encode(), msgspec.json.encode(event))
            for event in fit
            if event is not None
        )

    def close(self) -> None:
        """See Source."""


def _candidates(store: Store, asker: Caller, query: EventQuery) -> Iterator[tuple[str, Event | None]]:
    if query.subject is not None:
        found = chunks_of(store, EVENTS, "subject", [query.subject], query.after)
    elif query.kind is not None:
        found = chunks_of(store, EVENTS, "kind", [query.kind], query.after)
    else:
        found = chunks(store, EVENTS, query.after)
    for some in found:
        yield from zip((stored.id for stored in some), _visible(store, asker, query, some), strict=True)


def _visible(store: Store, asker: Caller, query: EventQuery, found: list[Stored]) -> list[Event | None]:
    """Each event, or None for what was not asked for, or is of somebody else."""
    events = [as_struct(Event, stored) for stored in found]
    subjects = {event.subject.partition(".")[0] for event in events}
    services = {stored.id: as_struct(Service, stored) for stored in store.get_many(SERVICES, sorted(subjects)).values()}

    def is_meant(event: Event) -> bool:
        if query.subject not in (None, event.subject) or query.kind not in (None, event.kind):
            return False
        if asker.scope == Scope.ALL or event.kind.startswith(_INFRASTRUCTURE):
            return True
        service = services.get(event.subject.partition(".")[0])
        return service is not None and asker.reaches(service.owner, service.organization)

    return [event if is_meant(event) else None for event in events]
