"""What a parent tidies now and then: plain functions of a view and the time, run in the lease's holder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from apscheduler.schedulers.background import BackgroundScheduler

from mangrove.base.clock import Clock
from mangrove.base.errors import MangroveError
from mangrove.identity import tokens
from mangrove.model.documents import (
    ADOPTED,
    CLAIMS,
    CLAIMS_KEPT,
    EVENTS,
    PLACEMENTS,
    SERVICES,
    SLOTS,
    SPECIFICATIONS,
    TOKENS,
)
from mangrove.store.interface import Delete, Lease, Operation, Store, Stored

log = logging.getLogger(__name__)

#: Events kept: some weeks of a calm tree, some hours of a stormy one, and a few megabytes at most.
EVENTS_KEPT = 5000
#: Seconds for which an event is kept: a month, as long as people ask what happened. The newest few stay for ever, so
#: that a clock that was wrong for a moment does not take all of them.
EVENTS_AGE, EVENTS_LASTING = 30 * 86_400.0, 100

View = Mapping[str, Sequence[Stored]]


@dataclass(frozen=True, slots=True)
class Chore:
    """period: seconds. reads: the collections it sees. run: what to write, given these and the wall clock's seconds.

    ending: what to write when housekeeping ends.
    """

    name: str
    period: float
    reads: tuple[str, ...]
    run: Callable[[View, float], list[Operation]]
    ending: Callable[[], list[Operation]] = list


def expired_tokens(view: View, now: float) -> list[Operation]:
    """Join tokens that nobody can use any more."""
    return tokens.expired(view[TOKENS], now)


def old_events(view: View, now: float) -> list[Operation]:
    """All events but the newest `EVENTS_KEPT`, and of these those that are older than `EVENTS_AGE`."""
    newest_first = sorted(view[EVENTS], key=lambda stored: stored.revision, reverse=True)
    return [
        Delete(EVENTS, stored.id)
        for place, stored in enumerate(newest_first)
        if place >= EVENTS_KEPT or (place >= EVENTS_LASTING and now - float(stored.document["time"]) > EVENTS_AGE)
    ]


def old_claims(view: View, now: float) -> list[Operation]:
    """Requests whose idempotency key does not count any more, also those of a clock that was far ahead."""
    return [
        Delete(CLAIMS, stored.id, expect=stored.revision)
        for stored in view[CLAIMS]
        if not 0 <= now - float(stored.document["time"]) < CLAIMS_KEPT
    ]


def unused_specifications(view: View, now: float) -> list[Operation]:
    """Specifications that no service, slot, placement or adopted attempt names."""
    used = {str(stored.document["specification"]) for stored in (*view[SERVICES], *view[SLOTS])}
    for stored in view[PLACEMENTS]:
        # With the newest past attempt: what it ran may be placed again while a rollout stands still.
        given = [
            stored.document.get("current"),
            *stored.document.get("leaving", ()),
            *stored.document.get("history", ())[-1:],
        ]
        used |= {str(one["specification"]) for one in given if one is not None}
    used |= {str(stored.document["attempt"]["specification"]) for stored in view[ADOPTED]}
    return [Delete(SPECIFICATIONS, one.id, expect=one.revision) for one in view[SPECIFICATIONS] if one.id not in used]


#: All there is to tidy. Specifications are read before those who name them, hence are removed only when they are as old
#: as the reading; a service made meanwhile writes its specification again, which raises the revision.
CHORES = (
    Chore("expired tokens", 3600.0, (TOKENS,), expired_tokens),
    Chore("old claims", 3600.0, (CLAIMS,), old_claims),
    Chore("old events", 600.0, (EVENTS,), old_events),
    Chore(
        "unused specifications", 3600.0, (SPECIFICATIONS, SERVICES, SLOTS, PLACEMENTS, ADOPTED), unused_specifications
    ),
)


class Housekeeping:
    """Runs the chores, one at a time, in a thread of its own."""

    def __init__(self, store: Store, clock: Clock, lease: Lease, chores: Sequence[Chore] = CHORES) -> None:
        self._store = store
        self._clock = clock
        self._lease = lease
        self._chores = tuple(chores)
        # In UTC: no period depends on where the machine stands, and no time zone data need be there.
        self._scheduler = BackgroundScheduler(timezone="UTC", job_defaults={"coalesce": True, "max_instances": 1})
        for chore in chores:
            self._scheduler.add_job(self.run, "interval", seconds=chore.period, args=(chore,), id=chore.name)

    def start(self) -> None:
        """Begin; the first run of each chore comes after its period."""
        self._scheduler.start()

    def stop(self) -> None:
        """End after what is being done now."""
        self._scheduler.shutdown()
        for chore in self._chores:
            self._write(chore, chore.ending)

    def run(self, chore: Chore) -> None:
        """Do one chore now; a failure is logged, and tried again after its period."""

        def operations() -> list[Operation]:
            view = {collection: self._store.load(collection) for collection in chore.reads}
            return chore.run(view, self._clock.wall())

        self._write(chore, operations)

    def _write(self, chore: Chore, wanted: Callable[[], list[Operation]]) -> None:
        try:
            operations = wanted()
            for start in range(0, len(operations), 500):
                self._store.apply(operations[start : start + 500], lease=self._lease)
        except MangroveError as error:
            log.warning("%s could not be tidied: %s", chore.name, error)
