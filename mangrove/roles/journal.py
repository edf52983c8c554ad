"""What a parent tells people: one sentence an event, in the store and in the log."""

from __future__ import annotations

import logging

import msgspec

from mangrove.base.clock import Clock
from mangrove.base.ids import NewId
from mangrove.model.documents import EVENTS, Event
from mangrove.roles.ledger import Ledger
from mangrove.store.interface import Put, Store

log = logging.getLogger(__name__)

#: Microseconds since 1970 that an id may begin with: until the year 2286, so that ids of another make are known.
_LATEST = 10**16


def event_id(moment: int, new_id: NewId) -> str:
    """An id that stands among others by its moment (microseconds since 1970)."""
    return f"{moment:016x}{new_id()[:8]}"


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
        """kind: for programs; subject: id of what it is about; text: for people."""
        wall = self._clock.wall()
        self._last = max(self._last + 1, min(int(wall * 1e6), _LATEST - 1))
        event = Event(event_id(self._last, self._new_id), wall, kind, subject, text)
        self._ledger.write(Put(EVENTS, event.id, msgspec.to_builtins(event)))
        log.info("%s", text)
