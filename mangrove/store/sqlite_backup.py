"""Copies of a SqliteStore's file: made while it is in use, and put back in its place."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from mangrove.base.errors import Conflict, CorruptFile, NotFound
from mangrove.base.files import sync_folder
from mangrove.store.sqlite_file import APPLICATION_ID, beside, explained, lock

#: Pages copied at a time (4 KiB each), so that whoever writes meanwhile waits for milliseconds.
_PAGES = 1024


def back_up(path: Path, copy: Path) -> None:
    """Write what the store at `path` holds now to the new file `copy`, whole, while a program may be using it.

    Raises NotFound, Conflict, StoreUnavailable.
    """
    if not path.exists():
        raise NotFound(f"there is no store at {path}")
    if copy.exists():
        raise Conflict(f"{copy} is there already; name a new file")
    made = copy.with_name(f".{copy.name}.new")
    with explained(copy):
        made.unlink(missing_ok=True)
        made.touch(mode=0o600)
        try:
            _copy(path, made)
            _sync(made)
            made.rename(copy)
        except BaseException:
            made.unlink(missing_ok=True)
            raise
        sync_folder(copy.absolute().parent)


def bring_back(path: Path, copy: Path, aside: Path) -> None:
    """Put what `copy` holds in the place of the store at `path`, and what was there to `aside`, if there was anything.

    Raises NotFound, CorruptFile for what is no whole copy of a store, StoreUnavailable when a program uses the store.
    What was there stays untouched then; it is also there again, or whole at `aside`, when this is cut short.
    """
    if not copy.exists():
        raise NotFound(f"there is no file {copy}")
    check(copy)
    held = lock(path)
    try:
        with explained(path):
            made = beside(path, ".restored")
            made.unlink(missing_ok=True)
            made.touch(mode=0o600)
            _copy(copy, made)
            _sync(made)
            if path.exists():
                _set_aside(path, aside)
            for more in ("-wal", "-shm"):  # a log of what was there would be read into what comes
                beside(path, more).unlink(missing_ok=True)
            os.replace(made, path)
            sync_folder(path.parent)
            if os.geteuid() == 0:  # a program that runs as another user must be able to use it
                owner = path.parent.stat()
                for each in (path, aside, beside(path, ".lock")):
                    if each.exists():
                        os.chown(each, owner.st_uid, owner.st_gid)
    finally:
        os.close(held)


def check(copy: Path) -> None:
    """Raises CorruptFile when it is no whole copy of a store."""
    try:
        with closing(sqlite3.connect(f"{copy.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            ours = connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
            whole = connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    except sqlite3.Error as error:
        raise CorruptFile(f"{copy} is no whole copy of a store ({error}); nothing was changed") from error
    if not ours or not whole:
        raise CorruptFile(f"{copy} is no whole copy of a store; nothing was changed")


def _set_aside(path: Path, aside: Path) -> None:
    aside.touch(mode=0o600)
    try:
        _copy(path, aside)
    except sqlite3.Error:  # it is damaged: as it is
        for more in ("", "-wal"):
            if beside(path, more).exists():
                shutil.copyfile(beside(path, more), beside(aside, more))
    _sync(aside)
    sync_folder(aside.parent)


def _copy(source: Path, target: Path) -> None:
    """What `source` holds, with what is only in its log, as one file."""
    with (
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as old,
        closing(sqlite3.connect(target)) as new,
    ):
        old.backup(new, pages=_PAGES)
        new.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
