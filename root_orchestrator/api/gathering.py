"""A store whose writes of one request can be gathered, and then written as one batch with something more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

from mangrove.store.batch import Writes, evaluate
from mangrove.store.interface import ABSENT, Change, Check, Lease, Operation, Store, Stored

#: Revision of what is gathered and not yet written; no store comes this far.
_GATHERED = 2**62


@dataclass
class Gathered:
    """What one request has written so far. operations: to be applied as one batch; writes: what they come to."""

    operations: list[Operation] = field(default_factory=list)
    writes: Writes = field(default_factory=dict)


class GatheringStore:
    """A Store. While a thread gathers, its writes are kept back, and its own reads see them already."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._gathered: ContextVar[Gathered | None] = ContextVar("gathered", default=None)

    @contextmanager
    def gather(self) -> Iterator[Gathered]:
        """Keep back what this thread writes inside; whoever gathers applies it to `store`, or drops it."""
        gathered = Gathered()
        token = self._gathered.set(gathered)
        try:
            yield gathered
        finally:
            self._gathered.reset(token)

    def apply(self, operations: Sequence[Operation], *, lease: Lease | None = None) -> int:
        gathered = self._gathered.get()
        if gathered is None:
            return self.store.apply(operations, lease=lease)
        gathered.writes.update(evaluate(operations, _GATHERED, self._revision_of))
        for operation in operations:
            if operation.expect != _GATHERED:
                gathered.operations.append(operation)
            elif not isinstance(operation, Check):  # it follows an earlier one in the same batch
                gathered.operations.append(replace(operation, expect=None))
        return _GATHERED

    def load(self, collection: str) -> list[Stored]:
        return self._overlaid(collection, self.store.load(collection))

    def page(self, collection: str, *, after: str = "", limit: int) -> list[Stored]:
        if not self._touches(collection):
            return self.store.page(collection, after=after, limit=limit)
        return [stored for stored in self.load(collection) if stored.id > after][:limit]

    def get(self, collection: str, id: str) -> Stored | None:
        if not self._touches(collection):
            return self.store.get(collection, id)
        return self.get_many(collection, [id]).get(id)

    def get_many(self, collection: str, ids: Sequence[str]) -> dict[str, Stored]:
        known = self.store.get_many(collection, ids)
        if not self._touches(collection):
            return known
        found = list(known.values())
        return {stored.id: stored for stored in self._overlaid(collection, found) if stored.id in set(ids)}

    def query(
        self, collection: str, field: str, value: str, *, after: str = "", limit: int | None = None
    ) -> list[Stored]:
        if not self._touches(collection):
            return self.store.query(collection, field, value, after=after, limit=limit)
        everything = self._overlaid(collection, self.store.query(collection, field, value))
        found = [stored for stored in everything if stored.id > after and stored.document.get(field) == value]
        return found[:limit]

    # What gathering does not change

    @property
    def id(self) -> str:
        return self.store.id

    def revision(self) -> int:
        return self.store.revision()

    def changes(self, after: int, *, limit: int = 10_000) -> list[Change]:
        return self.store.changes(after, limit=limit)

    def wait(self, after: int, timeout: float) -> bool:
        return self.store.wait(after, timeout)

    def lease(self, name: str) -> Lease | None:
        return self.store.lease(name)

    def acquire(self, name: str, holder: str, *, counter_seen: int | None = None, above: int = 0) -> Lease | None:
        return self.store.acquire(name, holder, counter_seen=counter_seen, above=above)

    def renew(self, lease: Lease) -> Lease | None:
        return self.store.renew(lease)

    def close(self) -> None:
        self.store.close()

    def _touches(self, collection: str) -> bool:
        gathered = self._gathered.get()
        return gathered is not None and any(key[0] == collection for key in gathered.writes)

    def _overlaid(self, collection: str, found: list[Stored]) -> list[Stored]:
        gathered = self._gathered.get()
        if gathered is None or not self._touches(collection):
            return found
        there = {stored.id: stored for stored in found}
        for (where, id), document in gathered.writes.items():
            if where == collection:
                there.pop(id, None)
                if document is not None:
                    there[id] = Stored(collection, id, _GATHERED, document)
        return [there[id] for id in sorted(there)]

    def _revision_of(self, collection: str, id: str) -> int:
        found = self.get(collection, id)
        return ABSENT if found is None else found.revision
