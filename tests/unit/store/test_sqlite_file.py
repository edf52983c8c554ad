"""What is particular to the file of a SqliteStore: who may open it, what it refuses, how it changes over versions."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from mangrove.base.errors import CorruptFile
from mangrove.store import sqlite_file
from mangrove.store.interface import INDEXES, Put, StoreUnavailable
from mangrove.store.sqlite import SqliteStore, query_sql


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "store.db"


def fill(path: Path, count: int = 500) -> str:
    """A closed store with `count` documents; its id."""
    with closing(SqliteStore(path)) as store:
        store.apply([Put("services", f"{n:04}", {"owner": f"o{n % 10}", "text": "x" * 100}) for n in range(count)])
        return store.id


def all_files(path: Path) -> dict[str, bytes]:
    """What stands in the store's folder, but for the side files that hold no data."""
    contents = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    return {name: content for name, content in contents.items() if content and not name.endswith((".lock", "-shm"))}


# --- who may open it


def test_files_are_for_the_owner_alone(path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        store.apply([Put("things", "a", {})])
        files = list(path.parent.iterdir())
        assert {file.name for file in files} == {"store.db", "store.db-wal", "store.db-shm", "store.db.lock"}
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.chmod(0o644)
    SqliteStore(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_not_even_an_unfinished_store_is_for_others(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []

    def look(connection: sqlite3.Connection) -> None:
        modes.extend(stat.S_IMODE(file.stat().st_mode) for file in path.parent.glob("*.new*"))

    monkeypatch.setattr(sqlite_file, "MIGRATIONS", (*sqlite_file.MIGRATIONS, look))
    SqliteStore(path).close()
    assert set(modes) == {0o600}


def test_only_one_may_have_it_open(path: Path) -> None:
    alias = path.parent / "alias.db"
    with closing(SqliteStore(path)) as store:
        alias.symlink_to(path)
        for name in (path, alias):
            with pytest.raises(StoreUnavailable, match=f"in use by process {os.getpid()}; stop that, or choose"):
                SqliteStore(name)
        store.apply([Put("things", "a", {"n": 1})])
    with closing(SqliteStore(alias)) as store:
        assert store.revision() == 1


@pytest.mark.parametrize("name", ["with space?#%.db", "ünïcode.db"])
def test_any_file_name_serves(tmp_path: Path, name: str) -> None:
    id = fill(tmp_path / name)
    assert name in {file.name for file in tmp_path.iterdir()}
    with closing(SqliteStore(tmp_path / name)) as store:
        assert store.id == id
        assert len(store.load("services")) == 500


def test_what_the_system_refuses_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.db").mkdir()
    for path in (tmp_path / "file" / "store.db", tmp_path / "folder.db"):
        with pytest.raises(StoreUnavailable, match=str(path)):
            SqliteStore(path)


# --- what it refuses, and leaves as it is


def garbage(path: Path) -> None:
    path.write_bytes(b"not a database, but longer than the header of one" * 50)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def zeroed(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\0" * (size // 2))


def foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE documents (x)")
        connection.commit()


def unreadable(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE documents", b"CREATE T\xd6BLE documents"))


def nameless(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM store")
        connection.commit()


def log_without_file(path: Path) -> None:
    path.rename(path.with_name("store.db-wal"))


DAMAGES = [garbage, emptied, truncated, zeroed, foreign, unreadable, nameless, log_without_file]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_or_foreign_file_is_refused_and_not_touched(path: Path, damage: Callable[[Path], None]) -> None:
    fill(path)
    damage(path)
    before = all_files(path)
    for _ in range(2):
        with pytest.raises(CorruptFile, match=r"store\.db .*restore a backup, or move it"):
            SqliteStore(path)
    assert all_files(path) == before


def test_a_damaged_file_is_not_touched_when_its_log_is_still_there(path: Path, tmp_path: Path) -> None:
    id = fill(path)
    with closing(SqliteStore(path)) as store:
        store.apply([Put("things", "a", {"n": 1})])
        copy = tmp_path / "copy" / "store.db"
        copy.parent.mkdir()
        for suffix in ("", "-wal"):
            sqlite_file.beside(copy, suffix).write_bytes(sqlite_file.beside(path, suffix).read_bytes())
    whole = all_files(copy)
    zeroed(copy)
    damaged = all_files(copy)
    with pytest.raises(CorruptFile):
        SqliteStore(copy)
    assert all_files(copy) == damaged
    copy.write_bytes(whole["store.db"])
    with closing(SqliteStore(copy)) as store:  # the log alone had the newest write
        assert store.id == id
        assert store.load("things")[0].document == {"n": 1}


def test_damage_met_while_running_is_said(path: Path) -> None:
    fill(path, 5000)
    with closing(SqliteStore(path)) as store:
        zeroed(path)
        with pytest.raises(StoreUnavailable, match="is damaged"):
            store.load("services")


def test_a_document_that_is_no_text_is_said(path: Path) -> None:
    fill(path)
    path.write_bytes(path.read_bytes().replace(b"x" * 100, b"\xff" * 100))
    with closing(SqliteStore(path)) as store, pytest.raises(StoreUnavailable, match="is damaged"):
        store.load("services")


def test_a_refused_file_is_not_kept_locked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("no")

    id = fill(path)
    for name in ("_check", "_connect", "_migrate", "_identity"):
        with monkeypatch.context() as broken:
            broken.setattr(sqlite_file, name, fail)
            with pytest.raises(StoreUnavailable, match="no; nothing was written"):
                SqliteStore(path)
    assert fill(path) == id


def test_a_document_that_is_no_json_is_said(path: Path) -> None:
    fill(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO documents VALUES ('things', 'a', 1, '{\"n\"')")
        connection.commit()
    with closing(SqliteStore(path)) as store:
        [stored] = store.load("things")
        with pytest.raises(StoreUnavailable, match="damaged: things/a is no JSON; restore a backup"):
            stored.read(dict)


def test_a_store_that_was_not_finished_is_made_anew(path: Path) -> None:
    path.parent.mkdir()
    garbage(sqlite_file.beside(path, ".new"))
    fill(path)
    assert {file.name for file in path.parent.iterdir()} == {"store.db", "store.db.lock"}


def test_two_stores_have_two_ids(path: Path, tmp_path: Path) -> None:
    assert fill(path) != fill(tmp_path / "other.db")


# --- versions


def test_a_file_from_a_newer_version_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def add_a_table(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE more (n INTEGER)")
        connection.execute("INSERT INTO more SELECT count(*) FROM documents")

    id = fill(path)
    with monkeypatch.context() as newer:
        newer.setattr(sqlite_file, "MIGRATIONS", (*sqlite_file.MIGRATIONS, add_a_table))
        for _ in range(2):  # the step is taken once
            with closing(SqliteStore(path)) as store:
                assert store.id == id
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT * FROM more").fetchall() == [(500,)]
    before = all_files(path)
    with pytest.raises(StoreUnavailable, match=r"newer version .*schema 2, this one knows 1.*install that version"):
        SqliteStore(path)
    assert all_files(path) == before


def test_a_migration_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_halfway(connection: sqlite3.Connection) -> None:
        connection.execute("DROP TABLE documents")
        connection.execute("this is no SQL")

    id = fill(path)
    with monkeypatch.context() as newer:
        newer.setattr(sqlite_file, "MIGRATIONS", (*sqlite_file.MIGRATIONS, fail_halfway))
        with pytest.raises(StoreUnavailable, match="syntax error"):
            SqliteStore(path)
    with closing(SqliteStore(path)) as store:
        assert store.id == id
        assert len(store.load("services")) == 500


def test_indexes_follow_their_declaration(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(path)
    monkeypatch.setitem(INDEXES, "services", ("text",))
    with closing(SqliteStore(path)) as store:
        assert len(store.query("services", "text", "x" * 100)) == 500
        with pytest.raises(ValueError, match=r"services\.owner"):
            store.query("services", "owner", "o1")
    with closing(sqlite3.connect(path)) as connection:
        names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
    assert "services.text" in names
    assert "services.owner" not in names


@pytest.mark.parametrize(("collection", "field"), [(name, field) for name in INDEXES for field in INDEXES[name]])
def test_a_query_goes_by_its_index(path: Path, collection: str, field: str) -> None:
    fill(path)
    with closing(sqlite3.connect(path)) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {query_sql(collection, field)}", ('["a","a"]', "", 5)).fetchall()
    assert [row[-1] for row in plan] == [f"SEARCH documents USING INDEX {collection}.{field} (<expr>=? AND id>?)"]
