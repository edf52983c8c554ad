"""The contract of migrations: an older store is brought up to date as it opens, a newer one is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mangrove.store import interface, migrations
from mangrove.store.interface import Delete, Document, Put, Store, StoreUnavailable
from mangrove.store.migrations import Migration, NewerStore
from tests.unit.store.implementations import IMPLEMENTATIONS, Open

#: Enough that a store may change them in several steps.
MANY = 600


def split_name(id: str, document: Document) -> Document | None:
    """As a real one may be: a field becomes two, and what is of no use any more goes."""
    if document["obsolete"]:
        return None
    namespace, _, name = document["name"].partition("/")
    return {"namespace": namespace, "name": name, "owner": document["owner"], "obsolete": False}


def count(id: str, document: Document) -> Document:
    """Shows how often it was applied."""
    return {**document, "migrated": document.get("migrated", 0) + 1}


SPLIT: Migration = {"services": split_name}
COUNT: Migration = {"services": count, "slots": count}


@pytest.fixture(params=["mongo", "sqlite"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Of those that last longer than the program: what is in memory is never older."""
    with IMPLEMENTATIONS[request.param](tmp_path) as open_it:
        yield open_it


def fill(store: Store) -> int:
    store.apply(
        [
            Put("services", f"{n:04}", {"name": f"here/n{n}", "owner": "me", "obsolete": n % 10 == 0})
            for n in range(MANY)
        ]
    )
    return store.apply([Put("slots", "a", {"service": "x"}), Put("things", "a", {"name": "a/b"})])


def documents(store: Store, collection: str = "services") -> dict[str, Any]:
    return {stored.id: stored.document for stored in store.load(collection)}


def test_an_older_store_is_brought_up_to_date_once(open_store: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    before = open_store()
    revision, id = fill(before), before.id
    monkeypatch.setattr(migrations, "MIGRATIONS", (SPLIT, COUNT))
    for _ in range(2):
        store = open_store()
        assert documents(store) == {
            f"{n:04}": {"namespace": "here", "name": f"n{n}", "owner": "me", "obsolete": False, "migrated": 1}
            for n in range(MANY)
            if n % 10
        }
        assert documents(store, "slots") == {"a": {"service": "x", "migrated": 1}}
        assert documents(store, "things") == {"a": {"name": "a/b"}}
        assert len(store.query("services", "owner", "me")) == len(documents(store))
        assert store.id == id
    changed = store.get("services", "0001")
    untouched = store.get("things", "a")
    assert changed is not None
    assert untouched is not None
    assert store.revision() >= changed.revision > revision == untouched.revision
    assert store.apply([Delete("services", "0001", changed.revision)]) > changed.revision


def test_a_new_store_begins_with_the_newest_schema(open_store: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "MIGRATIONS", (COUNT,))
    store = open_store()
    store.apply([Put("slots", "a", {"service": "x"})])
    assert documents(open_store(), "slots") == {"a": {"service": "x"}}


def test_a_newer_store_is_refused_and_left_alone(open_store: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(migrations, "MIGRATIONS", (COUNT,))
        fill(open_store())
    with pytest.raises(NewerStore, match=r"newer version of Mangrove \(schema \d+, this one knows \d\); install that"):
        open_store()
    monkeypatch.setattr(migrations, "MIGRATIONS", (COUNT,))
    assert "migrated" not in documents(open_store())["0001"]


@pytest.mark.parametrize("after", [0, 1, 550])
def test_an_interrupted_migration_goes_on(open_store: Open, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    fill(open_store())
    calls = 0

    def interrupted(id: str, document: Document) -> Document:
        nonlocal calls
        calls += 1
        if calls > after:
            raise KeyboardInterrupt
        return count(id, document)

    with monkeypatch.context() as first:
        first.setattr(migrations, "MIGRATIONS", (COUNT, {"services": interrupted}))
        with pytest.raises(KeyboardInterrupt):
            open_store()
    monkeypatch.setattr(migrations, "MIGRATIONS", (COUNT, COUNT))
    store = open_store()
    assert {document["migrated"] for document in documents(store).values()} == {2}
    assert documents(store, "slots")["a"]["migrated"] == 2


def test_a_new_index_covers_what_was_there_before(open_store: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(open_store())
    monkeypatch.setitem(interface.INDEXES, "services", ("owner", "name"))
    for _ in range(2):
        store = open_store()
        assert [stored.id for stored in store.query("services", "name", "here/n7")] == ["0007"]
        assert len(store.query("services", "owner", "me")) == MANY


def test_while_another_version_has_the_store_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what several programs share can be brought up to date under a program that runs."""
    with IMPLEMENTATIONS["mongo"](Path()) as open_it:
        store = open_it()
        revision = fill(store)
        monkeypatch.setattr(migrations, "MIGRATIONS", (COUNT,))
        with pytest.raises(StoreUnavailable, match="another version of Mangrove"):
            store.apply([Put("services", "0001", {"owner": "you"})])
        assert store.revision() == revision
