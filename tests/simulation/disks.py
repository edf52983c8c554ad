"""What processes keep, with the ways in which it fails: full, away, and the process killed while it writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from mangrove.model.phases import ENDED
from mangrove.roles.child import Held
from mangrove.store.interface import Change, Lease, Operation, Stored, StoreUnavailable
from mangrove.store.memory import MemoryStore
from node_engine.state import MemoryState

#: `write`: it can be read, not written, as on a full disk. `all`: it cannot be reached, as over a network.
Trouble = Literal["", "write", "all"]

#: Where a durable write stands: nothing of it is there; it is in the machine's memory, which outlives the process and
#: not the power; it is synced.
Moment = Literal["before", "unsynced", "synced"]

#: Called at each of these; may raise Killed, and then tells by `Killed.lost` whether what is not synced is lost, too.
AtWrite = Callable[[Moment], None]


class Killed(BaseException):
    """SIGKILL, in the middle of what a process does. No program can catch it. lost: with what is not synced."""

    def __init__(self, *, lost: bool = False) -> None:
        super().__init__()
        self.lost = lost


class ShakyStore:
    """A Store that cannot be reached or written while `trouble` says so."""

    def __init__(
        self, store: MemoryStore, trouble: Callable[[], Trouble], at_write: AtWrite = lambda moment: None
    ) -> None:
        self._store = store
        self._trouble = trouble
        self._at_write = at_write

    @property
    def id(self) -> str:
        return self._store.id

    def load(self, collection: str) -> list[Stored]:
        self._reach()
        return self._store.load(collection)

    def page(self, collection: str, *, after: str = "", limit: int) -> list[Stored]:
        self._reach()
        return self._store.page(collection, after=after, limit=limit)

    def get(self, collection: str, id: str) -> Stored | None:
        self._reach()
        return self._store.get(collection, id)

    def get_many(self, collection: str, ids: Sequence[str]) -> dict[str, Stored]:
        self._reach()
        return self._store.get_many(collection, ids)

    def query(
        self, collection: str, field: str, value: str, *, after: str = "", limit: int | None = None
    ) -> list[Stored]:
        self._reach()
        return self._store.query(collection, field, value, after=after, limit=limit)

    def revision(self) -> int:
        self._reach()
        return self._store.revision()

    def apply(self, operations: Sequence[Operation], *, lease: Lease | None = None) -> int:
        self._write()
        self._at_write("before")
        try:
            self._at_write("unsynced")
        except Killed as killed:
            if not killed.lost:
                self._store.apply(operations, lease=lease)
            raise
        revision = self._store.apply(operations, lease=lease)
        self._at_write("synced")
        return revision

    def changes(self, after: int, *, limit: int = 10_000) -> list[Change]:
        self._reach()
        return self._store.changes(after, limit=limit)

    def wait(self, after: int, timeout: float) -> bool:
        self._reach()
        return self._store.wait(after, timeout)

    def lease(self, name: str) -> Lease | None:
        self._reach()
        return self._store.lease(name)

    def acquire(self, name: str, holder: str, *, counter_seen: int | None = None, above: int = 0) -> Lease | None:
        self._write()
        return self._store.acquire(name, holder, counter_seen=counter_seen, above=above)

    def renew(self, lease: Lease) -> Lease | None:
        self._write()
        return self._store.renew(lease)

    def close(self) -> None:
        self._store.close()

    def _reach(self) -> None:
        if self._trouble() == "all":
            raise StoreUnavailable("the store cannot be reached, as planned")

    def _write(self) -> None:
        if self._trouble():
            raise StoreUnavailable("the store cannot be written, as planned")


class NodeDisk(MemoryState):
    """The disk of a node: what its files hold as the machine shows them, and as they are synced.

    held: attempts that the node will run after a restart. ended: those of its records that have. term: the newest one
    that it obeyed.
    """

    def __init__(self, installation: str, at_write: AtWrite) -> None:
        super().__init__(installation)
        self.held: frozenset[str] = frozenset()
        self.ended: frozenset[str] = frozenset()
        self.term = 0
        self._at_write = at_write

    def raise_incarnation(self) -> int:
        before = self._incarnation
        self._at_write("before")
        raised = super().raise_incarnation()
        try:
            self._at_write("unsynced")
        except Killed as killed:
            if killed.lost:
                self._incarnation = before
            raise
        self._at_write("synced")
        return raised

    def snapshot(self) -> tuple[int, dict[str, bytes]]:
        """A copy of all that is on it."""
        return self._incarnation, dict(self._kept)

    def set_back(self, snapshot: tuple[int, dict[str, bytes]]) -> None:
        """Hold what it held once."""
        self._incarnation, self._kept = snapshot[0], dict(snapshot[1])
        self._look()

    def lose(self, *, assignment: bool) -> None:
        """The records are damaged and set aside; with `assignment` that is, too."""
        self._kept.pop("attempts", None)
        if assignment:
            self._kept.pop("assignment", None)
        self._look()

    def _keep(self, name: str, content: bytes | None) -> None:
        synced = dict(self._kept)
        self._at_write("before")
        super()._keep(name, content)
        try:
            self._at_write("unsynced")
        except Killed as killed:
            if killed.lost:
                self._kept = synced
            raise
        finally:
            self._look(name)
        self._at_write("synced")

    def _look(self, *changed: str) -> None:
        """Read what is there now."""
        if not changed or "assignment" in changed:
            assignment = self._kept.get("assignment")
            kept = msgspec.json.decode(assignment, type=Held) if assignment is not None else None
            self.held, self.term = (frozenset(kept.attempts), kept.term) if kept is not None else (frozenset(), 0)
        if not changed or "attempts" in changed:
            self.ended = frozenset(record.attempt.id for record in self.load_records() if record.phase in ENDED)
