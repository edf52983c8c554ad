"""What is remembered of documents that were asked for is never older than what was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from mangrove.store.asked import Asked
from mangrove.store.interface import ABSENT, Delete, Put, RevisionConflict, Stored
from mangrove.store.sqlite import SqliteStore

KEY = ("services", "a")


def test_is_read_once() -> None:
    asked, reads = Asked(), list[int]()

    def read() -> Stored | None:
        reads.append(1)
        return Stored(*KEY, 1, b"1")

    assert [asked.get(KEY, read), asked.get(KEY, read)] == [Stored(*KEY, 1, b"1")] * 2
    assert len(reads) == 1


def test_what_was_read_before_a_commit_is_not_remembered_after_it() -> None:
    asked = Asked()

    def read() -> Stored | None:
        asked.committed({KEY: b"2"}, 2)
        return Stored(*KEY, 1, b"1")

    asked.get(KEY, read)

    assert asked.get(KEY, lambda: Stored(*KEY, 2, b"2")) == Stored(*KEY, 2, b"2")


def test_follows_writes_and_removals(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    first = store.apply([Put(*KEY, {"n": 1}, ABSENT)])
    assert store.get(*KEY) is not None
    second = store.apply([Put(*KEY, {"n": 2}, first)])

    found = store.get(*KEY)
    assert found is not None
    assert (found.revision, found.document) == (second, {"n": 2})
    with pytest.raises(RevisionConflict):
        store.apply([Put(*KEY, {"n": 3}, first)])
    store.apply([Delete(*KEY, second)])
    assert store.get(*KEY) is None
    store.apply([Put(*KEY, {"n": 4}, ABSENT)])
    store.close()


def test_a_batch_that_fails_is_not_remembered(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    first = store.apply([Put(*KEY, {"n": 1})])
    store.get(*KEY)
    with pytest.raises(RevisionConflict):
        store.apply([Put(*KEY, {"n": 2}, first), Put("services", "b", {}, 99)])

    found = store.get(*KEY)
    assert found is not None
    assert (found.revision, found.document) == (first, {"n": 1})
    store.close()


def test_keeps_a_bounded_number_and_nothing_large() -> None:
    asked = Asked()
    for number in range(5000):
        asked.get(("services", str(number)), lambda number=number: Stored("services", str(number), 1, b"1"))  # type: ignore[misc]
    asked.get(KEY, lambda: Stored(*KEY, 1, b"1" * 100_000))

    assert asked.known(("services", "0")) is None
    assert asked.known(("services", "4999")) is not None
    assert asked.known(KEY) is None
