"""How documents lie in MongoDB, on mongomock: what one write leaves is found by what a query asks for."""

from __future__ import annotations

from typing import Any

import mongomock
import msgspec
import pytest

from mangrove.store.mongo_rows import key_of, query_key, row_of

ODD: dict[str, Any] = {"$set": {"a.b": 1}, "service": "s1", "large": 2**80, "": [None, "\x00é"]}


@pytest.fixture
def rows() -> Any:
    """A collection with two slots of one service, one of another, and a document of another kind."""
    rows: Any = mongomock.MongoClient()["mangrove"]["documents"]
    for collection, id, document in (
        ("slots", "s1.1", {"service": "s1"}),
        ("slots", "s1.0", ODD),
        ("slots", "s2.0", {"service": "s2"}),
        ("placements", "s1.0", {"service": "s1"}),
    ):
        rows.insert_one(row_of(collection, id, 7, msgspec.json.encode(document)))
    return rows


def found(rows: Any, key: str) -> list[tuple[str, str]]:
    return [key_of(row) for row in rows.find({"keys": key}).sort("_id", 1)]


def test_a_collection_is_found_by_its_name_alone(rows: Any) -> None:
    assert found(rows, "slots") == [("slots", "s1.0"), ("slots", "s1.1"), ("slots", "s2.0")]


def test_documents_are_found_by_a_declared_field(rows: Any) -> None:
    assert found(rows, query_key("slots", "service", "s1")) == [("slots", "s1.0"), ("slots", "s1.1")]
    assert found(rows, query_key("placements", "service", "s1")) == []  # no field of theirs is declared


def test_a_body_that_no_document_of_mongodb_could_be_comes_back_as_it_was(rows: Any) -> None:
    row = rows.find_one({"_id": "slots/s1.0"})
    assert msgspec.json.decode(row["body"]) == ODD
    assert row["revision"] == 7
