"""What is particular to a MemoryStore: it is a disk that can be copied."""

from __future__ import annotations

import pytest

from mangrove.store.interface import Delete, Gap, Put
from mangrove.store.memory import MemoryStore


def test_an_id_can_be_given() -> None:
    assert MemoryStore("0123456789abcdef01234567").id == "0123456789abcdef01234567"
    assert MemoryStore().id != MemoryStore().id


def test_a_copy_is_a_backup_of_that_moment() -> None:
    store = MemoryStore()
    revision = store.apply([Put("services", id, {"owner": "me"}) for id in "abc"])
    lease = store.acquire("controller", "me")
    copy = store.copy()
    assert (copy.id, copy.revision(), copy.lease("controller")) == (store.id, revision, lease)
    assert copy.load("services") == store.load("services")
    assert copy.changes(revision) == []
    with pytest.raises(Gap):
        copy.changes(0)

    store.apply([Delete("services", "a"), Put("services", "d", {"owner": "me"})])
    store.acquire("controller", "me")
    assert [stored.id for stored in copy.query("services", "owner", "me")] == ["a", "b", "c"]
    assert copy.lease("controller") == lease
    copy.apply([Delete("services", "b"), Delete("services", "c")])
    assert [stored.id for stored in store.query("services", "owner", "me")] == ["b", "c", "d"]


def test_opening_again_needs_no_close() -> None:
    store = MemoryStore()
    revision = store.apply([Put("things", "a", {"n": 1})])
    assert store.reopen().load("things")[0].document == {"n": 1}
    with pytest.raises(Gap):
        store.changes(revision - 1)
