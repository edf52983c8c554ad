"""A backup is whole whatever is written meanwhile; what it replaces when it is brought back is not lost."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from mangrove.base.errors import Conflict, CorruptFile, NotFound
from mangrove.store.interface import Put, StoreUnavailable
from mangrove.store.sqlite import SqliteStore
from mangrove.store.sqlite_backup import back_up, bring_back


def count(path: Path) -> int:
    store = SqliteStore(path)
    try:
        return len(store.load("things"))
    finally:
        store.close()


def test_a_copy_made_while_somebody_writes_holds_whole_batches(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "root.db")
    over = threading.Event()

    def write() -> None:
        number = 0
        while not over.is_set():
            store.apply([Put("things", f"{number}-{half}", {"text": "x" * 500}) for half in "ab"])
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while store.revision() < 50:
            pass
        back_up(tmp_path / "root.db", tmp_path / "copy")
    finally:
        over.set()
        writer.join()
    written = len(store.load("things"))
    store.close()
    assert 100 <= count(tmp_path / "copy") <= written
    assert count(tmp_path / "copy") % 2 == 0


def test_what_is_brought_back_replaces_all_and_what_was_there_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "root.db"
    store = SqliteStore(path)
    id = store.id
    store.apply([Put("things", "1", {})])
    back_up(path, tmp_path / "copy")
    store.apply([Put("things", "2", {}), Put("things", "3", {})])
    with pytest.raises(StoreUnavailable, match="in use by process"):
        bring_back(path, tmp_path / "copy", tmp_path / "aside")
    store.close()
    bring_back(path, tmp_path / "copy", tmp_path / "aside")
    assert count(path) == 1
    assert count(tmp_path / "aside") == 3
    assert count(tmp_path / "copy") == 1, "the backup is as it was"
    again = SqliteStore(path)
    assert again.id == id
    again.close()


def test_a_log_that_was_left_is_not_read_into_what_comes(tmp_path: Path) -> None:
    path = tmp_path / "root.db"
    store = SqliteStore(path)
    back_up(path, tmp_path / "copy")
    store.apply([Put("things", "1", {})])
    log = (tmp_path / "root.db-wal").read_bytes()
    assert log
    store.close()
    (tmp_path / "root.db-wal").write_bytes(log)  # as after SIGKILL
    bring_back(path, tmp_path / "copy", tmp_path / "aside")
    assert count(path) == 0


def test_it_is_brought_back_where_there_was_none_or_a_damaged_one(tmp_path: Path) -> None:
    path = tmp_path / "root.db"
    store = SqliteStore(path)
    store.apply([Put("things", "1", {})])
    back_up(path, tmp_path / "copy")
    store.close()
    (tmp_path / "new").mkdir()
    bring_back(tmp_path / "new" / "root.db", tmp_path / "copy", tmp_path / "new" / "aside")
    assert count(tmp_path / "new" / "root.db") == 1
    path.write_bytes(b"rubbish" * 1000)
    bring_back(path, tmp_path / "copy", tmp_path / "aside")
    assert count(path) == 1
    assert (tmp_path / "aside").read_bytes() == b"rubbish" * 1000


@pytest.mark.parametrize("content", [b"", b"rubbish" * 1000])
def test_what_is_no_copy_of_a_store_changes_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "root.db"
    store = SqliteStore(path)
    store.apply([Put("things", "1", {})])
    store.close()
    (tmp_path / "copy").write_bytes(content)
    with pytest.raises(CorruptFile, match="no whole copy of a store"):
        bring_back(path, tmp_path / "copy", tmp_path / "aside")
    assert count(path) == 1
    assert not (tmp_path / "aside").exists()


def test_what_is_named_wrongly_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no store at"):
        back_up(tmp_path / "root.db", tmp_path / "copy")
    SqliteStore(tmp_path / "root.db").close()
    back_up(tmp_path / "root.db", tmp_path / "copy")
    with pytest.raises(Conflict, match="is there already"):
        back_up(tmp_path / "root.db", tmp_path / "copy")
    with pytest.raises(NotFound, match="no file"):
        bring_back(tmp_path / "root.db", tmp_path / "never", tmp_path / "aside")


@pytest.mark.parametrize(
    ("start", "damage"), [(32 * 4096, bytes(4096)), (36, b"\0\0\0\5")], ids=["page lost", "pages counted wrongly"]
)
def test_a_damaged_copy_is_refused(tmp_path: Path, start: int, damage: bytes) -> None:
    store = SqliteStore(tmp_path / "root.db")
    store.apply([Put("things", f"{number}", {"text": "x" * 500}) for number in range(500)])
    back_up(tmp_path / "root.db", tmp_path / "copy")
    store.close()
    content = bytearray((tmp_path / "copy").read_bytes())
    content[start : start + len(damage)] = damage
    (tmp_path / "copy").write_bytes(content)
    with pytest.raises(CorruptFile, match="no whole copy of a store"):
        bring_back(tmp_path / "root.db", tmp_path / "copy", tmp_path / "aside")
    assert count(tmp_path / "root.db") == 500


def test_what_cannot_be_copied_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "root.db").write_bytes(b"rubbish" * 1000)
    with pytest.raises((StoreUnavailable, CorruptFile)):
        back_up(tmp_path / "root.db", tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == ["root.db"]


def test_nobody_else_may_read_a_copy(tmp_path: Path) -> None:
    SqliteStore(tmp_path / "root.db").close()
    before = os.umask(0)
    try:
        back_up(tmp_path / "root.db", tmp_path / "copy")
    finally:
        os.umask(before)
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
