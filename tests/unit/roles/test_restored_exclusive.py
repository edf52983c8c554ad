"""A parent whose store was brought back lets no two attempts of an exclusive slot run at once."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import msgspec
import pytest

from mangrove.model.documents import EVENTS, IDENTITIES, SPECIFICATIONS
from mangrove.model.phases import Phase
from mangrove.model.specification import Disconnect
from mangrove.roles.parent import CONTROLLER
from mangrove.roles.terms import go_on_with
from mangrove.store.interface import Delete, Put
from tests.unit.roles.house import WEB, House, TestedChild

DATABASE = msgspec.structs.replace(WEB, disconnect=Disconnect(stop_on_child_after=30.0))
#: More than two leases, and less than the time that stopping by itself may take.
AWAY = 28.0


class Restored:
    """Attempt `old` on n1 is what a copy of the store knows; the store that was lost had given `new` to n2."""

    def __init__(self) -> None:
        self.house = house = House()
        house.write(Put(SPECIFICATIONS, DATABASE.digest, msgspec.to_builtins(DATABASE)))
        self.n1 = house.child("n1")
        house.start()
        house.run(2.0)
        self.slot = house.want(0, specification=DATABASE.digest)
        house.run(2.0)
        self.old = house.attempt(self.slot)
        self.n2 = house.child("n2")
        house.run(2.0)
        self.copy = house.disk.copy()

    def replace(self) -> None:
        """n1 is silent for long enough, and comes back."""
        self.n1.alive = False
        self.house.run(40.0)
        self.new = self.house.attempt(self.slot)
        assert self.new in self.n2.statuses.ids
        self.n1.alive = True
        self.house.run(5.0)
        assert self.n1.statuses.ids == frozenset()

    def restore(self, adopt: float = 3600.0) -> None:
        """The copy is brought back."""
        self.house.parent._transport.close()
        go_on_with(self.copy, CONTROLLER, "h", adopt=adopt)
        self.house.disk = self.copy
        self.house.store._store = self.copy
        self.starts = len(self.n1.seen), len(self.n2.seen)
        self.house.start()

    def told(self, child: TestedChild) -> set[str]:
        """Every attempt that a child was told to run since then."""
        before = self.starts[0 if child is self.n1 else 1]
        return set().union(*child.seen[before:])

    def events(self, kind: str) -> list[str]:
        documents = [stored.document for stored in self.house.disk.load(EVENTS)]
        return [str(one["text"]) for one in documents if one["kind"] == kind]


@pytest.fixture
def restored() -> Iterator[Restored]:
    logging.disable(logging.CRITICAL)
    yield Restored()
    logging.disable(logging.NOTSET)


def test_nothing_begins_until_what_the_store_does_not_know_of_has_stopped(restored: Restored) -> None:
    house = restored.house
    restored.replace()
    restored.n2.alive = False
    restored.restore()
    house.run(AWAY)
    assert restored.told(restored.n1) == set()
    assert house.parent.placements[restored.slot].reason == (
        "waits until what the lost store may have started elsewhere has stopped"
    )
    restored.n2.alive = True
    house.run(5.0)
    assert house.attempt(restored.slot) == restored.new
    assert (restored.told(restored.n1), restored.told(restored.n2)) == (set(), {restored.new})


def test_a_newcomer_waits_as_long(restored: Restored) -> None:
    """What the copy knows of as wanted may have been started by the lost store for the first time."""
    house = restored.house
    slot = house.want(1, specification=DATABASE.digest)
    other = house.want(2)
    restored.copy = house.disk.copy()
    restored.n2.alive = False
    restored.restore()
    house.run(AWAY)
    assert house.attempt(other)
    assert not house.attempt(slot)
    house.run(10.0)
    assert house.attempt(slot)


def test_what_runs_where_the_store_says_goes_on(restored: Restored) -> None:
    restored.restore()
    restored.house.run(40.0)
    assert restored.house.attempt(restored.slot) == restored.old
    assert restored.n1.statuses.ids == {restored.old}
    assert all(seen == {restored.old} for seen in restored.n1.seen[restored.starts[0] :])
    restored.n1.says(restored.old, Phase.BACKING_OFF, "exit code 1")
    restored.house.run(5.0)
    assert restored.house.attempt(restored.slot) == restored.old, "what was confirmed once is restarted in place"


def test_what_is_not_seen_to_run_begins_anew_when_the_time_is_over(restored: Restored) -> None:
    house = restored.house
    restored.replace()
    restored.n2.alive = False
    restored.restore()
    house.run(40.0)
    begun = house.attempt(restored.slot)
    assert begun not in ("", restored.old, restored.new)
    assert restored.told(restored.n1) == {begun}
    # Its time is over as well, and what is told to run would start.
    restored.n2.says(restored.new, Phase.BACKING_OFF, "nobody above was heard")
    restored.n2.alive = True
    house.run(5.0)
    assert restored.told(restored.n2) == set()
    assert restored.n2.statuses.ids == frozenset()
    assert house.attempt(restored.slot) == begun
    assert restored.n1.statuses.ids == {begun}
    assert restored.events("dropped") == ["web.0 on n2 is stopped: it is exclusive, and does not run"]


def test_a_rival_that_does_not_run_is_not_begun_beside_what_is_stopping(restored: Restored) -> None:
    """Nor does the slot get another attempt before it has ended."""
    house = restored.house
    restored.replace()
    restored.n2.says(restored.new, Phase.BACKING_OFF, "exit code 1")
    restored.n1.alive, restored.n2.obeys = False, False
    restored.restore()
    house.run(AWAY)
    assert restored.told(restored.n2) == set()
    restored.n1.alive = True
    house.run(20.0)
    assert not house.attempt(restored.slot)
    assert restored.told(restored.n1) == set()
    restored.n2.statuses.change({}, restored.n2.statuses.ids)
    house.run(30.0)
    assert house.attempt(restored.slot)


@pytest.mark.parametrize("newer", [True, False])
def test_of_two_that_run_the_one_with_the_higher_epoch_stays(restored: Restored, newer: bool) -> None:
    house = restored.house
    restored.replace()
    restored.copy.apply([Delete(IDENTITIES, restored.n2.identity.id)])
    if newer:  # the lost store moves it once more, from n2 to n1 and back
        restored.n2.alive = False
        house.run(40.0)
        restored.n2.alive, restored.n1.alive = True, False
        house.run(45.0)
        restored.n1.alive = True
        house.run(5.0)
        restored.new = house.attempt(restored.slot)
        assert restored.n2.statuses.ids == {restored.new}
    restored.n2.alive = False
    restored.restore()
    house.run(45.0)
    begun = house.attempt(restored.slot)
    assert restored.n1.statuses.ids == {begun}
    # A device whose clock stood still: it has not stopped.
    identity = restored.n2.identity
    house.write(Put(IDENTITIES, identity.id, msgspec.to_builtins(identity)))
    restored.n2.alive = True
    house.run(5.0)
    stays = restored.new if newer else begun
    assert house.attempt(restored.slot) == stays
    assert restored.n1.statuses.ids | restored.n2.statuses.ids == {stays}


def test_a_child_that_has_not_yet_said_what_it_runs_is_waited_for(restored: Restored) -> None:
    """It is heard all the time, so what it runs does not stop."""
    house = restored.house
    restored.replace()
    restored.restore()
    house.lost = lambda direction, kind: kind == "reply"
    house.run(100.0)
    assert not house.attempt(restored.slot)
    house.lost = lambda direction, kind: False
    house.run(10.0)
    assert house.attempt(restored.slot) == restored.new
    assert restored.told(restored.n1) == set()


def test_what_nobody_wants_and_does_not_run_is_not_begun(restored: Restored) -> None:
    house = restored.house
    unknown = house.want(5, specification=DATABASE.digest)
    house.run(2.0)
    attempt = house.attempt(unknown)
    child = restored.n1 if attempt in restored.n1.statuses.ids else restored.n2
    child.says(attempt, Phase.BACKING_OFF, "nobody above was heard")
    restored.restore()
    house.run(10.0)
    assert attempt not in restored.told(child)
    assert restored.events("dropped") == [
        f"web.5 on {child.identity.name} is stopped: it is exclusive, and does not run"
    ]


@pytest.mark.parametrize("started_anew", [False, True])
def test_adopting_that_is_over_sooner_than_what_was_lost_has_stopped_changes_nothing(
    restored: Restored, started_anew: bool
) -> None:
    house = restored.house
    restored.replace()
    restored.n2.alive = False
    restored.n1.alive = not started_anew
    restored.restore(adopt=1.0)
    house.run(5.0)
    if started_anew:
        house.parent._transport.close()
        house.start()
        restored.n1.alive = True
    house.run(AWAY - 5.0)
    assert restored.told(restored.n1) == set()
    house.run(30.0)
    assert restored.n1.statuses.ids == {house.attempt(restored.slot)}


def test_who_comes_back_when_adopting_is_over_ends_it_before_another_begins(restored: Restored) -> None:
    """Its clock stood still, and its parent's word lets it go on."""
    house = restored.house
    restored.replace()
    restored.n2.alive = False
    restored.restore(adopt=1.0)
    house.run(34.0)
    restored.n2.alive = True
    house.lost = lambda direction, kind: kind == "report"
    house.run(30.0)
    assert restored.told(restored.n1) == set()
    house.lost = lambda direction, kind: False
    house.run(5.0)
    assert restored.n2.statuses.ids == frozenset()
    assert restored.told(restored.n1) == set()
    house.run(40.0)
    assert restored.n1.statuses.ids | restored.n2.statuses.ids == {house.attempt(restored.slot)}


