"""A store whose calls are counted and timed, for whoever watches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from time import perf_counter

from mangrove.store.interface import Change, Lease, Operation, Store, Stored, StoreUnavailable


class MeasuredStore:
    """`inner`, with counts, seconds and failures (for want of the store itself) by operation."""

    def __init__(self, inner: Store) -> None:
        self.counts: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self._inner = inner
        self._lock = Lock()

    @contextmanager
    def _measured(self, operation: str) -> Iterator[None]:
        began, failed = perf_counter(), False
        try:
            yield
        except StoreUnavailable:
            failed = True
            raise
        finally:
            spent = perf_counter() - began
            with self._lock:
                self.counts[operation] += 1
                self.seconds[operation] += spent  # type: ignore[assignment]  # a Counter counts whatever adds up
                self.errors[operation] += failed

    @property
    def id(self) -> str:
        return self._inner.id

    def load(self, collection: str) -> list[Stored]:
        with self._measured("load"):
            return self._inner.load(collection)

    def page(self, collection: str, *, after: str = "", limit: int) -> list[Stored]:
        with self._measured("page"):
            return self._inner.page(collection, after=after, limit=limit)

    def get(self, collection: str, id: str) -> Stored | None:
        with self._measured("get"):
            return self._inner.get(collection, id)

    def get_many(self, collection: str, ids: Sequence[str]) -> dict[str, Stored]:
        with self._measured("get_many"):
            return self._inner.get_many(collection, ids)

    def query(
        self, collection: str, field: str, value: str, *, after: str = "", limit: int | None = None
    ) -> list[Stored]:
        with self._measured("query"):
            return self._inner.query(collection, field, value, after=after, limit=limit)

    def revision(self) -> int:
        return self._inner.revision()

    def apply(self, operations: Sequence[Operation], *, lease: Lease | None = None) -> int:
        with self._measured("apply"):
            return self._inner.apply(operations, lease=lease)

    def changes(self, after: int, *, limit: int = 10_000) -> list[Change]:
        with self._measured("changes"):
            return self._inner.changes(after, limit=limit)

    def wait(self, after: int, timeout: float) -> bool:
        return self._inner.wait(after, timeout)

    def lease(self, name: str) -> Lease | None:
        with self._measured("lease"):
            return self._inner.lease(name)

    def acquire(self, name: str, holder: str, *, counter_seen: int | None = None, above: int = 0) -> Lease | None:
        with self._measured("lease"):
            return self._inner.acquire(name, holder, counter_seen=counter_seen, above=above)

    def renew(self, lease: Lease) -> Lease | None:
        with self._measured("lease"):
            return self._inner.renew(lease)

    def close(self) -> None:
        self._inner.close()
