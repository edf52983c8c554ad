"""What a controller has decided but not yet made durable. Nothing is acted on before it is."""

from __future__ import annotations

import logging

from mangrove.store.interface import Lease, Operation, RevisionConflict, Store, StoreUnavailable

log = logging.getLogger(__name__)

#: Operations in one batch: a few milliseconds of writing, so that API writes in between do not wait long.
_BATCH = 2000


class Ledger:
    """Gathers operations, the newest of each document, and writes them in batches under the controller's lease."""

    def __init__(self, store: Store, lease: Lease) -> None:
        self._store = store
        self._lease = lease
        self._waiting: dict[tuple[str, str], Operation] = {}
        self._garbage: list[Operation] = []
        self.unavailable = ""
        #: Of the store when this was last saved: whatever a child is told was in the store by then.
        self.revision = store.revision()

    def write(self, operation: Operation) -> None:
        """Write this with the next save; it replaces what waits for the same document."""
        self._waiting[operation.collection, operation.id] = operation

    def collect(self, operation: Operation) -> None:
        """Write this some time, if its precondition holds then: the removal of what another writer may still change."""
        self._garbage.append(operation)

    def save(self) -> bool:
        """Make all of it durable; False when the store cannot be written now, and it waits on.

        Raises StaleLease when this controller is no longer the one.
        """
        while self._waiting:
            keys = list(self._waiting)[:_BATCH]
            try:
                self.revision = self._store.apply([self._waiting[key] for key in keys], lease=self._lease)
            except StoreUnavailable as error:
                self.failed(error)
                return False
            for key in keys:
                del self._waiting[key]
        self.unavailable = ""
        garbage, self._garbage = self._garbage, []
        for operation in garbage:
            try:
                self._store.apply([operation], lease=self._lease)
            except RevisionConflict:
                continue  # it was written meanwhile, and the feed will tell
            except StoreUnavailable:
                self._garbage.append(operation)
        return True

    def failed(self, error: StoreUnavailable) -> None:
        """The store cannot be used now; said once, until something is saved again."""
        if not self.unavailable:
            log.error("the store cannot be used: %s", error)
        self.unavailable = str(error)
