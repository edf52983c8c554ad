"""Knows when a MongoStore moves: by its own writes at once, by those of other programs through a change stream."""

from __future__ import annotations

import logging
import threading

from pymongo.errors import InvalidOperation, PyMongoError

from mangrove.store.interface import StoreUnavailable
from mangrove.store.mongo_database import HEAD, Database

log = logging.getLogger(__name__)

#: Milliseconds after which the server answers the stream that nothing happened, so that a dead connection is found.
_AWAIT = 1000
#: Seconds between two tries while the stream cannot be had; the revision is read at each.
_AGAIN = 0.5


class Watch:
    """The newest revision that this program heard of, and a way to wait for the next."""

    def __init__(self, database: Database, revision: int) -> None:
        self._database = database
        self._revision = revision
        self._moved = threading.Condition()
        self._closed = threading.Event()
        self._following = False
        self._thread: threading.Thread | None = None

    def heard(self, revision: int) -> None:
        """There is this revision."""
        with self._moved:
            if revision > self._revision:
                self._revision = revision
                self._moved.notify_all()

    def is_newest(self, revision: int) -> bool:
        """Whether nothing has been written behind `revision`, as far as whoever waits will be told."""
        return self._following and revision == self._revision

    def wait(self, after: int, timeout: float) -> bool:
        """See Store.wait. Raises StoreUnavailable as soon as the store is closed."""
        with self._moved:
            self.check_open()
            if self._thread is None:
                self._thread = threading.Thread(target=self._follow, name="store changes", daemon=True)
                self._thread.start()
            moved = self._moved.wait_for(lambda: self._closed.is_set() or self._revision > after, timeout)
            self.check_open()
            return moved

    def check_open(self) -> None:
        """Raises StoreUnavailable when closed."""
        if self._closed.is_set():
            raise StoreUnavailable("the store is closed")

    def close(self) -> None:
        """Wake all who wait, and refuse from now on. The thread ends at the next answer of the server."""
        with self._moved:
            self._closed.set()
            self._moved.notify_all()

    def _follow(self) -> None:
        while not self._closed.is_set():
            try:
                self._stream()
            except InvalidOperation:  # closed meanwhile
                return
            except (PyMongoError, StoreUnavailable) as error:
                log.debug("the store's change stream ended: %s", error)
            self._following = False
            self._closed.wait(_AGAIN)

    def _stream(self) -> None:
        """Follow the head; what was written before the stream stood is read once it does."""
        only_head = [{"$match": {"documentKey._id": HEAD}}]
        self.heard(self._database.head()["revision"])
        with self._database.store.watch(only_head, max_await_time_ms=_AWAIT) as stream:
            self.heard(self._database.head()["revision"])
            self._following = True
            while not self._closed.is_set():
                change = stream.try_next()
                if change is not None:
                    updated = change.get("updateDescription", {}).get("updatedFields", {})
                    self.heard(updated.get("revision", 0))
