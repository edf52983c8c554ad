"""The file of a SqliteStore: made whole or not at all, used by one process, checked before it is written to."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

from mangrove.base.errors import CorruptFile
from mangrove.base.files import private_folder, sync_folder
from mangrove.base.ids import is_id, new_id
from mangrove.store import migrations
from mangrove.store.batch import decode, encode
from mangrove.store.interface import INDEXES, StoreUnavailable
from mangrove.store.migrations import Migration, NewerStore

#: "MGRV" in the database's header, so that another program's database is never taken for a store.
APPLICATION_ID = 0x4D475256

#: Seconds to wait for another connection's lock. Only somebody's sqlite3 shell or backup takes one, and briefly.
BUSY_TIMEOUT = 5.0

#: KiB of pages that a connection caches: small, for there are several of them and the kernel caches the file anyway.
CACHE_KIB = 1024

#: Bytes to which the log is cut after a checkpoint: four times what it holds between two (1,000 pages of 4 KiB).
LOG_BYTES = 16 * 1024 * 1024

#: `user_version` is so many times the schema version of the documents, and that of the tables.
_DOCUMENTS = 1000

_WAY_OUT = "restore a backup, or move it and the files beside it away to begin with an empty store"


def lock(path: Path) -> int:
    """Make this process the only one that uses the store at `path`; closing the returned descriptor ends that.

    The kernel ends it, too, when the process dies. Raises StoreUnavailable when another process has it.
    """
    with explained(path):
        private_folder(path.parent)
        descriptor = os.open(beside(path, ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
            os.close(descriptor)
            if not isinstance(error, BlockingIOError):
                raise
            raise StoreUnavailable(
                f"{path} is in use by process {holder or 'unknown'}; stop that, or choose another data directory"
            ) from error
    return descriptor


def open_writer(path: Path) -> tuple[sqlite3.Connection, str, int]:
    """The one connection that writes, the store's id and its revision; a store is made when there was none.

    Raises CorruptFile when the file is damaged or no store, NewerStore, StoreUnavailable when it cannot be opened now.
    In all these cases it is left as it was. Call with the lock held.
    """
    with explained(path):
        if not path.exists():
            _create(path)
        _check(path)
        path.chmod(0o600)
        connection = _connect(path, "rw")
        try:
            if connection.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
                raise StoreUnavailable(
                    f"{path}: this file system cannot hold a write-ahead log; choose a data directory on a local disk"
                )
            connection.execute("PRAGMA synchronous = FULL")  # a commit has reached the disk when it returns
            connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
            _migrate(connection)
            id, revision = _identity(connection)
        except BaseException:
            connection.close()
            raise
    return connection, id, revision


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that only reads, and never waits for the one that writes."""
    return _connect(path, "ro")


def beside(path: Path, suffix: str) -> Path:
    """One of the files that belong to the store at `path`: `-wal`, `-shm`, `.lock`, `.new`."""
    return path.with_name(path.name + suffix)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite and the system say into StoreUnavailable."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:
        if _means_damage(error):
            raise StoreUnavailable(f"{path} is damaged ({error}); stop, and {_WAY_OUT}") from error
        raise StoreUnavailable(f"{path}: {error}; nothing was written, it may work again later") from error
    except OSError as error:
        raise StoreUnavailable(f"{path}: {error.strerror}; nothing was written") from error


def _connect(path: Path, mode: Literal["ro", "rw"]) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_TIMEOUT,
        isolation_level=None,  # transactions begin where we say so
        check_same_thread=False,  # whoever shares a connection holds a lock
    )
    try:
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    except BaseException:
        connection.close()
        raise
    return connection


def _create(path: Path) -> None:
    """A new store appears by a rename: after a crash there is a whole one or none, never an empty file."""
    log = beside(path, "-wal")
    if log.exists() and log.stat().st_size > 0:
        raise CorruptFile(f"{path} is missing, but its log {log.name} is there; bring it back, or {_WAY_OUT}")
    unfinished = beside(path, ".new")
    for leftover in (unfinished, beside(unfinished, "-journal")):
        leftover.unlink(missing_ok=True)
    os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(_connect(unfinished, "rw")) as connection:
        _migrate(connection)
    os.replace(unfinished, path)
    sync_folder(path.parent)


