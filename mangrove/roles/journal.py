"""What a parent tells people: one sentence an event, in the store and in the log."""

from __future__ import annotations

import logging

import msgspec

from mangrove.base.clock import Clock
from mangrove.base.ids import NewId
from mangrove.model.documents import EVENTS, Event
from mangrove.roles.ledger import Ledger
from mangrove.store.interface import Put

log = logging.getLogger(__name__)


class Journal:
    """Writes events with the next save of the ledger."""

    def __init__(self, ledger: Ledger, clock: Clock, new_id: NewId) -> None:
        self._ledger = ledger
        self._clock = clock
        self._new_id = new_id

    def tell(self, kind: str, subject: str, text: str) -> None:
        """kind: for programs; subject: id of what it is about; text: for people."""
        event = Event(self._new_id(), self._clock.wall(), kind, subject, text)
        self._ledger.write(Put(EVENTS, event.id, msgspec.to_builtins(event)))
        log.info("%s", text)
