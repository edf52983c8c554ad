"""How documents lie in a MongoStore's collections. Bodies are text: MongoDB would refuse or change some JSON."""

from __future__ import annotations

from pymongo import DeleteOne, ReplaceOne
from pymongo.client_session import ClientSession

from mangrove.store.batch import Key, Writes, indexed
from mangrove.store.mongo_database import Database, Row


def id_of(collection: str, id: str) -> str:
    """The `_id` of a document; names of collections have no slash."""
    return f"{collection}/{id}"


def key_of(row: Row) -> Key:
    """Collection and id."""
    collection, _, id = row["_id"].partition("/")
    return collection, id


def query_key(collection: str, field: str, value: str) -> str:
    """By what documents are found whose `field` is `value`: one index serves all collections and fields."""
    return f"{collection}.{field}={value}"


def row_of(collection: str, id: str, revision: int, body: bytes) -> Row:
    """A document as it is kept. Its first key is its collection: by that all of it is found, in order."""
    keys = [collection]
    keys += [query_key(collection, field, value) for field, value in indexed(collection, body)]
    return {"_id": id_of(collection, id), "revision": revision, "body": body.decode(), "keys": keys}


def write(database: Database, session: ClientSession, writes: Writes, revision: int) -> None:
    """Write documents, and note what was removed."""
    documents: list[ReplaceOne[Row] | DeleteOne] = []
    removed: list[ReplaceOne[Row]] = []
    for key, body in writes.items():
        id = id_of(*key)
        if body is None:
            documents.append(DeleteOne({"_id": id}))
            removed.append(ReplaceOne({"_id": id}, {"_id": id, "revision": revision}, upsert=True))
        else:
            documents.append(ReplaceOne({"_id": id}, row_of(*key, revision, body), upsert=True))
    database.documents.bulk_write(documents, ordered=False, session=session)
    if removed:
        database.removed.bulk_write(removed, ordered=False, session=session)
