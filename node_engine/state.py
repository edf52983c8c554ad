"""What a node engine keeps on disk: who it is, how often it was started, what it shall run and what became of that.

Every file is written as a whole and synced, behind a line with its checksum. A file that cannot be read is set aside as
`<name>.corrupt-<n>` and told of in `problems`: the engine starts all the same, and learns what runs from its runtimes
and what should run from its parent.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import msgspec

from mangrove.base.errors import Conflict, CorruptFile
from mangrove.base.files import private_folder, sync_folder, write_atomically
from mangrove.base.ids import NewId, is_id, new_id
from mangrove.reconcile.child import Record
from node_engine.runtimes.processes import boot_id

log = logging.getLogger(__name__)

#: First word of the line before a file's content; the number rises when the content changes its meaning.
_SEAL = b"mangrove-state-1"

#: How many files of one name are set aside before the newest of them is replaced: a broken disk shall not fill itself.
_SET_ASIDE = 8

#: How far each loss of its file lifts the incarnation: above any count of starts, so that the device is not taken for a
#: restored or cloned one.
_AFTER_LOSS = 1_000_000_000


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
        """What could not be read, one line each, for an event."""

    def raise_incarnation(self) -> int:
        """Count this start, durably; to be called once at each start, before anything is said to a parent."""

    def load_identity(self) -> dict[str, Any] | None:
        """What `save_identity` kept: a JSON-able dict that belongs to the caller."""

    def save_identity(self, identity: dict[str, Any] | None) -> None:
        """Keep it, or forget it (None)."""

    def load_assignment(self) -> bytes | None:
        """What `save_assignment` kept: bytes that belong to the caller."""

    def save_assignment(self, assignment: bytes | None) -> None:
        """Keep it, or forget it (None)."""

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
        before = self._read("incarnation")
        if before is not None and not before.isdigit():
            self._set_aside("incarnation", "it holds no number")
            before = None
        losses = len(list(self.path.glob("incarnation.corrupt-*")))
        incarnation = 1 + (int(before) if before is not None else _AFTER_LOSS * losses)
        self._write("incarnation", str(incarnation).encode())
        return incarnation

    def load_identity(self) -> dict[str, Any] | None:
        content = self._read("identity.json")
        if content is None:
            return None
        try:
            return msgspec.json.decode(content, type=dict[str, Any])
        except msgspec.DecodeError as error:
            self._set_aside("identity.json", str(error))
            return None

    def save_identity(self, identity: dict[str, Any] | None) -> None:
        self._write("identity.json", None if identity is None else msgspec.json.encode(identity))

    def load_assignment(self) -> bytes | None:
        return self._read("assignment")

    def save_assignment(self, assignment: bytes | None) -> None:
        self._write("assignment", assignment)

    def load_records(self) -> list[Record]:
        content = self._read("attempts.json")
        if content is None:
            return []
        try:
            return _decode_records(content)
        except CorruptFile as error:
            self._set_aside("attempts.json", str(error))
            return []

    def save_records(self, records: Iterable[Record]) -> None:
        self._write("attempts.json", _encode_records(records))

    def close(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _installation(self, make_id: NewId) -> str:
        kept = (self._read("installation") or b"").decode(errors="replace")
        if not is_id(kept):
            kept = make_id()
            self._write("installation", kept.encode())
        return kept

    def _read(self, name: str) -> bytes | None:
        try:
            return _unseal((self.path / name).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, CorruptFile) as error:
            self._set_aside(name, str(error))
            return None

    def _write(self, name: str, content: bytes | None) -> None:
        path = self.path / name
        if content is not None:
            write_atomically(path, _seal(content))
        elif path.exists():
            path.unlink()
            sync_folder(self.path)

    def _set_aside(self, name: str, problem: str) -> None:
        """Rename a file that cannot be read; says so, and never fails."""
        path = self.path / name
        kept = [path.with_name(f"{name}.corrupt-{number}") for number in range(1, _SET_ASIDE + 1)]
        aside = next((place for place in kept if not place.exists()), kept[-1])
        try:
            os.replace(path, aside)
            sync_folder(self.path)
            self.problems.append(f"{path} cannot be read ({problem}); it was set aside as {aside.name}")
        except OSError as error:
            self.problems.append(f"{path} cannot be read ({problem}), nor set aside ({error})")
        log.error("%s", self.problems[-1])


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

    def load_identity(self) -> dict[str, Any] | None:
        kept = self._kept.get("identity")
        return None if kept is None else msgspec.json.decode(kept, type=dict[str, Any])

    def save_identity(self, identity: dict[str, Any] | None) -> None:
        self._keep("identity", None if identity is None else msgspec.json.encode(identity))

    def load_assignment(self) -> bytes | None:
        return self._kept.get("assignment")

    def save_assignment(self, assignment: bytes | None) -> None:
        self._keep("assignment", assignment)

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


def read_identity(folder: Path) -> dict[str, Any] | None:
    """What a StateFolder's `load_identity` gives, read without holding the folder, which an engine may hold."""
    try:
        return msgspec.json.decode(_unseal((folder / "identity.json").read_bytes()), type=dict[str, Any])
    except (FileNotFoundError, CorruptFile, msgspec.DecodeError):
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
    if line != b"%s %s" % (_SEAL, _checksum(content)):
        raise CorruptFile("its checksum is wrong")
    return content


def _checksum(content: bytes) -> bytes:
    return blake2b(content, digest_size=16).hexdigest().encode()


def _encode_records(records: Iterable[Record]) -> bytes:
    return msgspec.json.encode(list(records))


def _decode_records(content: bytes) -> list[Record]:
    """Raises CorruptFile."""
    try:
        return msgspec.json.decode(content, type=list[Record])
    except msgspec.DecodeError as error:
        raise CorruptFile(str(error)) from error
