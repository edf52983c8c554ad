"""A parent whose store was brought back stops nothing that it does not know, and takes what is wanted for its own."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import msgspec
import pytest

from mangrove.model.documents import ADOPTED, EVENTS, PLACEMENTS, SLOTS, SPECIFICATIONS, Adopted, Placement
from mangrove.model.specification import Specification
from mangrove.roles.parent import CONTROLLER
from mangrove.roles.terms import go_on_with
from mangrove.store.interface import Delete, Put
from mangrove.store.memory import MemoryStore
from tests.unit.roles.house import SETTINGS, House, TestedChild

HOUR = 3600.0
OTHER = Specification("shop.test.other.test", runtime="process")


@pytest.fixture
def house() -> Iterator[House]:
    logging.disable(logging.CRITICAL)
    yield House()
    logging.disable(logging.NOTSET)


@pytest.fixture
def child(house: House) -> TestedChild:
    made = house.child("n1")
    house.start()
    house.run(2.0)
    return made


def restore(house: House, copy: MemoryStore, adopt: float = HOUR) -> None:
    """The parent's machine is lost, and a copy of its store is brought back."""
    house.parent._transport.close()
    go_on_with(copy, CONTROLLER, "h", adopt=adopt)
    house.disk = copy
    house.store._store = copy
    house.start()


def adopted(house: House) -> dict[str, Adopted]:
    return {stored.id: stored.read(Adopted) for stored in house.disk.load(ADOPTED)}


def told(house: House, kind: str) -> list[str]:
    return [stored.document["text"] for stored in house.disk.load(EVENTS) if stored.document["kind"] == kind]


def test_what_the_copy_does_not_know_is_kept_and_listed(house: House, child: TestedChild) -> None:
    old = house.want(0)
    house.run(2.0)
    copy = house.disk.copy()
    house.want(1)
    house.run(2.0)
    running = set(child.statuses.ids)
    assert len(running) == 2
    restore(house, copy)
    house.run(60.0)
    assert set(child.statuses.ids) == running
    assert all(running <= seen for seen in child.seen[1:][-1:]), "it was told to go on with both"
    [kept] = adopted(house).values()
    assert (kept.name, kept.child_name, kept.dropped) == ("web.1", "n1", False)
    assert {kept.attempt.id, house.attempt(old)} == running
    assert told(house, "adopted") == ["web.1 runs on n1, which this store did not know: it is adopted"]
    row = house.parent.fleet.rows[child.identity.id]
    assert row.reserved.cpu == 2000, "its room is taken"
    # A parent that starts again goes on with it.
    house.parent._transport.close()
    house.start()
    house.run(60.0)
    assert set(child.statuses.ids) == running


def test_without_the_operators_word_an_old_copy_is_refused(house: House, child: TestedChild) -> None:
    copy = house.disk.copy()
    house.want(0)
    house.run(2.0)
    running = set(child.statuses.ids)
    house.parent._transport.close()
    house.disk = copy
    house.store._store = copy
    house.start()
    house.run(60.0)
    assert set(child.statuses.ids) == running
    assert house.parent.link.peers[child.identity.id].state == "away"
    assert adopted(house) == {}


def test_what_an_operator_drops_is_stopped_and_forgotten(house: House, child: TestedChild) -> None:
    copy = house.disk.copy()
    house.want(1)
    house.run(2.0)
    restore(house, copy)
    house.run(20.0)
    [kept] = adopted(house).values()
    dropped = msgspec.structs.replace(kept, dropped=True)
    house.write(Put(ADOPTED, kept.attempt.id, msgspec.to_builtins(dropped)))
    child.obeys = False
    house.run(5.0)
    assert child.seen[-1] == set()
    assert house.parent.fleet.rows[child.identity.id].reserved.cpu == 1000, "until it has ended"
    # The parent starts again while it is being stopped: it is not adopted anew.
    house.parent._transport.close()
    house.start()
    house.run(20.0)
    assert list(adopted(house).values()) == [dropped]
    child.statuses.change({}, child.statuses.ids)
    house.run(5.0)
    assert adopted(house) == {}
    assert house.parent.fleet.rows[child.identity.id].reserved.cpu == 0


def test_what_nobody_keeps_in_time_is_stopped(house: House, child: TestedChild) -> None:
    copy = house.disk.copy()
    house.want(1)
    house.run(2.0)
    restore(house, copy, adopt=60.0)
    house.run(50.0)
    assert len(child.statuses.ids) == 1
    house.run(20.0)
    assert (len(child.statuses.ids), adopted(house)) == (0, {})
    assert told(house, "dropped") == ["web.1 on n1 is stopped: nobody kept it in time"]


