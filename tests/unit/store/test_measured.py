"""A store that is measured is the same store, and says how often it was asked, how long it took, and what failed."""

from __future__ import annotations

import pytest

from mangrove.store.interface import Put as put
from mangrove.store.interface import RevisionConflict, StoreUnavailable
from mangrove.store.measured import MeasuredStore
from mangrove.store.memory import MemoryStore


def test_calls_are_counted_and_timed_and_only_failures_of_the_store_are_errors() -> None:
    store = MeasuredStore(MemoryStore())
    store.apply([put("slots", "a", {"service": "s"})])
    assert store.get("slots", "a") is not None
    assert [each.id for each in store.query("slots", "service", "s")] == ["a"]
    with pytest.raises(RevisionConflict):
        store.apply([put("slots", "a", {}, expect=7)])
    assert store.counts == {"apply": 2, "get": 1, "query": 1}
    assert all(store.seconds[operation] > 0 for operation in store.counts)
    assert store.errors.total() == 0
    store.close()
    with pytest.raises(StoreUnavailable):
        store.get("slots", "a")
    assert store.errors == {"apply": 0, "query": 0, "get": 1}
