"""Files that survive SIGKILL and power cuts: write, fsync, rename, fsync of the folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

import msgspec

from mangrove.base.errors import CorruptFile

_Shape = TypeVar("_Shape")


def write_atomically(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Replace `path` by `content` as a whole: after a crash either the old or the new content is there.

    Raises OSError when the disk is full or not writable; the old content is then untouched.
    """
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def read_json(path: Path, shape: type[_Shape], way_out: str) -> _Shape | None:
    """What a file of ours holds; None when there is none. way_out: what to do when it cannot be read.

    Raises CorruptFile, OSError.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=shape)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptFile(f"{path} cannot be read ({error}): {way_out}") from None


def sync_folder(folder: Path) -> None:
    """Make renames and new names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def private_folder(path: Path) -> Path:
    """Make `path` if missing, open to its owner alone; returns it.

    A folder that is there stays as it is: who made it may have opened it to others on purpose. Missing parents are made
    as the umask says, since others may have things beside `path`.
    """
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path