def _check(path: Path) -> None:
    """Read-only, since a connection that may write would move the log into the file when it is closed."""
    try:
        with closing(_connect(path, "ro")) as connection:
            if _pragma(connection, "application_id") != APPLICATION_ID:
                raise CorruptFile(f"{path} is not a store of Mangrove; {_WAY_OUT}")
            tables, documents = _versions(connection)
            if tables > len(MIGRATIONS) or documents > len(migrations.MIGRATIONS):
                known = len(migrations.MIGRATIONS) * _DOCUMENTS + len(MIGRATIONS)
                raise NewerStore(str(path), documents * _DOCUMENTS + tables, known)
            problem = _pragma(connection, "quick_check(1)")
            if problem == "ok" and not is_id(_identity(connection)[0]):
                problem = "its id is gone"
    except (sqlite3.Error, UnicodeDecodeError) as error:
        if not _means_damage(error):
            raise
        problem = str(error)
    if problem != "ok":
        raise CorruptFile(f"{path} is damaged ({' '.join(problem.split())}); {_WAY_OUT}")


def _means_damage(error: sqlite3.Error | UnicodeDecodeError) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # raised by Python: what was read, or SQLite's message that quotes it, is no text
        return isinstance(error, UnicodeDecodeError) or str(error).startswith("Could not decode")
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)  # the other bits say where it was met


def _identity(connection: sqlite3.Connection) -> tuple[str, int]:
    """The store's id and its revision."""
    id, revision = connection.execute("SELECT id, revision FROM store").fetchone() or ("", 0)
    return id, revision


def _pragma(connection: sqlite3.Connection, name: str) -> Any:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def _migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema and the indexes up to date in one transaction; a failure leaves them as they were."""
    connection.execute("BEGIN IMMEDIATE")
    tables, documents = _versions(connection)
    for step in MIGRATIONS[tables:]:
        step(connection)
    # A new store begins with documents of the newest form.
    for migration in migrations.MIGRATIONS[documents:] if tables else ():
        _change_documents(connection, migration)
    connection.execute(f"PRAGMA user_version = {len(migrations.MIGRATIONS) * _DOCUMENTS + len(MIGRATIONS)}")
    _bring_indexes_up_to_date(connection)
    connection.execute("COMMIT")


def _versions(connection: sqlite3.Connection) -> tuple[int, int]:
    """The schema versions of the tables and of the documents in them."""
    documents, tables = divmod(_pragma(connection, "user_version"), _DOCUMENTS)
    return tables, documents


def _change_documents(connection: sqlite3.Connection, migration: Migration) -> None:
    """What changes is written as a batch is: with a new revision."""
    [[newest]] = connection.execute("SELECT revision FROM store")
    wrote = False
    for collection in migration:
        rows = connection.execute("SELECT id, document FROM documents WHERE collection = ?", (collection,)).fetchall()
        for id, text in rows:
            before = decode(text)
            after = migrations.changed(migration, collection, id, before)
            if after == before:
                continue
            wrote = True
            if after is None:
                connection.execute("DELETE FROM documents WHERE collection = ? AND id = ?", (collection, id))
            else:
                connection.execute(
                    "UPDATE documents SET document = ?, revision = ? WHERE collection = ? AND id = ?",
                    (encode(after).decode(), newest + 1, collection, id),
                )
    connection.execute("UPDATE store SET revision = ?", (newest + wrote,))


def _make_tables(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("CREATE TABLE store (id TEXT NOT NULL, revision INTEGER NOT NULL)")
    connection.execute("INSERT INTO store VALUES (?, 0)", (new_id(),))
    connection.execute(
        "CREATE TABLE documents (collection TEXT NOT NULL, id TEXT NOT NULL, revision INTEGER NOT NULL, "
        "document TEXT NOT NULL, PRIMARY KEY (collection, id))"
    )
    connection.execute(
        "CREATE TABLE leases (name TEXT NOT NULL PRIMARY KEY, holder TEXT NOT NULL, term INTEGER NOT NULL, "
        "counter INTEGER NOT NULL)"
    )


#: What brings the tables of version n to n + 1, by n. A new version is a new entry; those that stand never change.
MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (_make_tables,)


def indexed(field: str) -> str:
    """The expression that is indexed: the JSON text of [field, field].

    With two paths SQLite answers the raw text, which tells a string from a number or a list that look the same; with
    one path it does not.
    """
    return f"json_extract(document, '$.{field}', '$.{field}')"


def _bring_indexes_up_to_date(connection: sqlite3.Connection) -> None:
    wanted = {
        f"{collection}.{field}": f'CREATE INDEX "{collection}.{field}" ON documents ({indexed(field)}, id) '
        f"WHERE collection = '{collection}'"
        for collection, fields in INDEXES.items()
        for field in fields
    }
    # An index without SQL belongs to a primary key.
    there = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"))
    for name, sql in there.items():
        if wanted.get(name) != sql:
            connection.execute(f'DROP INDEX "{name}"')
    for name, sql in wanted.items():
        if there.get(name) != sql:
            connection.execute(sql)
