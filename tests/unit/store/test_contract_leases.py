"""The contract of leases: taking, watching, renewing, and writing only in the newest term."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from mangrove.store.interface import ABSENT, Lease, Put, RevisionConflict, StaleLease, Store
from tests.unit.store.implementations import Open


def acquire(store: Store, holder: str, *, counter_seen: int | None = None, name: str = "controller") -> Lease:
    lease = store.acquire(name, holder, counter_seen=counter_seen)
    assert lease is not None
    return lease


def test_nobody_holds_it_at_first(store: Store) -> None:
    assert store.lease("controller") is None
    lease = acquire(store, "me")
    assert (lease.name, lease.holder) == ("controller", "me")
    assert store.lease("controller") == lease
    assert store.lease("another") is None


def test_it_is_not_given_to_another_who_has_not_watched(store: Store) -> None:
    lease = acquire(store, "me")
    assert store.acquire("controller", "you") is None
    assert store.acquire("controller", "you", counter_seen=lease.counter + 1) is None
    assert store.acquire("controller", "you", counter_seen=lease.counter - 1) is None
    assert store.lease("controller") == lease
    assert acquire(store, "you", name="another").holder == "you"


def test_it_is_taken_over_when_its_counter_stood_still(store: Store) -> None:
    mine = acquire(store, "me")
    seen = store.lease("controller")
    assert seen is not None
    yours = acquire(store, "you", counter_seen=seen.counter)
    assert yours.holder == "you"
    assert yours.term > mine.term
    assert store.renew(mine) is None
    assert store.lease("controller") == yours
    # Another who watched the same counter comes too late.
    assert store.acquire("controller", "they", counter_seen=seen.counter) is None


def test_it_is_not_taken_over_when_its_counter_moved(store: Store) -> None:
    mine = acquire(store, "me")
    seen = mine.counter
    renewed = store.renew(mine)
    assert renewed is not None
    assert (renewed.term, renewed.holder, renewed.name) == (mine.term, "me", "controller")
    assert renewed.counter > seen
    assert store.acquire("controller", "you", counter_seen=seen) is None
    assert store.lease("controller") == renewed
    assert store.renew(mine) is not None  # an older counter of the same term is still the holder's


def test_the_same_holder_gets_it_back_in_a_new_term(open_store: Open) -> None:
    before = acquire(open_store(), "me")
    store = open_store()
    assert store.lease("controller") == before
    assert store.acquire("controller", "you") is None
    after = acquire(store, "me")
    assert after.term > before.term
    assert after.counter > before.counter
    assert store.renew(before) is None
    with pytest.raises(StaleLease):
        store.apply([Put("things", "a", {"n": 1})], lease=before)


def test_the_holder_writes_in_its_term(store: Store) -> None:
    lease = acquire(store, "me")
    first = store.apply([Put("things", "a", {"n": 1})], lease=lease)
    renewed = store.renew(lease)
    assert store.apply([Put("things", "a", {"n": 2}, expect=first)], lease=lease) > first
    assert store.apply([Put("things", "a", {"n": 3})], lease=renewed) > first
    with pytest.raises(RevisionConflict):
        store.apply([Put("things", "a", {"n": 4}, expect=ABSENT)], lease=renewed)


def test_a_stale_lease_writes_nothing(store: Store) -> None:
    mine = acquire(store, "me")
    revision = store.apply([Put("things", "a", {"n": 1})], lease=mine)
    acquire(store, "you", counter_seen=mine.counter)
    with pytest.raises(StaleLease, match="controller: term 1 of me is over, it is held by you in term 2"):
        store.apply([Put("things", "a", {"n": 2}), Put("things", "b", {"n": 2})], lease=mine)
    with pytest.raises(StaleLease):
        store.apply([], lease=mine)
    assert store.revision() == revision
    assert [stored.document for stored in store.load("things")] == [{"n": 1}]


@pytest.mark.parametrize(
    "forged", [Lease("controller", "me", 2, 1), Lease("controller", "you", 1, 1), Lease("another", "me", 1, 1)]
)
def test_a_lease_this_store_never_gave_writes_nothing(store: Store, forged: Lease) -> None:
    acquire(store, "me")
    with pytest.raises(StaleLease):
        store.apply([Put("things", "a", {"n": 1})], lease=forged)
    assert store.renew(forged) is None
    assert store.revision() == 0


def test_only_one_of_many_takes_it_over(store: Store) -> None:
    mine = acquire(store, "me")
    with ThreadPoolExecutor(8) as pool:
        results = list(
            pool.map(lambda number: store.acquire("controller", f"{number}", counter_seen=mine.counter), range(32))
        )
    winners = [lease for lease in results if lease is not None]
    assert len(winners) == 1
    assert store.lease("controller") == winners[0]


def test_after_a_takeover_the_former_holder_writes_no_more(store: Store) -> None:
    mine = acquire(store, "me")

    def write_until_stopped() -> None:
        while True:
            store.apply([Put("things", "a", {"writer": "me"})], lease=mine)

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(write_until_stopped)
        assert store.wait(0, 30)
        yours = acquire(store, "you", counter_seen=mine.counter)
        store.apply([Put("things", "a", {"writer": "you"})], lease=yours)
        assert isinstance(writer.exception(30), StaleLease)
    assert store.load("things")[0].document == {"writer": "you"}


def test_a_term_can_be_raised_above_one_that_others_may_have_seen(open_store: Open) -> None:
    store = open_store()
    first = store.acquire("controller", "me", above=41)
    assert first is not None
    assert first.term == 42
    second = store.acquire("controller", "me", above=7)
    assert second is not None
    assert second.term == 43
    third = store.acquire("controller", "me", above=1_000_000)
    assert third is not None
    assert third.term == 1_000_001
    with pytest.raises(StaleLease):
        store.apply([Put("a", "1", {})], lease=second)
    store.apply([Put("a", "1", {})], lease=third)
