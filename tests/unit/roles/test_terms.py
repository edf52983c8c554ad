"""A store that went back in time notices it by what its children were told."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mangrove.base.ids import seeded_ids
from mangrove.roles.terms import Terms, go_on_with
from mangrove.store.interface import Put, StaleLease
from mangrove.store.memory import MemoryStore

NAME = "controller"


class Life:
    """A parent's life on a store: it starts, writes, tells."""

    def __init__(self, store: MemoryStore, new_tenure: str) -> None:
        lease = store.acquire(NAME, store.id)
        assert lease is not None
        self.store = store
        self.term = lease.term
        self.terms = Terms.begin(store, lease, new_tenure)

    def decides(self) -> tuple[int, str, int]:
        """Something is written, and a child told of it: what the child then knows."""
        self.store.apply([Put("things", "a", {})])
        return self.term, self.terms.tenure, self.store.revision()

    def believes(self, told: tuple[int, str, int]) -> bool:
        return self.terms.may_have_said(*told)


def test_a_parent_believes_what_it_said_itself_before_and_after_a_restart() -> None:
    store = MemoryStore()
    first = Life(store, "t1")
    early, late = first.decides(), first.decides()
    assert first.believes(early)
    assert first.believes(late)
    second = Life(store, "t2")
    assert second.believes(early)
    assert second.believes(late)
    told = second.decides()
    assert Life(store, "t3").believes(told)


def test_a_child_that_was_told_nothing_is_believed() -> None:
    assert Life(MemoryStore(), "t1").believes((0, "", 0))


def test_an_old_copy_does_not_believe_what_was_said_after_it_was_made() -> None:
    store = MemoryStore()
    life = Life(store, "t1")
    before = life.decides()
    copy = store.copy()
    after = life.decides()
    old = Life(copy, "t2")
    assert old.believes(before)
    assert not old.believes(after)
    for number in range(5):
        old = Life(copy, f"again-{number}")
        old.decides()
    assert not old.believes(after), "however often it was started since, and whatever it wrote"


def test_two_copies_that_come_to_the_same_term_are_told_apart() -> None:
    store = MemoryStore()
    Life(store, "t1").decides()
    copy = store.copy()
    newest = Life(store, "t2")
    told = newest.decides()
    old = Life(copy, "t2-of-the-copy")
    for _ in range(9):
        old.decides()
    assert old.term == newest.term
    assert not old.believes(told)
    assert not newest.believes(old.decides())


def test_an_operator_may_go_on_with_an_old_copy() -> None:
    store = MemoryStore()
    Life(store, "t1")
    copy = store.copy()
    newest = Life(store, "t2")
    for number in range(3, 6):
        newest = Life(store, f"t{number}")
    told = newest.decides()
    go_on_with(copy, NAME, copy.id, above=newest.term)
    old = Life(copy, "t9")
    assert old.term > newest.term
    assert old.believes(told)
    assert old.believes(old.decides())
    later = Life(copy, "t10")
    assert later.believes((old.term, "t9", copy.revision() - 3))
    assert not later.believes((old.term, "another", 1)), "from then on it judges again"


def test_nobody_goes_on_with_a_store_that_another_runs_on() -> None:
    store = MemoryStore()
    Life(store, "t1")
    with pytest.raises(StaleLease, match="stop it first"):
        go_on_with(store, NAME, "another", above=1)


def test_terms_of_long_ago_are_believed_and_forgotten() -> None:
    store = MemoryStore()
    told = Life(store, "t0").decides()
    for number in range(1, 1010):
        life = Life(store, f"t{number}")
    assert life.believes(told)
    stored = store.get("meta", "terms")
    assert stored is not None
    assert len(stored.document["begun"]) == 1000


@settings(deadline=None)
@given(st.lists(st.sampled_from(["restart", "decide", "decide", "copy", "swap"]), max_size=30))
def test_only_what_a_store_really_said_is_believed(plan: list[str]) -> None:
    """Two copies of one store live beside each other: each believes its own past and what it was copied with."""
    ids = seeded_ids(3)
    store = MemoryStore("5" * 24)
    life = Life(store, ids())
    said: list[tuple[tuple[int, str, int], frozenset[int]]] = []  # (what, the stores that have it)
    other: tuple[Life, int] | None = None
    here, stores = 0, 1
    for step in plan:
        if step == "restart":
            life = Life(life.store, ids())
        elif step == "decide":
            said.append((life.decides(), frozenset({here})))
        elif step == "copy" and other is None:
            twin = life.store.copy()
            said = [(what, where | {stores} if here in where else where) for what, where in said]
            other, stores = (Life(twin, ids()), stores), stores + 1
        elif step == "swap" and other is not None:
            (life, here), other = other, (life, here)
        for what, where in said:
            assert life.believes(what) == (here in where)


def test_a_restore_goes_above_whatever_terms_children_may_have_seen_and_says_for_how_long_it_adopts() -> None:
    store = MemoryStore()
    Life(store, "t1")
    copy = store.copy()
    for number in range(2, 30):
        newest = Life(store, f"t{number}")
    told = newest.decides()
    go_on_with(copy, NAME, copy.id, adopt=60.0)
    lease = copy.acquire(NAME, copy.id)
    assert lease is not None
    assert lease.term > 1_000_000
    terms = Terms.begin(copy, lease, "t", wall=1000.0)
    assert terms.adopting_until == 1060.0
    assert terms.may_have_said(*told)
    lease = copy.acquire(NAME, copy.id)
    assert lease is not None
    assert Terms.begin(copy, lease, "u", wall=1030.0).adopting_until == 1060.0, "a restart makes it no longer"
    assert Life(store, "t40").terms.adopting_until == 0.0
