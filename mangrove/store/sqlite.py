"""The embedded store: one SQLite file, one process. What `apply` returned survives SIGKILL and power cuts."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path

from mangrove.base.errors import MangroveError
from mangrove.store import leases
from mangrove.store.asked import Asked
from mangrove.store.batch import Key, Writes, encode, evaluate, is_text
from mangrove.store.feed import Feed
from mangrove.store.indexes import check_limit, check_query
from mangrove.store.interface import ABSENT, Change, Lease, Operation, Stored
from mangrove.store.sqlite_file import explained, indexed, lock, open_reader, open_writer

#: Connections kept for the next reader: as many as the HTTP server has threads by default (waitress: 4).
IDLE_READERS = 4


@dataclass(slots=True)
class _Batch:
    """What one caller of `apply` wants written, and what became of it."""

    operations: Sequence[Operation]
    lease: Lease | None
    done: bool = False
    revision: int = 0
    writes: Writes = field(default_factory=dict)
    error: Exception | None = None


class SqliteStore:
    """See Store. One connection writes, others read what was committed last and never wait for it."""

    def __init__(self, path: Path) -> None:
        """path: of the file, made when it is missing; `-wal`, `-shm` and `.lock` files stand beside it.

        Raises StoreUnavailable when another process uses it or the system refuses, NewerStore when a newer version
        wrote it, CorruptFile when it is damaged or no store. It is then left untouched.
        """
        self._path = path.resolve()
        self._lock_file = lock(self._path)
        try:
            self._writer, self._id, revision = open_writer(self._path)
        except BaseException:
            os.close(self._lock_file)
            raise
        self._writing = threading.Lock()
        self._queueing = threading.Lock()
        self._queue: list[_Batch] = []
        self._readers = Readers(self._path)
        self._feed = Feed(revision)
        self._asked = Asked()
        self._written: dict[Key, int] = {}  # revisions by earlier batches of the transaction under way

    @property
    def id(self) -> str:
        return self._id

    def load(self, collection: str) -> list[Stored]:
        return self._documents(
            collection, "SELECT id, revision, document FROM documents WHERE collection = ? ORDER BY id", collection
        )

    def page(self, collection: str, *, after: str = "", limit: int) -> list[Stored]:
        check_limit(limit)
        if not is_text(after):
            return []
        return self._documents(
            collection,
            "SELECT id, revision, document FROM documents WHERE collection = ? AND id > ? ORDER BY id LIMIT ?",
            collection,
            after,
            limit,
        )

    def get(self, collection: str, id: str) -> Stored | None:
        self._feed.check_open()
        return self._asked.get((collection, id), lambda: self.get_many(collection, [id]).get(id))

    def get_many(self, collection: str, ids: Sequence[str]) -> dict[str, Stored]:
        # One parameter for all ids, since SQLite limits how many there may be.
        found = self._documents(
            collection,
            "SELECT id, revision, document FROM documents WHERE collection = ? "
            "AND id IN (SELECT value FROM json_each(?))",
            collection,
            encode([id for id in ids if is_text(id)]).decode(),
        )
        return {stored.id: stored for stored in found}

    def query(
        self, collection: str, field: str, value: str, *, after: str = "", limit: int | None = None
    ) -> list[Stored]:
        check_query(collection, field, limit)
        if not is_text(value) or not is_text(after):
            return []
        return self._documents(
            collection,
            query_sql(collection, field),
            encode([value, value]).decode(),
            after,
            -1 if limit is None else limit,
        )

    def revision(self) -> int:
        self._feed.check_open()
        return self._feed.revision

    def apply(self, operations: Sequence[Operation], *, lease: Lease | None = None) -> int:
        batch = _Batch(operations, lease)
        with self._queueing:
            self._queue.append(batch)
        with self._writing:
            if not batch.done:
                self._write_queue()
        if batch.error is not None:
            raise batch.error
        return batch.revision

    def changes(self, after: int, *, limit: int = 10_000) -> list[Change]:
        return self._feed.changes(after, limit)

    def wait(self, after: int, timeout: float) -> bool:
        return self._feed.wait(after, timeout)

    def lease(self, name: str) -> Lease | None:
        self._feed.check_open()
        with explained(self._path), self._readers.borrow() as connection:
            return _lease(connection, name)

    def acquire(self, name: str, holder: str, *, counter_seen: int | None = None, above: int = 0) -> Lease | None:
        with self._writing, self._transaction():
            return self._keep(leases.taken(_lease(self._writer, name), name, holder, counter_seen, above))

    def renew(self, lease: Lease) -> Lease | None:
        with self._writing, self._transaction():
            return self._keep(leases.renewed(_lease(self._writer, lease.name), lease))

    def close(self) -> None:
        self._feed.close()
        with self._writing:
            if self._lock_file < 0:
                return
            self._readers.close()
            self._writer.close()
            os.close(self._lock_file)
            self._lock_file = -1

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing, on the disk when it ends. Call with `_writing` held."""
        self._feed.check_open()
        with explained(self._path):
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._writer.execute("COMMIT")
            finally:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")

    def _write_queue(self) -> None:
        """Write all batches that wait, each with a revision of its own: one commit, which is what takes long, for all.

        Call with `_writing` held.
        """
        with self._queueing:
            batches, self._queue = self._queue, []
        failed: Exception | None = None
        self._written.clear()
        try:
            with self._transaction():
                revision = self._feed.revision
                for batch in batches:
                    revision = self._write_batch(batch, revision)
        except Exception as error:
            failed = error
        for batch in batches:
            batch.done = True
            if failed is not None:
                batch.error = batch.error or copy(failed)  # each thread raises its own
            elif batch.writes:
                self._asked.committed(batch.writes, batch.revision)
                self._feed.publish(batch.writes)

    def _write_batch(self, batch: _Batch, revision: int) -> int:
        """The revision after it; what its preconditions refuse has written nothing, and is no concern of the others."""
        try:
            if batch.lease is not None:
                leases.check(_lease(self._writer, batch.lease.name), batch.lease)
            writes = evaluate(batch.operations, revision + 1, self._revision_of)
        except (MangroveError, ValueError, TypeError) as error:
            batch.error = error
            return revision
        if writes:
            revision += 1
            self._write(writes, revision)
            for key, document in writes.items():
                self._written[key] = ABSENT if document is None else revision
        batch.writes, batch.revision = writes, revision
        return revision

    def _write(self, writes: Writes, revision: int) -> None:
        self._writer.executemany(
            "INSERT INTO documents VALUES (?, ?, ?, ?) ON CONFLICT (collection, id) "
            "DO UPDATE SET revision = excluded.revision, document = excluded.document",
            [(*key, revision, document.decode()) for key, document in writes.items() if document is not None],
        )
        self._writer.executemany(
            "DELETE FROM documents WHERE collection = ? AND id = ?",
            [key for key, document in writes.items() if document is None],
        )
        self._writer.execute("UPDATE store SET revision = ?", (revision,))

    def _revision_of(self, collection: str, id: str) -> int:
        key = (collection, id)
        if key in self._written:
            return self._written[key]
        known = self._asked.known(key)
        if known is not None:
            return known.revision
        row = self._writer.execute(
            "SELECT revision FROM documents WHERE collection = ? AND id = ?", (collection, id)
        ).fetchone()
        return row[0] if row else ABSENT

    def _keep(self, lease: Lease | None) -> Lease | None:
        if lease is not None:
            self._writer.execute(
                "INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?)",
                (lease.name, lease.holder, lease.term, lease.counter),
            )
        return lease

    def _documents(self, collection: str, sql: str, *parameters: str | int) -> list[Stored]:
        self._feed.check_open()
        with explained(self._path), self._readers.borrow() as connection:
            rows = connection.execute(sql, parameters).fetchall()
        return [Stored(collection, *row) for row in rows]


def _lease(connection: sqlite3.Connection, name: str) -> Lease | None:
    row = connection.execute("SELECT name, holder, term, counter FROM leases WHERE name = ?", (name,)).fetchone()
    return Lease(*row) if row else None


def query_sql(collection: str, field: str) -> str:
    """Parameters: the JSON text of [value, value], the id to begin behind, how many at most (-1: all)."""
    # The collection stands in the text, so that SQLite knows that the index on part of the table serves.
    return (
        f"SELECT id, revision, document FROM documents WHERE collection = '{collection}' "
        f"AND {indexed(field)} = ? AND id > ? ORDER BY id LIMIT ?"
    )


class Readers:
    """Connections that only read, each used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._room = IDLE_READERS

    @contextmanager
    def borrow(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = open_reader(self._path)
        try:
            yield connection
        finally:
            with self._lock:
                kept = len(self._idle) < self._room
                if kept:
                    self._idle.append(connection)
            if not kept:
                connection.close()

    def close(self) -> None:
        """Those in use are closed when they come back."""
        with self._lock:
            self._room = 0
            for connection in self._idle:
                connection.close()
            self._idle.clear()
