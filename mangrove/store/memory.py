"""A store in memory: for simulation, where it is the disk that outlives a crashed process, and for tests."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field as attribute
from heapq import nsmallest

from mangrove.base.ids import new_id
from mangrove.store import leases
from mangrove.store.batch import evaluate, indexed
from mangrove.store.feed import Feed
from mangrove.store.indexes import check_limit, check_query
from mangrove.store.interface import ABSENT, Change, Lease, Operation, Stored


@dataclass(frozen=True, slots=True)
class _Entry:
    """A document as it is kept: encoded, so that nobody outside holds a part of it. indexed: (field, value) each."""

    revision: int
    document: bytes
    indexed: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class _Collection:
    """entries: by id. ids: by (field, value), sorted."""

    name: str
    entries: dict[str, _Entry] = attribute(default_factory=dict)
    ids: dict[tuple[str, str], list[str]] = attribute(default_factory=dict)

    def put(self, id: str, revision: int, encoded: bytes) -> None:
        self.remove(id)
        found = tuple(indexed(self.name, encoded))
        for key in found:
            insort(self.ids.setdefault(key, []), id)
        self.entries[id] = _Entry(revision, encoded, found)

    def remove(self, id: str) -> None:
        entry = self.entries.pop(id, None)
        if entry is None:
            return
        for key in entry.indexed:
            ids = self.ids[key]
            del ids[bisect_left(ids, id)]
            if not ids:
                del self.ids[key]


class MemoryStore:
    """See Store. It lasts as long as the object does: `reopen` gives it to the process that comes after a crash."""

    def __init__(self, id: str | None = None) -> None:
        """id: of the store, 24 hexadecimal digits; made at random when not given."""
        self._id = id or new_id()
        self._lock = threading.Lock()
        self._collections: dict[str, _Collection] = {}
        self._leases: dict[str, Lease] = {}
        self._feed = Feed(0)

    def reopen(self) -> MemoryStore:
        """This store as a new process finds it: all that was written, and a feed that starts at the newest revision.

        Threads of the old process that still wait get StoreUnavailable. Works with and without `close` before.
        """
        with self._lock:
            self._feed.close()
            self._feed = Feed(self._feed.revision)
        return self

    def copy(self) -> MemoryStore:
        """This store as it is now, under the same id: what a backup made at this moment would bring back."""
        with self._lock:
            copied = MemoryStore(self._id)
            for name, collection in self._collections.items():
                ids = {key: list(found) for key, found in collection.ids.items()}
                copied._collections[name] = _Collection(name, dict(collection.entries), ids)
            copied._leases = dict(self._leases)
            copied._feed = Feed(self._feed.revision)
        return copied

    @property
    def id(self) -> str:
        return self._id

    def load(self, collection: str) -> list[Stored]:
        with self._lock:
            found = list(self._open(collection).entries.items())
        found.sort()
        return [_stored(collection, id, entry) for id, entry in found]

    def page(self, collection: str, *, after: str = "", limit: int) -> list[Stored]:
        check_limit(limit)
        with self._lock:
            entries = self._open(collection).entries
            found = [(id, entries[id]) for id in nsmallest(limit, (id for id in entries if id > after))]
        return [_stored(collection, id, entry) for id, entry in found]

    def get(self, collection: str, id: str) -> Stored | None:
        with self._lock:
            entry = self._open(collection).entries.get(id)
        return None if entry is None else _stored(collection, id, entry)

    def get_many(self, collection: str, ids: Sequence[str]) -> dict[str, Stored]:
        with self._lock:
            entries = self._open(collection).entries
            found = [(id, entries[id]) for id in ids if id in entries]
        return {id: _stored(collection, id, entry) for id, entry in found}

    def query(
        self, collection: str, field: str, value: str, *, after: str = "", limit: int | None = None
    ) -> list[Stored]:
        check_query(collection, field, limit)
        with self._lock:
            opened = self._open(collection)
            ids = opened.ids.get((field, value), [])
            first = bisect_right(ids, after)
            found = [(id, opened.entries[id]) for id in ids[first : None if limit is None else first + limit]]
        return [_stored(collection, id, entry) for id, entry in found]

    def revision(self) -> int:
        self._feed.check_open()
        return self._feed.revision

    def apply(self, operations: Sequence[Operation], *, lease: Lease | None = None) -> int:
        with self._lock:
            self._feed.check_open()
            if lease is not None:
                leases.check(self._leases.get(lease.name), lease)
            revision = self._feed.revision + 1
            writes = evaluate(operations, revision, self._revision_of)
            if not writes:
                return self._feed.revision
            for (collection, id), document in writes.items():
                if document is None:
                    self._open(collection).remove(id)
                else:
                    self._open(collection).put(id, revision, document)
            self._feed.publish(writes)
            return revision

    def changes(self, after: int, *, limit: int = 10_000) -> list[Change]:
        return self._feed.changes(after, limit)

    def wait(self, after: int, timeout: float) -> bool:
        return self._feed.wait(after, timeout)

    def lease(self, name: str) -> Lease | None:
        with self._lock:
            self._feed.check_open()
            return self._leases.get(name)

    def acquire(self, name: str, holder: str, *, counter_seen: int | None = None, above: int = 0) -> Lease | None:
        with self._lock:
            self._feed.check_open()
            lease = leases.taken(self._leases.get(name), name, holder, counter_seen, above)
            if lease is not None:
                self._leases[name] = lease
            return lease

    def renew(self, lease: Lease) -> Lease | None:
        with self._lock:
            self._feed.check_open()
            newer = leases.renewed(self._leases.get(lease.name), lease)
            if newer is not None:
                self._leases[lease.name] = newer
            return newer

    def close(self) -> None:
        self._feed.close()

    def _open(self, collection: str) -> _Collection:
        """Raises StoreUnavailable when closed. Call with the lock held."""
        self._feed.check_open()
        if collection not in self._collections:
            self._collections[collection] = _Collection(collection)
        return self._collections[collection]

    def _revision_of(self, collection: str, id: str) -> int:
        entry = self._open(collection).entries.get(id)
        return ABSENT if entry is None else entry.revision


def _stored(collection: str, id: str, entry: _Entry) -> Stored:
    return Stored(collection, id, entry.revision, entry.document)
