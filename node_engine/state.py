"""What a node engine keeps on disk: who it is, how often it was started, what it shall run and what became of that.

Every file is written as a whole and synced, behind a line with its checksum. A file that cannot be read is set aside as
`<name>.corrupt-<n>` and told of in `problems`: the engine starts all the same, and learns what runs from its runtimes
and what should run from its parent. What nobody else knows, who this node is and what its things are labelled with, is
there twice.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
from collections.abc import Callable, Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from mangrove.base.errors import Conflict, CorruptFile
from mangrove.base.files import private_folder, sync_folder, write_atomically
from mangrove.base.ids import NewId, is_id, new_id
from mangrove.reconcile.child import Record
from node_engine.runtimes.processes import boot_id

log = logging.getLogger(__name__)

#: First word of the line before a file's content; the number rises when the content changes its meaning.
_SEAL = b"mangrove-state-1"

#: Files that nobody else could tell anew, of which a copy is kept beside them: flash storage that loses its power while
#: it moves blocks around spoils files that were not written to.
_COPIED = frozenset({"identity.json", "installation"})

#: How many files of one name are set aside before the newest of them is replaced: a broken disk shall not fill itself.
_SET_ASIDE = 8

#: How far each loss of its file lifts the incarnation: above any count of starts, so that the device is not taken for a
#: restored or cloned one.
_AFTER_LOSS = 1_000_000_000


_Shape = TypeVar("_Shape")


class State(Protocol):
    """What an engine remembers. Whatever writes raises OSError when it cannot; what was kept before then stays."""

    @property
    def installation(self) -> str:
        """Id made with the state: the first label of everything this engine makes."""

    @property
    def boot(self) -> str:
        """Id of this boot of the machine."""

    @property
    def problems(self) -> list[str]:
        """What could not be read since the start, one line each: told to the parent."""

    def raise_incarnation(self) -> int:
        """Count this start, durably; to be called once at each start, before anything is said to a parent."""

    def load_identity(self, shape: type[_Shape]) -> _Shape | None:
        """What `save_identity` kept; None when there is nothing, or nothing of this shape."""

    def save_identity(self, identity: dict[str, Any] | None) -> None:
        """Keep it, or forget it (None)."""

    def load_assignment(self, shape: type[_Shape]) -> _Shape | None:
        """What `save_assignment` kept; None when there is nothing, or nothing of this shape."""

    def save_assignment(self, assignment: bytes | None) -> None:
        """Keep it (JSON), or forget it (None)."""

    def load_plan(self, shape: type[_Shape]) -> _Shape | None:
        """What `save_plan` kept; None when there is nothing, or nothing of this shape."""

    def save_plan(self, plan: bytes) -> None:
        """Keep what the network has to know (JSON). The parent tells again what is lost with the power."""

    def load_records(self) -> list[Record]:
        """What became of each attempt, as saved last."""

    def save_records(self, records: Iterable[Record]) -> None:
        """Replace all records."""

    def close(self) -> None:
        """Let another engine have it."""


class StateFolder:
    """State in a folder, of which exactly one process at a time can be the engine.

    boot: given by tests that play a reboot. Raises Conflict when another process holds the folder, OSError when it can
    be neither made nor read.
    """

    def __init__(self, path: Path, *, boot: str | None = None, make_id: NewId = new_id) -> None:
        self.path = private_folder(path)
        self.boot = boot_id() if boot is None else boot
        self.problems: list[str] = []
        self._lock = _lock(path)
        try:
            self.installation = self._installation(make_id)
        except BaseException:
            self.close()
            raise

    def raise_incarnation(self) -> int:
        known = any((self.path / name).exists() for name in ("identity.json", _copy_of("identity.json")))
        if known and not (self.path / "incarnation").exists():
            (self.path / "incarnation").touch()
            self._set_aside("incarnation", "it is missing")
        before = self._load("incarnation", _decode_number)
        losses = max(self._aside("incarnation"), default=0)
        incarnation = 1 + (_AFTER_LOSS * losses if before is None else before)
        content = str(incarnation).encode()
        try:
            self._write("incarnation", content)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self._overwrite("incarnation", content)
        return incarnation

    def load_identity(self, shape: type[_Shape]) -> _Shape | None:
        return self._load("identity.json", lambda content: msgspec.json.decode(content, type=shape))

    def save_identity(self, identity: dict[str, Any] | None) -> None:
        if identity is not None and not (self.path / "incarnation").exists():
            self._write("incarnation", b"0")  # from now on it is known when it was lost
        self._write("identity.json", None if identity is None else msgspec.json.encode(identity))

    def load_assignment(self, shape: type[_Shape]) -> _Shape | None:
        return self._load("assignment", lambda content: msgspec.json.decode(content, type=shape))

    def save_assignment(self, assignment: bytes | None) -> None:
        self._write("assignment", assignment)

    def load_plan(self, shape: type[_Shape]) -> _Shape | None:
        return self._load("plan", lambda content: msgspec.json.decode(content, type=shape))

    def save_plan(self, plan: bytes) -> None:
        self._write("plan", plan)

    def load_records(self) -> list[Record]:
        return self._load("attempts.json", _decode_records) or []

    def save_records(self, records: Iterable[Record]) -> None:
        self._write("attempts.json", _encode_records(records))

    def close(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _installation(self, make_id: NewId) -> str:
        kept = self._load("installation", _decode_id)
        if kept is None:
            kept = make_id()
            self._write("installation", kept.encode())
        return kept

    def _load(self, name: str, decode: Callable[[bytes], _Shape]) -> _Shape | None:
        """What a file holds, or its copy when it has one; None when there is nothing that can be read."""
        read = self._read(name, decode)
        if name not in _COPIED:
            return None if read is None else read[1]
        copied = self._read(_copy_of(name), decode)
        found = read or copied
        if found is None:
            return None
        content, value = found
        if read is None:
            self._tell(f"{self.path / name} was made anew from {_copy_of(name)}")
            self._write(name, content)
        elif copied is None or copied[0] != content:
            self._write(name, content)  # the end of what was interrupted, or of a version that knew no copies
        return value

    def _read(self, name: str, decode: Callable[[bytes], _Shape]) -> tuple[bytes, _Shape] | None:
        try:
            content = _unseal((self.path / name).read_bytes())
            return content, decode(content)
        except FileNotFoundError:
            return None
        except (OSError, CorruptFile, msgspec.DecodeError) as error:
            self._set_aside(name, str(error))
            return None

    def _write(self, name: str, content: bytes | None) -> None:
        """The copy is written last and forgotten first: it never knows more than the file."""
        names = (name, _copy_of(name)) if name in _COPIED else (name,)
        if content is not None:
            for each in names:
                write_atomically(self.path / each, _seal(content))
            return
        for each in reversed(names):
            if (self.path / each).exists():
                (self.path / each).unlink()
                sync_folder(self.path)

    def _overwrite(self, name: str, content: bytes) -> None:
        """In place, which needs no room, so that an engine starts on a full disk too. A power cut may spoil it."""
        descriptor = os.open(self.path / name, os.O_WRONLY)
        try:
            sealed = _seal(content)
            os.pwrite(descriptor, sealed, 0)
            os.ftruncate(descriptor, len(sealed))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _set_aside(self, name: str, problem: str) -> None:
        """Rename a file that cannot be read; says so, and never fails."""
        path = self.path / name
        numbers = self._aside(name)
        newest = max(numbers, default=0)
        aside = path.with_name(f"{name}.corrupt-{newest + 1}")
        try:
            if len(numbers) >= _SET_ASIDE:
                path.with_name(f"{name}.corrupt-{newest}").replace(aside)  # so that the highest number is never lost
            os.replace(path, aside)
            sync_folder(self.path)
            self._tell(f"{path} cannot be read ({problem}); it was set aside as {aside.name}")
        except OSError as error:
            self._tell(f"{path} cannot be read ({problem}), nor set aside ({error})")

    def _aside(self, name: str) -> list[int]:
        """The numbers of the files of this name that were set aside."""
        numbers = (path.suffix.removeprefix(".corrupt-") for path in self.path.glob(f"{name}.corrupt-*"))
        return [int(number) for number in numbers if number.isascii() and number.isdigit()]

    def _tell(self, problem: str) -> None:
        self.problems.append(problem)
        log.error("%s", problem)


class MemoryState:
    """State of an engine that lives in memory: the simulator's, which crashes engines but keeps this.

    full: while True, everything that writes fails as on a full disk. boot: to be changed by whoever plays a reboot.
    """

    def __init__(self, installation: str = "", *, boot: str = "boot-1") -> None:
        self.installation = installation or new_id()
        self.boot = boot
        self.full = False
        self.problems: list[str] = []
        self._incarnation = 0
        self._kept: dict[str, bytes] = {}

    def raise_incarnation(self) -> int:
        self._check()
        self._incarnation += 1
        return self._incarnation

    def load_identity(self, shape: type[_Shape]) -> _Shape | None:
        kept = self._kept.get("identity")
        return None if kept is None else msgspec.json.decode(kept, type=shape)

    def save_identity(self, identity: dict[str, Any] | None) -> None:
        self._keep("identity", None if identity is None else msgspec.json.encode(identity))

    def load_assignment(self, shape: type[_Shape]) -> _Shape | None:
        kept = self._kept.get("assignment")
        return None if kept is None else msgspec.json.decode(kept, type=shape)

    def save_assignment(self, assignment: bytes | None) -> None:
        self._keep("assignment", assignment)

    def load_plan(self, shape: type[_Shape]) -> _Shape | None:
        kept = self._kept.get("plan")
        return None if kept is None else msgspec.json.decode(kept, type=shape)

    def save_plan(self, plan: bytes) -> None:
        self._keep("plan", plan)

    def load_records(self) -> list[Record]:
        kept = self._kept.get("attempts")
        return [] if kept is None else _decode_records(kept)

    def save_records(self, records: Iterable[Record]) -> None:
        self._keep("attempts", _encode_records(records))

    def close(self) -> None:
        """Nothing to let go of."""

    def _keep(self, name: str, content: bytes | None) -> None:
        self._check()
        if content is None:
            self._kept.pop(name, None)
        else:
            self._kept[name] = content

    def _check(self) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read_identity(folder: Path, shape: type[_Shape]) -> _Shape | None:
    """What a StateFolder's `load_identity` gives, read without holding the folder, which an engine may hold."""
    for name in ("identity.json", _copy_of("identity.json")):
        with contextlib.suppress(FileNotFoundError, CorruptFile, msgspec.DecodeError):
            return msgspec.json.decode(_unseal((folder / name).read_bytes()), type=shape)
    return None


