"""The shared store: a database of MongoDB, for several programs at once. What `apply` returned is on most disks.

One document, the head, is written by every batch: so batches come one after the other, get their revisions from it, and
whoever lost a lease that stands in it cannot write.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress

from pymongo import ASCENDING
from pymongo.client_session import ClientSession
from pymongo.errors import PyMongoError

from mangrove.store import leases
from mangrove.store.batch import decode, depends_on_revision, evaluate, is_text
from mangrove.store.indexes import check_limit, check_query
from mangrove.store.interface import ABSENT, Change, Gap, Lease, Operation, Stored
from mangrove.store.mongo_database import HEAD, Database, Row
from mangrove.store.mongo_rows import id_of, key_of, query_key, write
from mangrove.store.mongo_schema import checked, opened
from mangrove.store.mongo_watch import Watch

#: Revisions for which it is remembered what was removed: minutes of a stormy tree. Readers follow within milliseconds.
REMEMBERED = 10_000
#: How often, in revisions, what is older is forgotten.
_FORGETTING = 1_000
#: Batches whose names the head holds, so that one that was done but not answered is not done again. Others write at
#: most some hundred batches while one is tried.
_BATCHES = 100
#: Documents asked for by id at once.
_AT_ONCE = 100
#: Rows that come in one answer, where 16 MB do not end it before.
_ROWS = 10_000


class MongoStore:
    """See Store. May be opened by several programs at once."""

    def __init__(self, uri: str) -> None:
        """uri: `mongodb://…/database`; the store is made when the database is empty.

        Raises InvalidInput when the address is wrong, StoreUnavailable when no server answers that can do what is
        needed, NewerStore when a newer version wrote it, CorruptFile when it holds something else.
        """
        self._database = Database(uri)
        try:
            head = opened(self._database)
        except BaseException:
            self._database.close()
            raise
        self._id: str = head["id"]
        self._watch = Watch(self._database, head["revision"])

    @property
    def id(self) -> str:
        return self._id

    @property
    def name(self) -> str:
        """Its address, without credentials."""
        return self._database.name

    def load(self, collection: str) -> list[Stored]:
        return self._find({"keys": collection})

    def page(self, collection: str, *, after: str = "", limit: int) -> list[Stored]:
        check_limit(limit)
        self._watch.check_open()
        if limit == 0 or not is_text(after):
            return []
        return self._find({"keys": collection, "_id": {"$gt": id_of(collection, after)}}, limit)

    def get(self, collection: str, id: str) -> Stored | None:
        return self.get_many(collection, [id]).get(id)

    def get_many(self, collection: str, ids: Sequence[str]) -> dict[str, Stored]:
        wanted = [id_of(collection, id) for id in dict.fromkeys(ids) if is_text(id)]
        found: list[Stored] = []
        for start in range(0, len(wanted), _AT_ONCE):
            found += self._find({"_id": {"$in": wanted[start : start + _AT_ONCE]}})
        self._watch.check_open()
        return {stored.id: stored for stored in found}

    def query(
        self, collection: str, field: str, value: str, *, after: str = "", limit: int | None = None
    ) -> list[Stored]:
        check_query(collection, field, limit)
        self._watch.check_open()
        if limit == 0 or not is_text(value) or not is_text(after):
            return []
        return self._find(
            {"keys": query_key(collection, field, value), "_id": {"$gt": id_of(collection, after)}}, limit or 0
        )

    def revision(self) -> int:
        self._watch.check_open()
        with self._database.operation():
            revision: int = self._database.head()["revision"]
        return revision

    def apply(self, operations: Sequence[Operation], *, lease: Lease | None = None) -> int:
        self._watch.check_open()
        batch = secrets.token_hex(8)
        revision = self._database.write(lambda session: self._apply(session, batch, operations, lease))
        self._database.heard(revision)
        self._watch.heard(revision)
        if revision % _FORGETTING == 0:
            self._forget(revision - REMEMBERED)
        return revision

    def changes(self, after: int, *, limit: int = 10_000) -> list[Change]:
        self._watch.check_open()
        if self._watch.is_newest(after):
            return []  # so that a loop which looks at each turn costs the server nothing
        rows = self._database.read(lambda session: self._changes(session, after, limit))
        return [Change(*key_of(row), row["revision"], decode(row["body"]) if "body" in row else None) for row in rows]

    def wait(self, after: int, timeout: float) -> bool:
        return self._watch.wait(after, timeout)

    def lease(self, name: str) -> Lease | None:
        self._watch.check_open()
        with self._database.operation():
            return _lease(self._database.head(), name)

    def acquire(self, name: str, holder: str, *, counter_seen: int | None = None, above: int = 0) -> Lease | None:
        return self._keep(name, lambda held: leases.taken(held, name, holder, counter_seen, above))

    def renew(self, lease: Lease) -> Lease | None:
        return self._keep(lease.name, lambda held: leases.renewed(held, lease))

    def close(self) -> None:
        self._watch.close()
        self._database.close()

    # -- within a transaction; each may be done again

    def _apply(self, session: ClientSession, batch: str, operations: Sequence[Operation], lease: Lease | None) -> int:
        head = checked(self._database, session)
        done: int | None = next((revision for name, revision in head["batches"] if name == batch), None)
        if done is not None:
            return done  # by an earlier try, of which the answer was lost
        if lease is not None:
            leases.check(_lease(head, lease.name), lease)
        present = self._revisions(session, operations)
        revision: int = head["revision"] + 1
        writes = evaluate(operations, revision, lambda *key: present.get(id_of(*key), ABSENT))
        if not writes:
            return revision - 1
        self._database.store.update_one(
            {"_id": HEAD},
            {
                "$set": {"revision": revision},
                "$push": {"batches": {"$each": [[batch, revision]], "$slice": -_BATCHES}},
            },
            session=session,
        )
        write(self._database, session, writes, revision)
        return revision

    def _revisions(self, session: ClientSession, operations: Sequence[Operation]) -> dict[str, int]:
        """The revisions, by `_id`, of the documents on which what is done depends."""
        wanted = {
            id_of(operation.collection, operation.id): None
            for operation in operations
            if depends_on_revision(operation) and is_text(operation.id)
        }
        ids = list(wanted)
        found: dict[str, int] = {}
        for start in range(0, len(ids), _AT_ONCE):
            rows = self._database.documents.find(
                {"_id": {"$in": ids[start : start + _AT_ONCE]}}, {"revision": 1}, session=session
            )
            found.update({row["_id"]: row["revision"] for row in rows})
        return found

    def _changes(self, session: ClientSession, after: int, limit: int) -> list[Row]:
        """Rows of `documents` and `removed`, by revision."""
        head = self._database.head(session)
        if not head["forgotten"] <= after <= head["revision"]:
            raise Gap(
                f"changes after revision {after} are not held (held: after {head['forgotten']} "
                f"to {head['revision']}); load anew"
            )

        def rows(condition: Row, most: int) -> list[Row]:
            found: list[Row] = []
            for collection in (self._database.documents, self._database.removed):
                cursor = collection.find({"revision": condition}, {"keys": 0}, session=session)
                found += cursor.sort("revision", ASCENDING).limit(most).batch_size(_ROWS)
            return sorted(found, key=lambda row: int(row["revision"]))

        found = rows({"$gt": after}, limit + 1)
        if len(found) <= limit:
            return found
        cut = found[limit]["revision"]
        whole = [row for row in found if row["revision"] < cut]
        return whole or rows({"$eq": cut}, 0)

    def _keep(self, name: str, decide: Callable[[Lease | None], Lease | None]) -> Lease | None:
        def keep(session: ClientSession) -> Lease | None:
            head = checked(self._database, session)
            lease = decide(_lease(head, name))
            if lease is not None:
                others = [one for one in head["leases"] if one[0] != name]
                kept = [*others, [lease.name, lease.holder, lease.term, lease.counter]]
                self._database.store.update_one({"_id": HEAD}, {"$set": {"leases": kept}}, session=session)
            return lease

        self._watch.check_open()
        return self._database.write(keep)

    # -- what else

    def _find(self, condition: Row, limit: int = 0) -> list[Stored]:
        """Documents by id, as they all were at one moment."""
        self._watch.check_open()
        with self._database.operation(), self._database.client.start_session(snapshot=True) as session:
            cursor = self._database.documents.find(condition, {"keys": 0}, session=session)
            rows = list(cursor.sort("_id", ASCENDING).limit(limit).batch_size(_ROWS))
            if not rows:
                self._database.head()  # or there is nothing because there is no store any more
        return [Stored(*key_of(row), row["revision"], row["body"]) for row in rows]

    def _forget(self, revision: int) -> None:
        """Let go of what was removed up to `revision`; what fails is made up for the next time."""
        if revision > 0:
            with suppress(PyMongoError):
                self._database.store.update_one({"_id": HEAD}, {"$max": {"forgotten": revision}})
                self._database.removed.delete_many({"revision": {"$lte": revision}})


def _lease(head: Row, name: str) -> Lease | None:
    return next((Lease(*kept) for kept in head["leases"] if kept[0] == name), None)
