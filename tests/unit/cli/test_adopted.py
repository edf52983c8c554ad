"""Backups, restores, and what a restored store did not know, as an operator types it."""

from __future__ import annotations

import json
from pathlib import Path

import pymongo
import pytest

from mangrove.model.attempt import Attempt
from mangrove.model.documents import ADOPTED, SLOTS, SPECIFICATIONS, Adopted
from mangrove.model.resources import Resources
from mangrove.model.specification import Specification
from mangrove.roles.parent import CONTROLLER
from mangrove.roles.stores import open_store
from mangrove.store.interface import Put
from mangrove.store.sqlite import SqliteStore
from tests.mongo_server import database
from tests.root_api import CLUSTER, RootApi
from tests.unit.cli.conftest import CommandLine

WEB = Specification("shop.test.web.test")
FIRST, SECOND = "a" * 24, "b" * 24


@pytest.fixture
def adopted(root: RootApi) -> RootApi:
    root.add_cluster()
    root.put(SPECIFICATIONS, WEB.digest, WEB)
    for number, id in ((0, FIRST), (1, SECOND)):
        attempt = Attempt(id, "5" * 24, number, 1, WEB.digest)
        root.put(ADOPTED, id, Adopted(attempt, CLUSTER, "alpha", f"shop.web.{number}", Resources(), 5.0))
    return root


def test_what_is_adopted_is_listed_kept_by_its_name_and_dropped_by_its_id(cli: CommandLine, adopted: RootApi) -> None:
    lines = [line.split() for line in cli("adopted", "list").output.splitlines()]
    assert [line[:2] for line in lines[1:]] == [["shop.web.0", "alpha"], ["shop.web.1", "alpha"]]
    assert [each["id"] for each in json.loads(cli("adopted", "list", "-o", "json").output)] == [FIRST, SECOND]
    said = cli("adopted", "keep", "shop.web.0")
    assert (said.code, said.error) == (0, "shop.web.0 on alpha is kept.\n")
    assert adopted.store.get(SLOTS, f"{'5' * 24}.0") is not None
    said = cli("adopted", "drop", SECOND[:6])
    assert (said.code, said.error) == (0, "shop.web.1 on alpha is being stopped.\n")
    stored = adopted.store.get(ADOPTED, SECOND)
    assert stored is not None
    assert stored.read(Adopted).dropped
    assert cli("adopted", "drop", SECOND[:6]).code == 3, "it is being stopped"
    assert cli("adopted", "keep", "shop.web.9").code == 3


def test_one_name_for_two_things_is_asked_about(cli: CommandLine, adopted: RootApi) -> None:
    attempt = Attempt("c" * 24, "5" * 24, 1, 1, WEB.digest)
    adopted.put(ADOPTED, attempt.id, Adopted(attempt, CLUSTER, "alpha", "shop.web.1", Resources(), 5.0))
    said = cli("adopted", "drop", "shop.web.1")
    assert said.code == 4
    assert f"shop.web.1 on alpha ({attempt.id[:12]})" in said.error
    assert SECOND[:12] in said.error


@pytest.mark.parametrize(("noun", "name"), [("root", "root.db"), ("cluster", "cluster.db")])
def test_a_store_is_backed_up_and_restored(cli: CommandLine, tmp_path: Path, noun: str, name: str) -> None:
    data = tmp_path / "data"
    store = SqliteStore(data / name)
    store.apply([Put("things", "1", {})])
    said = cli(noun, "backup", "copy.db", "--data-dir", str(data))
    assert said.code == 0, said.error
    store.apply([Put("things", "2", {})])
    said = cli(noun, "restore", "copy.db", "--data-dir", str(data))
    assert said.code == 1
    assert "in use by process" in said.error
    store.close()
    said = cli(noun, "restore", "copy.db", "--data-dir", str(data), "--adopt", "60")
    assert said.code == 0, said.error
    assert "goes on with this store" in said.error
    [aside] = data.glob(f"{name}.replaced-*")
    assert str(aside) in said.error
    store = SqliteStore(data / name)
    assert [stored.id for stored in store.load("things")] == ["1"]
    lease, terms = store.lease(CONTROLLER), store.get("meta", "terms")
    assert lease is not None
    assert terms is not None
    assert lease.term > 1_000_000
    assert (terms.document["accepted"], terms.document["adopt"]) == (lease.term, 60.0)
    started = store.get("meta", "incarnation")
    assert (started is not None and started.document["count"] >= 1_000_000) is (noun == "cluster")
    store.close()
    assert cli(noun, "restore", "--data-dir", str(data)).code == 0, "again, and without a file"


def test_a_database_that_its_own_tools_brought_back_is_gone_on_with(cli: CommandLine, tmp_path: Path) -> None:
    """What `mongodump` has read and `mongorestore --drop` has written, document by document."""
    with database() as uri, pymongo.MongoClient[dict[str, object]](uri) as client:
        tables = client.get_default_database()
        first = open_store(uri, tmp_path, "root.db")
        lease = first.store.acquire(CONTROLLER, first.holder)
        assert lease is not None
        first.store.apply([Put("things", "1", {})], lease=lease)
        first.store.close()
        dump = {name: list(tables[name].find()) for name in tables.list_collection_names()}
        lost = open_store(uri, tmp_path, "root.db")
        lost.store.apply([Put("things", "2", {})])
        lost.store.close()
        for name, documents in dump.items():
            tables[name].delete_many({})
            if documents:
                tables[name].insert_many(documents)
        said = cli("root", "restore", "--data-dir", str(tmp_path), "--store", uri, "--adopt", "60")
        assert said.code == 0, said.error
        store = open_store(uri, tmp_path, "root.db").store
        try:
            assert store.id == first.store.id
            assert [stored.id for stored in store.load("things")] == ["1"]
            now, terms = store.lease(CONTROLLER), store.get("meta", "terms")
            assert now is not None
            assert terms is not None
            assert now.term > lease.term + 1_000_000
            assert (terms.document["accepted"], terms.document["adopt"]) == (now.term, 60.0)
            assert store.renew(lease) is None, "who had it cannot write any more"
        finally:
            store.close()
        assert not (tmp_path / "root.db").exists()


def test_what_cannot_be_backed_up_or_restored_is_said(cli: CommandLine, tmp_path: Path) -> None:
    assert cli("root", "backup", "copy.db", "--data-dir", str(tmp_path)).code == 3
    assert "mongodump" in cli("root", "backup", "copy.db", "--store", "mongodb://x/y").error
    assert "mongorestore" in cli("root", "restore", "copy.db", "--store", "mongodb://x/y").error
    said = cli("root", "restore", "--data-dir", str(tmp_path))
    assert said.code == 2
    assert "name the backup" in said.error
    (tmp_path / "rubbish").write_text("rubbish")
    assert cli("root", "restore", "rubbish", "--data-dir", str(tmp_path)).code == 1
    assert not (tmp_path / "root.db").exists()