def _lock(folder: Path) -> int:
    """Descriptor that holds the folder until it is closed, by the end of the process at the latest."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        raise Conflict(
            f"another node engine runs with the state folder {folder}: stop it, or choose another folder"
        ) from None
    return descriptor


def _seal(content: bytes) -> bytes:
    return b"%s %s\n%s" % (_SEAL, _checksum(content), content)


def _unseal(sealed: bytes) -> bytes:
    """Raises CorruptFile."""
    line, _, content = sealed.partition(b"\n")
    if line == b"%s %s" % (_SEAL, _checksum(content)):
        return content
    if not sealed:
        raise CorruptFile("it is empty")
    if line.startswith(_SEAL.rpartition(b"-")[0]) and not line.startswith(_SEAL):
        raise CorruptFile("another version of Mangrove wrote it")
    raise CorruptFile("its checksum is wrong")


def _copy_of(name: str) -> str:
    return f"{name}.copy"


def _checksum(content: bytes) -> bytes:
    return blake2b(content, digest_size=16).hexdigest().encode()


def _encode_records(records: Iterable[Record]) -> bytes:
    return msgspec.json.encode(list(records))


def _decode_records(content: bytes) -> list[Record]:
    """Raises msgspec.DecodeError."""
    return msgspec.json.decode(content, type=list[Record])


def _decode_number(content: bytes) -> int:
    if not content.isdigit():
        raise CorruptFile("it holds no number")
    return int(content)


def _decode_id(content: bytes) -> str:
    id = content.decode(errors="replace")
    if not is_id(id):
        raise CorruptFile("it holds no id")
    return id
