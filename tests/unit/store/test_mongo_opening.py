"""What a MongoStore says of addresses, servers and databases that do not serve; and that it tells no password."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pymongo
import pytest

from mangrove.base.errors import CorruptFile, InvalidInput
from mangrove.store import mongo_database
from mangrove.store.interface import Put, StoreUnavailable
from mangrove.store.mongo import MongoStore
from tests.mongo_server import MongoServer, database


@pytest.fixture
def uri() -> Iterator[str]:
    with database() as uri:
        yield uri


@pytest.fixture
def raw(uri: str) -> Iterator[Any]:
    """The database, past the store."""
    with pymongo.MongoClient[dict[str, Any]](uri) as client:
        yield client.get_default_database()


@pytest.mark.parametrize(
    "wrong",
    [
        "mongodb://user:s3cr/et@host/db",
        "mongodb://user:s3cr@et@host/db",
        "mongodb://user:s3cret@host:port/db",
        "mongodb://user:s3cret@host:99999/db",
        "mongodb://user:s3cret@/db",
        "mongodb://user:s3cret@host/",
        "mongodb://user:s3cret@host/db?tls=perhaps&authMechanism=s3cret",
        "mongodb+srv://user:s3cret@host:1/db",
        "http://user:s3cret@host/db",
    ],
)
def test_an_address_that_cannot_be_used_is_explained_without_showing_it(wrong: str) -> None:
    with pytest.raises(InvalidInput, match="--store: ") as caught:
        MongoStore(wrong)
    assert "mongodb://" in caught.value.message
    assert "s3cr" not in caught.value.message
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_neither_errors_nor_logs_tell_the_password(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongo_database, "TIMEOUT", 0.3)
    with caplog.at_level(logging.DEBUG), pytest.raises(StoreUnavailable, match=r"mongodb://127.0.0.1:1/db ") as caught:
        MongoStore("mongodb://someone:s3cret@127.0.0.1:1/db")
    assert "s3cret" not in caught.value.message + caplog.text
    assert len(caught.value.message) < 400


def test_a_user_who_is_not_let_in_is_told_what_to_check(uri: str) -> None:
    with pytest.raises(StoreUnavailable, match=r"does not let this user in .*authSource") as caught:
        MongoStore(uri.replace("mongodb://", "mongodb://someone:s3cret@"))
    assert "s3cret" not in caught.value.message


def test_a_standalone_server_is_refused_with_the_way_out(tmp_path: Path) -> None:
    server = MongoServer(tmp_path, "--standalone")
    server.start()
    try:
        with pytest.raises(StoreUnavailable, match=r"standalone .*--replSet rs0 .*rs\.initiate"):
            MongoStore(f"{server.uri}/db")
    finally:
        server.kill()


def test_a_database_that_holds_something_else_is_refused_and_left_alone(uri: str, raw: Any) -> None:
    raw.cats.insert_one({"_id": "tom"})
    with pytest.raises(CorruptFile, match=r"no store of Mangrove.*'cats'.*name a new database"):
        MongoStore(uri)
    assert raw.list_collection_names() == ["cats"]


def test_a_store_without_its_head_is_refused(uri: str, raw: Any) -> None:
    with closing(MongoStore(uri)) as store:
        store.apply([Put("things", "a", {"n": 1})])
    raw.store.delete_many({})
    with pytest.raises(CorruptFile, match=r"lost its head.*restore a backup"):
        MongoStore(uri)
    raw.documents.delete_many({})
    MongoStore(uri).close()  # empty again, so a new one may begin


def test_a_store_that_is_emptied_under_way_says_so_and_does_not_begin_anew(uri: str, raw: Any) -> None:
    with closing(MongoStore(uri)) as store:
        lease = store.acquire("controller", "me")
        raw.client.drop_database(raw.name)
        for use in (
            store.revision,
            lambda: store.apply([Put("things", "a", {})], lease=lease),
            lambda: store.load("x"),
        ):
            with pytest.raises(StoreUnavailable, match="emptied"):
                use()
        assert raw.documents.count_documents({}) == 0
        with closing(MongoStore(uri)) as another:
            assert another.id != store.id
            with pytest.raises(StoreUnavailable, match="emptied"):
                store.load("things")


def test_an_older_copy_that_is_restored_under_way_is_not_taken_for_the_present(uri: str, raw: Any) -> None:
    with closing(MongoStore(uri)) as store:
        store.apply([Put("things", "a", {"n": 1})])
        head = raw.store.find_one({})
        newest = store.apply([Put("things", "a", {"n": 2})])
        raw.store.replace_one({}, head)
        for use in (store.revision, lambda: store.changes(newest), lambda: store.apply([Put("things", "a", {})])):
            with pytest.raises(StoreUnavailable, match="older copy was restored"):
                use()


def test_two_programs_that_begin_at_once_make_one_store(uri: str) -> None:
    with closing(MongoStore(uri)) as one, closing(MongoStore(uri)) as other:
        assert one.id == other.id
        one.apply([Put("things", "a", {"n": 1})])
        assert [stored.document for stored in other.load("things")] == [{"n": 1}]


def test_damage_is_said(uri: str, raw: Any) -> None:
    with closing(MongoStore(uri)) as store:
        store.apply([Put("things", "a", {"n": 1})])
        raw.documents.update_one({}, {"$set": {"body": "{"}})
        [stored] = store.load("things")
        with pytest.raises(StoreUnavailable, match="damaged: things/a"):
            stored.read(dict)
