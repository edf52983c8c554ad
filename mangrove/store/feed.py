"""The change feed of a store within one process: the newest batches, and a way to wait for the next."""

from __future__ import annotations

import threading

from mangrove.store.batch import Writes, decode
from mangrove.store.interface import Change, Gap, StoreUnavailable

#: Bytes of memory for changes held: a sixth of the smallest memory budget of a parent (90 MB), some 30,000 changes of
#: usual size. Readers follow within milliseconds; one that is further behind is quicker when it loads anew.
HELD_BYTES = 16 * 1024 * 1024

#: Bytes that one change costs beside its document (keys, dict entries): 250 measured with CPython 3.11, rounded up.
CHANGE_COST = 300


class Feed:
    """Batches by revision, oldest dropped first. Revisions follow each other without a hole."""

    def __init__(self, revision: int) -> None:
        """revision: the store's newest; what came before is not known here."""
        self._moved = threading.Condition()
        #: The newest revision.
        self.revision = revision
        self._batches: dict[int, tuple[Writes, int]] = {}
        self._oldest = revision + 1
        self._bytes = 0
        self._closed = False

    def publish(self, writes: Writes) -> None:
        """Make the next revision known, with what it wrote."""
        cost = sum(CHANGE_COST + len(document or b"") for document in writes.values())
        with self._moved:
            self.revision += 1
            self._batches[self.revision] = (writes, cost)
            self._bytes += cost
            while self._bytes > HELD_BYTES:
                self._bytes -= self._batches.pop(self._oldest)[1]
                self._oldest += 1
            self._moved.notify_all()

    def changes(self, after: int, limit: int) -> list[Change]:
        """See Store.changes. A revision that this store never reached is a Gap, too: the reader knew another past."""
        found: list[tuple[int, Writes]] = []
        count = 0
        with self._moved:
            self.check_open()
            if not self._oldest - 1 <= after <= self.revision:
                raise Gap(
                    f"changes after revision {after} are not held (held: after {self._oldest - 1} "
                    f"to {self.revision}); load anew"
                )
            for revision in range(after + 1, self.revision + 1):
                writes = self._batches[revision][0]
                count += len(writes)
                if found and count > limit:
                    break
                found.append((revision, writes))
        return [
            Change(collection, id, revision, None if document is None else decode(document))
            for revision, writes in found
            for (collection, id), document in writes.items()
        ]

    def wait(self, after: int, timeout: float) -> bool:
        """See Store.wait. Raises StoreUnavailable as soon as the store is closed."""
        with self._moved:
            moved = self._moved.wait_for(lambda: self._closed or self.revision > after, timeout)
            self.check_open()
            return moved

    def close(self) -> None:
        """Wake all who wait, and refuse from now on."""
        with self._moved:
            self._closed = True
            self._batches.clear()
            self._moved.notify_all()

    def check_open(self) -> None:
        """Raises StoreUnavailable when closed."""
        if self._closed:
            raise StoreUnavailable("the store is closed")
