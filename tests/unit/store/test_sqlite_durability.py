"""What SqliteStore acknowledged is there after SIGKILL; what it could not write leaves no trace."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest

from mangrove.store import sqlite_file
from mangrove.store.interface import Check, Operation, Put, StoreUnavailable
from mangrove.store.sqlite import Readers, SqliteStore

#: How many documents the writer leaves; it removes older ones, so that what was deleted is watched, too.
LEFT = 5

#: Writes without end, and says so after each batch: store id, revision, number.
WRITER = f"""
import sys
from pathlib import Path
from mangrove.store.interface import Delete, Put
from mangrove.store.sqlite import SqliteStore

store = SqliteStore(Path(sys.argv[1]))
counter = store.get("things", "counter")
number = counter.document["n"] if counter else 0
expect = counter.revision if counter else 0
while True:
    number += 1
    expect = store.apply([
        Put("things", "counter", {{"n": number}}, expect=expect),
        Put("services", f"{{number:09}}", {{"owner": "me", "text": "x" * (number * 37 % 5000)}}, expect=0),
        Delete("services", f"{{number - {LEFT}:09}}"),
    ])
    print(store.id, expect, number, flush=True)
"""


@contextmanager
def writer(path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def test_acknowledged_writes_survive_sigkill(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    chance = random.Random(20)
    ids: set[str] = set()
    number = revision = 0
    for _ in range(8):
        with writer(path) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(chance.randint(1, 120))]
            with pytest.raises(StoreUnavailable, match=f"in use by process {process.pid}"):
                SqliteStore(path)
            process.send_signal(signal.SIGKILL)
            lines += process.stdout.readlines()
        # The last line may be cut; what came whole was acknowledged.
        acknowledged = [line.split() for line in lines if line.endswith("\n")]
        ids |= {line[0] for line in acknowledged}
        assert int(acknowledged[0][1]) > revision
        with closing(SqliteStore(path)) as store:
            ids.add(store.id)
            counter = store.get("things", "counter")
            assert counter is not None
            # One batch may have been written without anybody hearing of it.
            assert counter.document["n"] - int(acknowledged[-1][2]) in (0, 1)
            assert counter.revision - int(acknowledged[-1][1]) in (0, 1)
            assert counter.document["n"] > number
            number, revision = counter.document["n"], store.revision()
            assert revision == counter.revision
            left = [f"{n:09}" for n in range(max(1, number - LEFT + 1), number + 1)]
            assert [stored.id for stored in store.load("services")] == left
            assert [stored.id for stored in store.query("services", "owner", "me")] == left
            assert store.changes(revision) == []
    assert len(ids) == 1


#: Fills the store under a limit of file size, then frees the way: what a disk that is full for a while does.
FULL = """
import resource, sys
from pathlib import Path
from mangrove.store.interface import Gap, Put, StoreUnavailable
from mangrove.store.sqlite import SqliteStore

store = SqliteStore(Path(sys.argv[1]))
store.apply([Put("things", "a", {"n": 1})])
before = store.revision()
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
written = before
for attempt in range(200):
    try:
        written = store.apply([Put("things", f"{attempt:03}.{n}", {"text": "x" * 1000}) for n in range(9)])
    except StoreUnavailable as error:
        print(error.message, file=sys.stderr)
        break
else:
    raise SystemExit("the limit did not stop it")
