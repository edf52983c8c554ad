"""The state of a MongoStore's database: made when it is empty, brought up to date when it is older, else refused."""

from __future__ import annotations

from contextlib import suppress

from pymongo import ASCENDING
from pymongo.client_session import ClientSession
from pymongo.errors import DuplicateKeyError

from mangrove.base.errors import CorruptFile
from mangrove.base.ids import is_id, new_id
from mangrove.store import migrations
from mangrove.store.batch import Writes, decode, encode
from mangrove.store.interface import INDEXES, StoreUnavailable
from mangrove.store.migrations import NewerStore
from mangrove.store.mongo_database import HEAD, Database, Row
from mangrove.store.mongo_rows import key_of, write

#: Documents changed in one transaction: some hundredths of a second.
_AT_ONCE = 500


def opened(database: Database) -> Row:
    """The head of the database, which holds a store as this version knows it when this returns.

    Raises CorruptFile when it holds something else, NewerStore, StoreUnavailable.
    """
    with database.operation():
        _create(database)
    database.register()
    while True:
        with database.operation():
            head = database.head()
        if not is_id(str(head.get("id"))):
            raise CorruptFile(f"{database.name} is damaged: its id is gone; restore a backup")
        if head["schema"] > len(migrations.MIGRATIONS):
            raise NewerStore(database.name, head["schema"], len(migrations.MIGRATIONS))
        if _is_up_to_date(head):
            return head
        database.write(lambda session: _step(database, session))


def checked(database: Database, session: ClientSession) -> Row:
    """The head, to write beside it. Raises StoreUnavailable when another version has brought it to its own state."""
    head = database.head(session)
    if not _is_up_to_date(head):
        raise StoreUnavailable(
            f"{database.name} is used by another version of Mangrove now; let all programs on it be of one version"
        )
    return head


def _create(database: Database) -> None:
    """The head makes a store of it, and comes last: after a crash there is a whole store or none."""
    if database.store.find_one({"_id": HEAD}) is not None:
        return
    if used := database.first_used():
        raise CorruptFile(
            f"{database.name} is no store of Mangrove, or lost its head: the collection {used!r} holds something; "
            "restore a backup, or name a new database"
        )
    database.documents.create_index([("keys", ASCENDING), ("_id", ASCENDING)])
    database.documents.create_index([("revision", ASCENDING)])
    database.removed.create_index([("revision", ASCENDING)])
    with suppress(DuplicateKeyError):  # another program made it at the same moment
        database.store.insert_one(
            {
                "_id": HEAD,
                "id": new_id(),
                "revision": 0,
                "forgotten": 0,
                "batches": [],
                "leases": [],
                "schema": len(migrations.MIGRATIONS),
                "indexes": _indexes(),
                "migrated": "",
            }
        )


def _indexes() -> str:
    return encode(INDEXES).decode()


def _is_up_to_date(head: Row) -> bool:
    up_to_date: bool = (head["schema"], head["indexes"], head["migrated"]) == (
        len(migrations.MIGRATIONS),
        _indexes(),
        "",
    )
    return up_to_date


def _step(database: Database, session: ClientSession) -> None:
    """Bring the next documents to the next schema, and note how far that went: whoever opens the store goes on there.

    Documents are written anew in any case, for this also makes their keys.
    """
    head = database.head(session)
    if _is_up_to_date(head):
        return  # another program was quicker
    schema = head["schema"]
    known = migrations.MIGRATIONS[schema : schema + 1]
    rows = list(
        database.documents.find({"_id": {"$gt": head["migrated"]}}, session=session)
        .sort("_id", ASCENDING)
        .limit(_AT_ONCE)
    )
    writes: Writes = {}
    for row in rows:
        document = decode(row["body"])
        collection, id = key_of(row)
        after = migrations.changed(known[0], collection, id, document) if known else document
        if after != document or collection in INDEXES:
            writes[collection, id] = None if after is None else encode(after)
    revision = head["revision"] + bool(writes)
    if writes:
        write(database, session, writes, revision)
    done = {"migrated": rows[-1]["_id"]} if rows else {"migrated": "", "schema": schema + len(known)}
    if not rows and done["schema"] == len(migrations.MIGRATIONS):
        done["indexes"] = _indexes()
    database.store.update_one({"_id": HEAD}, {"$set": {"revision": revision, **done}}, session=session)
