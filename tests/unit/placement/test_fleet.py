"""The table of children: what is reserved adds up, and whoever waits for room hears of it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from mangrove.model.child import Capacity
from mangrove.model.resources import NOTHING, Resources
from mangrove.placement.fleet import Fleet

SMALL, LARGE = Resources(cpu=100, memory=64), Resources(cpu=3000, memory=2048)


def fleet() -> Fleet:
    made = Fleet("node")
    for id in ("x", "y"):
        made.add(id, f"node {id}")
    return made


def test_a_reservation_counts_once_however_often_it_is_made() -> None:
    nodes = fleet()
    for _ in range(3):
        nodes.reserve("a", "x", SMALL)
    assert (nodes.rows["x"].reserved, nodes.rows["x"].attempts) == (SMALL, 1)


def test_a_reservation_that_moves_or_grows_leaves_nothing_behind() -> None:
    nodes = fleet()
    nodes.reserve("a", "x", SMALL)
    nodes.reserve("a", "y", LARGE)
    assert (nodes.rows["x"].reserved, nodes.rows["y"].reserved) == (NOTHING, LARGE)
    assert nodes.reservations == {"a": ("y", LARGE)}


def test_releasing_what_is_not_reserved_is_nothing() -> None:
    nodes = fleet()
    nodes.release("never")
    nodes.reserve("a", "x", SMALL)
    nodes.release("a")
    nodes.release("a")
    assert (nodes.rows["x"].reserved, nodes.rows["x"].attempts) == (NOTHING, 0)


def test_what_was_on_a_child_that_is_forgotten_can_be_released() -> None:
    nodes = fleet()
    nodes.reserve("a", "x", SMALL)
    nodes.remove("x")
    nodes.remove("x")
    nodes.release("a")
    assert nodes.reservations == {}


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcd"), st.sampled_from(["x", "y", "elsewhere", ""]), st.sampled_from([SMALL, LARGE])
        ),
        max_size=30,
    )
)
def test_what_is_reserved_on_a_child_is_the_sum_of_its_attempts(plan: list[tuple[str, str, Resources]]) -> None:
    nodes = fleet()
    held: dict[str, tuple[str, Resources]] = {}
    for attempt, child, amount in plan:
        if child:
            nodes.reserve(attempt, child, amount)
            held[attempt] = (child, amount)
        else:
            nodes.release(attempt)
            held.pop(attempt, None)
        for id, row in nodes.rows.items():
            mine = [amount for where, amount in held.values() if where == id]
            assert (row.reserved, row.attempts) == (sum(mine, NOTHING), len(mine))
    for attempt in "abcd":
        nodes.release(attempt)
    assert all((row.reserved, row.attempts) == (NOTHING, 0) for row in nodes.rows.values())


def test_whoever_waits_for_room_hears_of_it() -> None:
    nodes = fleet()
    nodes.reserve("a", "x", SMALL)

    def news(change: Callable[[], object]) -> bool:
        before, touched = nodes.changed, nodes.touched
        change()
        assert nodes.touched > touched
        return nodes.changed > before

    assert news(lambda: nodes.set_live("x", True))
    assert not news(lambda: nodes.set_live("x", True)), "it was live already"
    assert not news(lambda: nodes.set_live("x", False)), "nothing fits for that"
    assert news(lambda: nodes.update("x", Capacity(LARGE)))
    assert not news(lambda: nodes.update("x", Capacity(LARGE, version=9))), "the same of a later assignment"
    assert news(lambda: nodes.update("x", Capacity(SMALL)))
    assert not news(lambda: nodes.reserve("b", "x", SMALL))
    assert news(lambda: nodes.release("b"))


def test_the_revision_says_what_can_be_allocated_and_not_since_when() -> None:
    nodes = fleet()
    row = nodes.rows["x"]
    capacity = Capacity(LARGE, largest=(SMALL,), labels={"zone": "a"}, version=3)
    nodes.update("x", capacity)
    first = row.revision
    nodes.update("x", msgspec.structs.replace(capacity, version=4))
    assert row.revision == first
    assert row.capacity.version == 4
    nodes.update("x", msgspec.structs.replace(capacity, largest=()))
    assert row.revision != first
    nodes.update("x", capacity)
    assert row.revision == first


def test_a_child_may_change_its_name() -> None:
    nodes = fleet()
    nodes.reserve("a", "x", SMALL)
    assert nodes.add("x", "new name").reserved == SMALL
    assert nodes.rows["x"].name == "new name"


def test_what_is_free_is_what_is_left() -> None:
    nodes = fleet()
    nodes.update("x", Capacity(LARGE))
    nodes.reserve("a", "x", SMALL)
    assert nodes.rows["x"].free == LARGE - SMALL