def test_of_two_that_nobody_wants_and_that_are_as_new_one_stays(restored: Restored) -> None:
    """Each of two copies of the store had given it away."""
    house = restored.house
    slot = house.want(5, specification=DATABASE.digest)
    house.run(2.0)
    given = house.parent.placements[slot].current
    assert given is not None
    [holder] = [child for child in (restored.n1, restored.n2) if given.attempt in child.statuses.ids]
    other = restored.n2 if holder is restored.n1 else restored.n1
    held = holder.held
    assert held is not None
    twin = msgspec.structs.replace(held.attempts[given.attempt], id="e" * 24)
    kept = other.held
    attempts = {**(kept.attempts if kept is not None else {}), twin.id: twin}
    known = {**(kept.specifications if kept is not None else {}), **held.specifications}
    other.held = msgspec.structs.replace(kept or held, attempts=attempts, specifications=known)
    other.start()
    other.says(twin.id, Phase.RUNNING)
    restored.restore()
    house.run(15.0)
    running = [id for child in house.children for id in child.statuses.ids if id in (twin.id, given.attempt)]
    assert len(running) == 1
    assert len(restored.events("dropped")) == 1


@pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.BACKING_OFF])
def test_what_only_the_lost_store_knew_to_be_exclusive_has_ended_before_another_version_begins(
    restored: Restored, phase: Phase
) -> None:
    house = restored.house
    slot = house.want(6)
    house.run(2.0 if phase is Phase.RUNNING else 0.0)
    restored.copy = house.disk.copy()
    house.want(6, specification=DATABASE.digest)
    house.run(5.0)
    attempt = house.attempt(slot)
    [holder] = [child for child in house.children if attempt in child.statuses.ids]
    holder.obeys = False
    holder.says(attempt, phase, "exit code 1")
    restored.restore()
    house.run(40.0)
    assert not house.attempt(slot)
    holder.statuses.change({}, frozenset({attempt}))
    house.run(5.0)
    assert house.attempt(slot) not in ("", attempt)
