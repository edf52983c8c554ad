"""What a parent tells people: one sentence an event, in the store and in the log."""

from __future__ import annotations

import logging

import msgspec

from mangrove.base.clock import Clock
from mangrove.base.ids import NewId
from mangrove.model.documents import EVENTS, Event
from mangrove.model.events import KINDS
from mangrove.roles.ledger import Ledger
from mangrove.store.interface import Put, Store

log = logging.getLogger(__name__)

#: Microseconds since 1970 that an id may begin with: until the year 2286, so that ids of another make are known.
_LATEST = 10**16


def written(wall: float, kind: str, subject: str, text: str, new_id: NewId, moment: int | None = None) -> Put:
    """What writes an event. wall: wall-clock seconds. kind: of `mangrove.model.events`, for programs; subject: id of
    what it is about; text: for people. moment: what its id stands among others by (microseconds since 1970), if not by
    `wall`.

    Raises ValueError for a kind that is not in the table.
    """
    if kind not in KINDS:
        raise ValueError(f"{kind!r} is no kind of event: add it to the table in mangrove/model/events.py")
    id = f"{int(wall * 1e6) if moment is None else moment:016x}{new_id()[:8]}"
    return Put(EVENTS, id, msgspec.to_builtins(Event(id, wall, kind, subject, text)))


class Journal:
    """Writes events with the next save of the ledger.

    Ids are in the order in which the events were told, also when the wall clock was set back in between: 16 hexadecimal
    digits that are the time in microseconds, or one more than those of the event before; then 8 random ones.
    """

    def __init__(self, ledger: Ledger, clock: Clock, new_id: NewId) -> None:
        self._ledger = ledger
        self._clock = clock
        self._new_id = new_id
        self._last = 0

    def load(self, store: Store) -> None:
        """Go on behind the events that are there."""
        told = (int(stored.id[:16], 16) for stored in store.load(EVENTS))
        self._last = max((moment for moment in told if moment < _LATEST), default=0)

    def tell(self, kind: str, subject: str, text: str) -> None:
        """See `written`."""
        wall = self._clock.wall()
        self._ledger.write(written(wall, kind, subject, text, self._new_id, self._moment(wall)))
        log.info("%s", text)

    def retold(self, event: Event) -> Put:
        """What writes an event that another has told, under an id of our own."""
        id = f"{self._moment(self._clock.wall()):016x}{self._new_id()[:8]}"
        return Put(EVENTS, id, msgspec.to_builtins(msgspec.structs.replace(event, id=id)))

    def _moment(self, wall: float) -> int:
        self._last = max(self._last + 1, min(int(wall * 1e6), _LATEST - 1))
        return self._last
