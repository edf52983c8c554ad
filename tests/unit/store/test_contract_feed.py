"""The contract of the change feed: changes, gaps, waiting."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from mangrove.store.interface import Change, Delete, Gap, Put, Store, StoreUnavailable
from tests.unit.store.implementations import Open

#: Seconds after which something that should happen at once is taken as never happening.
DEADLINE = 30.0


def test_changes_come_in_order_with_their_documents(store: Store) -> None:
    first = store.apply([Put("things", "a", {"n": 1}), Put("other", "b", {"n": 2})])
    second = store.apply([Delete("things", "a")])
    third = store.apply([Put("things", "a", {"n": 3})])
    everything = [
        Change("things", "a", first, {"n": 1}),
        Change("other", "b", first, {"n": 2}),
        Change("things", "a", second, None),
        Change("things", "a", third, {"n": 3}),
    ]
    told = store.changes(0)
    assert [change.revision for change in told] == sorted(change.revision for change in told)
    # What was written again later may be left out, so only the last word is promised.
    assert {(change.collection, change.id): change for change in told} == {
        ("things", "a"): everything[3],
        ("other", "b"): everything[1],
    }
    assert all(change in everything for change in told)
    assert store.changes(second) == everything[3:]
    assert store.changes(third) == []


def test_a_batch_is_never_split(store: Store) -> None:
    sizes = [3, 1, 4, 1, 5, 9, 2, 6]
    for batch, size in enumerate(sizes):
        store.apply([Put("things", f"{batch}.{number}", {"n": batch}) for number in range(size)])
    for limit in (1, 2, 4, 5, 7, 100):
        after, met = 0, []
        while told := store.changes(after, limit=limit):
            whole = [change.revision for change in told]
            assert all(whole.count(revision) == sizes[revision - 1] for revision in whole)
            assert len(told) <= limit or len(set(whole)) == 1
            after = whole[-1]
            met += told
        assert len({change.id for change in met}) == len(met) == sum(sizes)


def test_after_opening_again_a_reader_loses_nothing(open_store: Open) -> None:
    """It is told what it missed, or that it must load anew; never that there is nothing."""
    store = open_store()
    seen = store.apply([Put("things", "a", {"n": 1})])
    newest = store.apply([Put("things", "a", {"n": 2})])
    store = open_store()
    told: list[Change] | None = None
    with suppress(Gap):
        told = store.changes(seen)
    assert told in (None, [Change("things", "a", newest, {"n": 2})])
    assert store.changes(newest) == []
    later = store.apply([Put("things", "b", {"n": 3})])
    assert store.changes(newest) == [Change("things", "b", later, {"n": 3})]


@pytest.mark.parametrize("after", [1, 1000, -1])
def test_a_revision_this_store_never_reached_is_a_gap(store: Store, after: int) -> None:
    with pytest.raises(Gap):
        store.changes(after)


def test_wait_answers_at_once_when_there_is_something(store: Store) -> None:
    revision = store.apply([Put("things", "a", {"n": 1})])
    started = time.monotonic()
    assert store.wait(revision - 1, DEADLINE)
    assert time.monotonic() - started < DEADLINE / 2


def test_wait_ends_after_its_timeout(store: Store) -> None:
    revision = store.apply([Put("things", "a", {"n": 1})])
    started = time.monotonic()
    assert not store.wait(revision, 0.05)
    assert time.monotonic() - started >= 0.05
    assert not store.wait(revision, 0)


def test_a_write_wakes_all_who_wait(store: Store) -> None:
    with ThreadPoolExecutor(3) as pool:
        ready = threading.Barrier(4)

        def waiting() -> bool:
            ready.wait(DEADLINE)
            return store.wait(0, DEADLINE)

        started = time.monotonic()
        waiters = [pool.submit(waiting) for _ in range(3)]
        ready.wait(DEADLINE)
        store.apply([])  # changes nothing and wakes nobody for good
        store.apply([Put("things", "a", {"n": 1})])
        assert [waiter.result(DEADLINE) for waiter in waiters] == [True] * 3
        assert time.monotonic() - started < DEADLINE / 2


def test_neither_failed_batches_nor_leases_move_the_feed(store: Store) -> None:
    revision = store.apply([Put("things", "a", {"n": 1})])
    lease = store.acquire("controller", "me")
    assert lease is not None
    store.renew(lease)
    with pytest.raises(ValueError, match="id of a document"):
        store.apply([Put("things", "", {})])
    assert not store.wait(revision, 0)
    assert store.changes(revision) == []


def test_closing_ends_waiting(store: Store) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiter = pool.submit(store.wait, 0, DEADLINE)
        assert not store.wait(0, 0.1)  # by now the other waits, too
        store.close()
        with pytest.raises(StoreUnavailable, match="closed"):
            waiter.result(DEADLINE / 2)
