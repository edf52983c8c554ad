"""The parent's shell: durable before told, told before forgotten, and deaf to nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import msgspec
import pytest

from mangrove.base.errors import Conflict
from mangrove.link.transports.interface import Received
from mangrove.model.documents import (
    EVENTS,
    HOLDS,
    IDENTITIES,
    OBSERVED,
    PLACEMENTS,
    SLOTS,
    SPECIFICATIONS,
    Event,
    Hold,
    Placement,
)
from mangrove.model.phases import Phase
from mangrove.model.resources import Resources
from mangrove.store.interface import Delete, Put, StaleLease
from tests.unit.roles.house import SETTINGS, WEB, House, TestedChild


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


def placement(house: House, slot: str) -> Placement | None:
    stored = house.disk.get(PLACEMENTS, slot)
    return None if stored is None else msgspec.convert(stored.document, Placement)


def events(house: House) -> list[str]:
    return [str(stored.document["text"]) for stored in house.disk.load(EVENTS)]


def test_a_slot_comes_to_run(house: House, child: TestedChild) -> None:
    slot = house.want()
    house.run(1.0)
    stored = placement(house, slot)
    assert stored is not None
    assert stored.current is not None
    assert child.seen[-1] == {stored.current.attempt}
    observed = house.disk.get(OBSERVED, stored.current.attempt)
    assert observed is not None
    assert observed.document["status"]["phase"] == Phase.RUNNING
    assert house.parent.fleet.rows[child.identity.id].reserved == WEB.resources
    assert "web/0 is given to n1" in events(house)


def test_what_is_wanted_no_more_leaves_nothing_behind(house: House, child: TestedChild) -> None:
    slot = house.want()
    house.run(1.0)
    house.want(desired="stop")
    house.run(3.0)
    assert child.seen[-1] == set()
    assert house.disk.get(SLOTS, slot) is None
    assert house.disk.get(PLACEMENTS, slot) is None
    assert house.disk.load(OBSERVED) == []
    assert house.parent.fleet.rows[child.identity.id].reserved == Resources()


def test_the_reservation_stays_until_the_child_says_that_it_has_ended(house: House, child: TestedChild) -> None:
    slot = house.want()
    house.run(1.0)
    child.obeys = False
    house.want(desired="stop")
    house.run(20.0)
    assert child.seen[-1] == set(), "it was told"
    assert house.parent.fleet.rows[child.identity.id].reserved == WEB.resources
    assert house.disk.get(SLOTS, slot) is not None
    child.statuses.change({}, child.statuses.ids)
    house.run(1.0)
    assert house.parent.fleet.rows[child.identity.id].reserved == Resources()
    assert house.disk.get(SLOTS, slot) is None


# -- durable before told


@pytest.mark.parametrize("trouble", ["write", "all"])
def test_nobody_is_told_what_is_not_durable(house: House, child: TestedChild, trouble: str) -> None:
    house.told.clear()
    slot = house.want()
    house.trouble = "write" if trouble == "write" else "all"
    seen = len(child.seen)
    house.run(30.0)
    assert len(child.seen) == seen
    assert house.told == []
    assert "planned" in house.parent.unavailable
    peer = house.parent.link.peers[child.identity.id]
    assert (peer.state, peer.silent) == ("live", False), "children are heard and answered all the same"
    assert child.role.link.lease_until > house.clock.now()
    house.trouble = ""
    house.run(2.0)
    assert house.parent.unavailable == ""
    assert child.seen[-1] == {house.attempt(slot)}
    assert slot in house.told


def test_nothing_that_happened_while_the_store_was_away_is_forgotten(house: House) -> None:
    children = [house.child("n1"), house.child("n2")]
    house.start()
    house.run(2.0)
    slots = [house.want(number) for number in range(4)]
    house.run(1.0)
    house.trouble = "all"
    lost = next(child for child in children if child.seen[-1])
    lost.alive = False
    house.broker.cut(lost.identity.id)
    house.run(3 * SETTINGS.lease)
    house.want(4)
    house.want(0, desired="stop")
    house.trouble = ""
    house.run(3.0)
    (left,) = (child for child in children if child is not lost)
    assert {house.attempt(slot) for slot in slots[1:]} <= left.seen[-1]
    assert len(left.seen[-1]) == 4


def test_a_store_that_fails_while_an_assignment_is_made_loses_none(house: House, child: TestedChild) -> None:
    house.want()
    revision = house.parent.link._revision

    def away() -> int:
        house.trouble = "all"
        return revision()

    house.parent.link._revision = away
    house.run(1.0)
    assert house.parent.unavailable
    house.parent.link._revision = revision
    house.trouble = ""
    house.run(1.5)
    assert child.seen[-1] == {house.attempt("s.0")}


# -- restarts


def test_after_a_restart_everything_is_as_it_was(house: House, child: TestedChild) -> None:
    slots = [house.want(number) for number in range(3)]
    house.run(1.0)
    before = {slot: house.attempt(slot) for slot in slots}
    reserved = house.parent.fleet.rows[child.identity.id].reserved
    house.start()
    assert {slot: house.attempt(slot) for slot in slots} == before
    assert house.parent.fleet.rows[child.identity.id].reserved == reserved
    assert house.parent.observed.keys() == set(before.values())
    assigned = child.seen[-1]
    house.run(15.0)
    assert all(seen == assigned for seen in child.seen[-2:])
    assert {slot: house.attempt(slot) for slot in slots} == before


def test_what_the_child_stopped_saying_while_the_parent_was_away_is_noticed(house: House, child: TestedChild) -> None:
    house.want()
    house.run(1.0)
    attempt = house.attempt("s.0")
    house.start()
    child.obeys = False
    child.statuses.change({}, [attempt])
    house.run(15.0)
    assert attempt not in house.parent.observed
    assert house.disk.get(OBSERVED, attempt) is None


def test_slots_written_while_the_parent_was_away_are_found(house: House, child: TestedChild) -> None:
    slot = house.want()
    house.start()
    house.run(15.0)
    assert child.seen[-1] == {house.attempt(slot)}


def test_a_gap_in_the_feed_is_read_over(house: House, child: TestedChild) -> None:
    gone = house.want(0)
    house.run(1.0)
    house.write(Delete(SLOTS, gone))
    wanted = house.want(1)
    house.disk.reopen()  # what the feed held is gone
    late = house.child("n2")
    house.run(3.0)
    assert house.attempt(gone) == ""
    assert house.attempt(wanted)
    assert late.identity.id in house.parent.children


# -- the lease


def test_only_one_controller_runs_on_a_store(house: House, child: TestedChild) -> None:
    with pytest.raises(Conflict, match="another controller holds the store's lease"):
        house.start(holder="somebody else")


def test_who_lost_the_lease_decides_nothing_any_more(house: House, child: TestedChild) -> None:
    held = house.disk.lease("controller")
    assert held is not None
    house.disk.acquire("controller", "somebody else", counter_seen=held.counter)
    house.want()
    seen = len(child.seen)
    with pytest.raises(StaleLease):
        house.run(1.0)
    assert len(child.seen) == seen


# -- children


def test_a_child_that_is_revoked_while_it_speaks_is_no_stumbling_block(house: House, child: TestedChild) -> None:
    """Its word and its end come in the same round."""
    slot = house.want()
    house.run(1.0)
    child.says(house.attempt(slot), Phase.BACKING_OFF, "exit code 1")
    child.capacity = msgspec.structs.replace(child.capacity, nodes=2)
    child.role.speak()
    stored = house.disk.get(IDENTITIES, child.identity.id)
    assert stored is not None
    revoked = Put(IDENTITIES, child.identity.id, {**stored.document, "revoked": True})
    # The message is handled, then the revocation is written, then both are worked in.
    work = house.parent.work
    vars(house.parent)["work"] = lambda: None
    house.run(0.2)
    house.write(revoked)
    del vars(house.parent)["work"]
    work()
    assert child.identity.id not in house.parent.children
    house.run(1.0)
    assert house.attempt(slot) == ""
    assert house.parent.fleet.reservations == {}


def test_what_is_wrong_with_a_child_is_told_once_and_when_it_is_over(house: House, child: TestedChild) -> None:
    def told() -> list[str]:
        events = [stored.read(Event) for stored in house.disk.load(EVENTS)]
        return [event.text for event in events if event.kind in ("node-troubled", "node-well")]

    house.run(1.0)
    assert told() == []
    child.capacity = msgspec.structs.replace(child.capacity, troubles=("its disk is full",))
    house.run(3.0)
    name = child.identity.name
    assert told() == [f"{name}: its disk is full"]
    child.capacity = msgspec.structs.replace(child.capacity, troubles=("its disk is full", "x" * 1000))
    house.run(3.0)
    house.start()
    child.start()
    house.run(10.0)
    assert told() == [f"{name}: its disk is full", f"{name}: {'x' * 400}"], "not again after each start"
    child.capacity = msgspec.structs.replace(child.capacity, troubles=())
    house.run(3.0)
    assert told()[2:] == [f"{name} is well again; it was: its disk is full; {'x' * 382}"]


def test_what_a_silent_child_ran_goes_to_another(house: House, child: TestedChild) -> None:
    other = house.child("n2")
    slot = house.want()
    house.run(3.0)
    first = house.attempt(slot)
    runs, idle = (child, other) if first in child.seen[-1] else (other, child)
    runs.alive = False
    house.run(SETTINGS.lease + 1.0)
    assert house.attempt(slot) != first
    assert idle.seen[-1] == {house.attempt(slot)}
    assert house.parent.fleet.rows[runs.identity.id].reserved == WEB.resources, "it may still run there"
    runs.alive = True
    house.run(20.0)
    assert runs.seen[-1] == set()
    assert house.parent.fleet.rows[runs.identity.id].reserved == Resources()


def test_what_fits_nowhere_runs_as_soon_as_there_is_room(house: House, child: TestedChild) -> None:
    for number in range(5):
        house.want(number)
    house.run(2.0)
    assert len(child.seen[-1]) == 4
    (waiting,) = (slot for slot in house.parent.placements if not house.attempt(slot))
    stored = placement(house, waiting)
    assert stored is not None
    assert "too small or too full" in stored.reason
    house.child("n2")
    house.run(2.0)
    assert house.attempt(waiting)


def test_a_wall_clock_that_jumps_holds_nothing_up(house: House, child: TestedChild) -> None:
    slot = house.want()
    house.run(1.0)
    child.obeys = False
    child.says(house.attempt(slot), Phase.FAILED, "exit code 1")
    house.run(0.5)
    assert house.attempt(slot) == ""
    wall = house.clock.wall
    vars(house.clock)["wall"] = lambda: wall() - 86_400
    house.run(4.0)
    assert house.attempt(slot)


def test_news_of_a_slot_are_told_once_they_are_durable(house: House, child: TestedChild) -> None:
    slot = house.want()
    house.run(1.0)
    house.told.clear()
    house.run(5.0)
    assert house.told == [], "no news"
    child.says(house.attempt(slot), Phase.BACKING_OFF, "exit code 1")
    house.run(0.5)
    assert house.told == [slot]


def test_who_is_turned_away_again_and_again_is_told_of_once(house: House, child: TestedChild) -> None:
    house.parent.link._admit = lambda id, hello: "an old copy"
    child.role.link.rejoin(house.clock.now())
    house.run(200.0)
    assert events(house).count("n1 was turned away: an old copy") == 1
    assert sum(kind == "hello" for _, _, kind in house.sent) > 4
    house.parent.link._admit = lambda id, hello: ""
    house.run(40.0)
    house.parent.link._admit = lambda id, hello: "an old copy"
    child.role.link.rejoin(house.clock.now())
    house.run(1.0)
    assert events(house).count("n1 was turned away: an old copy") == 2


def test_junk_on_the_transport_changes_nothing(house: House, child: TestedChild) -> None:
    revision = house.disk.revision()
    for kind in ("hello", "beat", "report", "gone", "assign", "", "ü"):
        for who in (child.identity.id, "nobody", ""):
            for payload in (b"", b"junk", b"0" * 100_000):
                house.parent.handle(Received(who, kind, payload))
    house.parent.work()
    assert house.disk.revision() == revision
    assert house.parent.link.dropped == 63


# -- held by an operator


def held(house: House, slot: str) -> None:
    house.write(Put(HOLDS, slot, msgspec.to_builtins(Hold(slot, "held at alpha by an operator", 5.0))))


def test_what_an_operator_holds_is_stopped_and_stays_so_until_it_is_released(house: House, child: TestedChild) -> None:
    slot = house.want()
    house.run(1.0)
    held(house, slot)
    house.run(30.0)
    assert child.seen[-1] == set()
    stored = placement(house, slot)
    assert stored is not None
    assert (stored.current, stored.leaving, stored.final) == (None, (), None)
    assert stored.reason == "held at alpha by an operator"
    assert house.parent.fleet.rows[child.identity.id].reserved == Resources(), "its room is free for others"
    house.start()  # it is remembered
    house.run(30.0)
    assert house.attempt(slot) == ""
    house.write(Delete(HOLDS, slot))
    house.run(1.0)
    assert child.seen[-1] == {house.attempt(slot)}
    said = events(house)
    assert "web/0 is held at alpha by an operator" in said
    assert "web/0 is released by an operator" in said


def test_what_is_held_is_not_handed_back(house: House) -> None:
    house.start(may_refuse=lambda: True)
    slot = house.want()
    held(house, slot)
    house.run(30.0)
    stored = placement(house, slot)
    assert stored is not None
    assert stored.final is None


def test_a_hold_goes_with_its_slot(house: House, child: TestedChild) -> None:
    slot = house.want()
    house.run(1.0)
    held(house, slot)
    house.run(3.0)
    house.want(desired="stop")
    house.run(3.0)
    assert house.disk.get(SLOTS, slot) is None
    assert house.disk.load(HOLDS) == []


def test_a_hold_of_what_is_gone_is_forgotten(house: House, child: TestedChild) -> None:
    held(house, "s.7")
    house.run(1.0)
    assert house.disk.load(HOLDS) == []


def test_what_a_cluster_holds_stays_there_though_the_cluster_is_silent(house: House, child: TestedChild) -> None:
    slot = house.want()
    house.run(1.0)
    attempt = house.attempt(slot)
    child.says(attempt, Phase.HELD, "held at alpha by an operator")
    house.run(3.0)
    house.child("n2")
    child.alive = False
    house.run(30.0)
    assert house.attempt(slot) == attempt


def test_a_slot_without_its_specification_holds_up_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    house = House()
    child = house.child("n1")
    house.start()
    lost = msgspec.structs.replace(WEB, name="lost")
    first = house.want(0, specification=lost.digest)
    second = house.want(1)
    house.run(2.0)
    assert set(child.statuses.ids) == {house.attempt(second)}
    assert f"{first} stays as it is: the store has lost its specification" in caplog.text
    house.write(Put(SPECIFICATIONS, lost.digest, msgspec.to_builtins(lost)))
    house.want(0, specification=lost.digest)
    house.run(2.0)
    assert set(child.statuses.ids) == {house.attempt(first), house.attempt(second)}
    house.write(Delete(SPECIFICATIONS, lost.digest))
    house.start()
    house.run(2.0)
    house.want(0, "stop", lost.digest)
    house.run(2.0)
    assert set(child.statuses.ids) == {house.attempt(second)}