def test_an_instance_that_was_given_away_later_than_the_copy_knows_is_that_instance(
    house: House, child: TestedChild
) -> None:
    slot = house.want(0)
    house.run(2.0)
    copy = house.disk.copy()
    first = house.attempt(slot)
    second = house.child("n2")
    house.run(2.0)
    child.alive = False
    house.run(15.0)
    newer = house.attempt(slot)
    assert newer != first
    assert set(second.statuses.ids) == {newer}
    child.alive = True
    house.run(5.0)
    assert set(child.statuses.ids) == set()
    identity = house.disk.get("identities", second.identity.id)
    assert identity is not None
    copy.apply([Put("identities", identity.id, identity.document)])
    restore(house, copy)
    starts = len(child.seen), len(second.seen)
    house.run(30.0)
    assert house.attempt(slot) == newer
    assert set(second.statuses.ids) == {newer}
    assert set(child.statuses.ids) == set(), "the first does not begin again"
    assert not any(first in seen for seen in child.seen[starts[0] :])
    stored = house.disk.get(PLACEMENTS, slot)
    assert stored is not None
    assert stored.read(Placement).epoch == 2
    assert adopted(house) == {}
    assert house.disk.get("observed", newer) is not None


def test_a_slot_that_comes_later_takes_what_runs_for_it(house: House, child: TestedChild) -> None:
    copy = house.disk.copy()
    slot = house.want(3)
    house.run(2.0)
    [running] = child.statuses.ids
    restore(house, copy)
    house.run(20.0)
    assert list(adopted(house)) == [running]
    house.want(3)  # an operator keeps it; or, at a cluster, the root says so
    house.run(2.0)
    assert house.attempt(slot) == running
    assert (adopted(house), set(child.statuses.ids)) == ({}, {running})
    house.want(3, desired="stop")
    house.run(3.0)
    assert set(child.statuses.ids) == set()
    assert house.disk.get(SLOTS, slot) is None


def test_a_child_that_cannot_say_what_it_was_given_is_told_nothing(house: House, child: TestedChild) -> None:
    copy = house.disk.copy()
    house.want(1)
    house.run(2.0)
    running = set(child.statuses.ids)
    restore(house, copy)
    house.lost = lambda direction, kind: kind == "reply"
    house.run(30.0)
    assert set(child.statuses.ids) == running
    assert adopted(house) == {}
    house.lost = lambda direction, kind: False
    house.run(15.0)
    assert adopted(house).keys() == running


def test_many_unknown_attempts_with_large_specifications_come_in_several_answers(house: House) -> None:
    child = house.child("n1", cpu=1_000_000)
    house.start()
    house.run(2.0)
    copy = house.disk.copy()
    for number in range(12):
        big = Specification("shop.test.big.test", environment=(f"N={number}", "X=" + "x" * 40_000), runtime="process")
        house.write(Put(SPECIFICATIONS, big.digest, msgspec.to_builtins(big)))
        house.want(number, specification=big.digest)
    house.run(5.0)
    running = set(child.statuses.ids)
    assert len(running) == 12
    restore(house, copy)
    house.run(30.0)
    assert adopted(house).keys() == running
    assert set(child.statuses.ids) == running
    assert len(house.disk.load(SPECIFICATIONS)) == 13


def test_nothing_is_decided_before_the_children_had_a_lease_to_report(house: House, child: TestedChild) -> None:
    slot = house.want(0)
    house.run(2.0)
    copy = house.disk.copy()
    copy.apply([Delete(PLACEMENTS, slot)])  # as if it had been placed after the copy was made
    running = set(child.statuses.ids)
    second = house.child("n2")
    identity = house.disk.get("identities", second.identity.id)
    assert identity is not None
    copy.apply([Put("identities", identity.id, identity.document)])
    child.alive = False
    restore(house, copy)
    house.run(SETTINGS.lease / 2)
    child.alive = True
    house.run(SETTINGS.lease)
    assert set(child.statuses.ids) == running == {house.attempt(slot)}
    assert second.statuses.ids == frozenset()


def test_a_clock_that_shows_a_time_before_1970_lets_nobody_adopt(house: House) -> None:
    house.clock._epoch = -1_000_000_000.0
    house.start()
    assert not house.parent._adopting.active
    child = house.child("n1")
    slot = house.want(0)
    house.run(2.0)
    assert set(child.statuses.ids) == {house.attempt(slot)}
