"""What processes keep, with the ways in which it fails: full, away, and the process killed while it writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgspec

from mangrove.model.phases import ENDED
from mangrove.reconcile.child import Record
from mangrove.roles.child import Held
from mangrove.store.interface import Change, Lease, Operation, Stored, StoreUnavailable
from mangrove.store.memory import MemoryStore
from node_engine.state import MemoryState

#: `write`: it can be read, not written, as on a full disk. `all`: it cannot be reached, as over a network.
Trouble = Literal["", "write", "all"]

#: Called just before and just after something is written durably; may raise Killed.
Moment = Literal["before", "after"]
AtWrite = Callable[[Moment], None]


class Killed(BaseException):
    """SIGKILL, in the middle of what a process does. No program can catch it."""


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
        revision = self._store.apply(operations, lease=lease)
        self._at_write("after")
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
    """The disk of a node.

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
        self._at_write("before")
        raised = super().raise_incarnation()
        self._at_write("after")
        return raised

    def save_assignment(self, assignment: bytes | None) -> None:
        self._at_write("before")
        super().save_assignment(assignment)
        if assignment is not None:
            kept = msgspec.json.decode(assignment, type=Held)
            self.held, self.term = frozenset(kept.attempts), kept.term
        self._at_write("after")

    def save_records(self, records: Iterable[Record]) -> None:
        kept = list(records)
        self._at_write("before")
        super().save_records(kept)
        self.ended = frozenset(record.attempt.id for record in kept if record.phase in ENDED)
        self._at_write("after")

    def lose(self, *, assignment: bool) -> None:
        """The records are damaged and set aside; with `assignment` that is, too."""
        self._kept.pop("attempts", None)
        self.ended = frozenset()
        if assignment:
            self._kept.pop("assignment", None)
            self.held, self.term = frozenset(), 0