assert written > before
for _ in range(3):
    try:
        large = [Put("things", f"no.{n}", {"text": "x" * 1000}) for n in range(999)]
        store.apply([Put("things", "a", {"n": 2}), *large])
        raise SystemExit("it was written beyond the limit")
    except StoreUnavailable:
        pass
    assert store.revision() == written and store.changes(written) == []
    assert len(store.load("things")) == 1 + 9 * (written - before)
    assert store.get("things", "a").document == {"n": 1}
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
assert store.apply([Put("things", "a", {"n": 3})]) == written + 1
print(store.id, written + 1)
"""


def test_a_full_disk_stops_writing_until_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"{path}: " in done.stderr
    assert "nothing was written" in done.stderr
    id, revision = done.stdout.split()
    with closing(SqliteStore(path)) as store:
        assert (store.id, store.revision()) == (id, int(revision))
        assert len(store.load("things")) == 1 + 9 * (store.revision() - 2)


def test_a_batch_that_fails_halfway_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with closing(SqliteStore(path)) as store:
        with closing(sqlite3.connect(path)) as shell:  # stands for an error that SQLite does not roll back by itself
            shell.execute(
                "CREATE TRIGGER refuse BEFORE INSERT ON documents WHEN new.id = 'bad' "
                "BEGIN SELECT RAISE(FAIL, 'no'); END"
            )
        with pytest.raises(StoreUnavailable, match="no; nothing was written"):
            store.apply([Put("things", "good", {"n": 1}), Put("things", "bad", {"n": 1}), Put("things", "more", {})])
        assert (store.revision(), store.load("things"), store.changes(0)) == (0, [], [])
        assert store.apply([Put("things", "good", {"n": 2})]) == 1


def test_a_store_that_cannot_be_made_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA max_page_count = 2")
        connection.execute("CREATE TABLE large AS SELECT zeroblob(100000)")

    path = tmp_path / "store.db"
    with monkeypatch.context() as broken:
        broken.setattr(sqlite_file, "MIGRATIONS", (*sqlite_file.MIGRATIONS, fail))
        with pytest.raises(StoreUnavailable, match="disk is full"):
            SqliteStore(path)
    assert not path.exists()
    SqliteStore(path).close()


def test_writing_waits_for_a_foreign_lock_only_so_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store.db"
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT", 0.05)
    with closing(SqliteStore(path)) as store, closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked; nothing was written"):
            store.apply([Put("things", "a", {"n": 1})])
        with pytest.raises(StoreUnavailable):
            store.acquire("controller", "me")
        assert store.load("things") == []
        shell.execute("ROLLBACK")
        assert store.apply([Put("things", "a", {"n": 2})]) == 1


def test_a_reader_in_use_is_closed_when_it_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    SqliteStore(path).close()
    readers = Readers(path)
    with readers.borrow() as connection:
        readers.close()
        assert connection.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")


class _Held(list[Operation]):
    """A batch that stays within its transaction until it is let go."""

    def __init__(self, *operations: Operation) -> None:
        super().__init__(operations)
        self.inside, self.go = threading.Event(), threading.Event()

    def __iter__(self) -> Iterator[Operation]:
        self.inside.set()
        assert self.go.wait(30)
        return super().__iter__()


def test_readers_do_not_wait_for_the_writer(tmp_path: Path) -> None:
    with closing(SqliteStore(tmp_path / "store.db")) as store, ThreadPoolExecutor(2) as pool:
        before = store.apply([Put("services", "a", {"owner": "me"})])
        lease = store.acquire("controller", "me")
        batch = _Held(Put("services", "a", {"owner": "you"}))
        writing = pool.submit(store.apply, batch)
        assert batch.inside.wait(30)
        try:
            reads = pool.submit(
                lambda: (
                    [stored.document for stored in store.load("services")],
                    store.query("services", "owner", "you"),
                    store.revision(),
                    store.changes(before),
                    store.lease("controller"),
                )
            )
            assert reads.result(20) == ([{"owner": "me"}], [], before, [], lease)
        finally:
            batch.go.set()
        assert writing.result(30) == before + 1
        assert len(store.query("services", "owner", "you")) == 1


def test_many_readers_leave_no_open_files(tmp_path: Path) -> None:
    def open_files() -> int:
        """Those of this store: whatever else runs in this process opens and closes its own."""
        return sum(file.path.startswith(str(tmp_path)) for file in psutil.Process().open_files())

    with closing(SqliteStore(tmp_path / "store.db")) as store:
        store.apply([Put("things", "a", {})])
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda _: store.load("things"), range(500)))
        store.apply([Check("things", "a", 1)])
        assert 0 < open_files() < 30
    assert open_files() == 0
