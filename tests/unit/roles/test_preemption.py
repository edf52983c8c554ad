"""Priorities: who is placed first, and who makes room for whom."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

import msgspec
import pytest

from mangrove.identity.join import revoke_child
from mangrove.model.attempt import Attempt
from mangrove.model.documents import EVENTS, SPECIFICATIONS, Identity
from mangrove.model.phases import Phase
from mangrove.model.resources import Resources
from mangrove.model.specification import Disconnect, Specification
from mangrove.reconcile.preempting import ROOM_WITHIN
from mangrove.store.interface import Put
from tests.unit.roles.house import WEB, House, TestedChild

LOW = msgspec.structs.replace(WEB, name="low", priority=-5)
MIDDLE = msgspec.structs.replace(WEB, name="middle", priority=50)
HIGH = msgspec.structs.replace(WEB, name="high", priority=100)
LARGE = msgspec.structs.replace(HIGH, name="large", resources=Resources(cpu=2000))
MODEST = msgspec.structs.replace(HIGH, name="modest", preemption_policy="never")
ONE_SHOT = msgspec.structs.replace(WEB, name="job", one_shot=True)
EXCLUSIVE = msgspec.structs.replace(WEB, name="exclusive", disconnect=Disconnect(stop_on_child_after=20.0))
ALL = (LOW, MIDDLE, HIGH, LARGE, MODEST, ONE_SHOT, EXCLUSIVE)


class Node(TestedChild):
    """One that takes its time to stop what it runs. stops_in: seconds."""

    stops_in = 2.0

    def __init__(self, house: House, identity: Identity, cpu: int) -> None:
        self.wanted: set[str] = set()
        self.ended: set[str] = set()
        super().__init__(house, identity, cpu)

    def _assigned(self, attempts: Mapping[str, Attempt], specifications: Mapping[str, Specification]) -> None:
        self.wanted = set(attempts)
        assert len(attempts.keys() | self.running) * 1000 <= self.capacity.allocatable.cpu + self.larger, "never two"
        for id in attempts.keys() - self.statuses.ids:
            self.says(id, Phase.RUNNING)
        if self.statuses.ids - attempts.keys():
            self.house._later(self.stops_in, self._stop)

    #: What the large ones among its instances need beyond the thousand that all need.
    larger = 0

    def _stop(self) -> None:
        self.statuses.change({}, self.statuses.ids - self.wanted)

    def fails(self, attempt: str) -> None:
        self.ended.add(attempt)
        self.says(attempt, Phase.FAILED, "exit code 1")

    @property
    def running(self) -> set[str]:
        return set(self.statuses.ids) - self.ended


class Rivals(House):
    def __init__(self, *sizes: int) -> None:
        super().__init__()
        for specification in ALL:
            self.write(Put(SPECIFICATIONS, specification.digest, msgspec.to_builtins(specification)))
        self.nodes = [self.child(f"n{number}", cpu) for number, cpu in enumerate(sizes)]
        self.start()
        self.run(2.0)

    def child(self, name: str, cpu: int = 4000, form: type[TestedChild] | None = None) -> Node:
        made = super().child(name, cpu, form or Node)
        assert isinstance(made, Node)
        return made

    def deploy(self, specification: Specification, *numbers: int) -> None:
        for number in numbers:
            self.want(number, specification=specification.digest)

    def running(self) -> list[str]:
        """Slots that run, by their nodes' word."""
        up = set().union(*(child.statuses.ids for child in self.children if child.alive))
        return sorted(slot for slot in self.parent.placements if self.attempt(slot) in up)

    def where(self, slot: str) -> Node:
        """The node that runs a slot."""
        [node] = [node for node in self.nodes if self.attempt(slot) in node.running]
        return node

    def events(self, kind: str) -> list[str]:
        stored = sorted(self.disk.load(EVENTS), key=lambda one: one.revision)
        return [str(one.document["text"]) for one in stored if one.document["kind"] == kind]

    def reason(self, slot: str) -> str:
        return self.parent.placements[slot].reason

    def checked(self) -> None:
        """Nothing is left reserved for anybody who is not there."""
        assert set(self.parent.fleet.reservations) == {
            given.attempt
            for one in self.parent.placements.values()
            for given in (*one.leaving, one.current, one.nominated)
            if given is not None
        }


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_the_more_important_is_placed_first_and_of_equals_who_has_waited_longest() -> None:
    house = Rivals()
    house.deploy(WEB, 0)
    house.run(1.0)
    house.deploy(LOW, 1)
    house.deploy(HIGH, 2)
    house.deploy(msgspec.structs.replace(WEB), 3)
    house.run(1.0)
    for expected in ("s.2", "s.0", "s.3", "s.1"):
        known = house.running()
        house.child("more", 1000)
        house.run(2.0)
        assert set(house.running()) - set(known) == {expected}


def test_what_fits_nowhere_displaces_what_is_less_important_and_both_are_told() -> None:
    house = Rivals(2000)
    house.deploy(WEB, 0, 1)
    house.run(2.0)
    house.deploy(HIGH, 2)
    house.run(0.5)
    assert house.reason("s.2") == "waits until 1 less important instance made room on n0"
    assert house.attempt("s.2") == "", "the node is not told of it before there is room"
    house.run(5.0)
    assert "s.2" in house.running()
    [gone] = {"s.0", "s.1"} - set(house.running())
    name = f"web/{gone[2:]}"
    assert house.events("displaced") == [f"{name} displaced from n0 by a more important instance (priority 100 over 0)"]
    assert house.events("displaces") == ["high/2 displaces 1 less important instance (priority 100 over 0) from n0"]
    seen = [text for kind in ("displaced", "displaces") for text in house.events(kind)]
    assert not any("high" in text and "web" in text for text in seen), "others' names are not for everybody to see"
    assert house.reason(gone).startswith("needs 1 CPU core: 1 node too small or too full")
    house.nodes.append(house.child("n1", 1000))
    house.run(3.0)
    assert house.running() == ["s.0", "s.1", "s.2"], "what was displaced waits like any other"
    assert len(house.events("displaced")) == 1
    house.checked()


def test_as_many_as_are_needed_make_room_and_a_chain_of_displacements_ends() -> None:
    house = Rivals(3000, 2000)
    for node in house.nodes:
        node.larger = 1000
    house.deploy(LOW, 0, 1)
    house.deploy(WEB, 2, 3, 4)
    house.run(2.0)
    house.deploy(LARGE, 5)
    house.deploy(MIDDLE, 6)
    house.run(15.0)
    assert {"s.5", "s.6"} <= set(house.running())
    assert not {"s.0", "s.1"} & set(house.running()), "the least important went, whichever way"
    assert len(house.running()) == 4, "5 cores, of which one has two"
    told = len(house.events("displaced"))
    house.run(120.0)
    assert len(house.events("displaced")) == told
    house.checked()


@pytest.mark.parametrize("specification", [MODEST, WEB], ids=["never", "equal"])
def test_who_may_not_displace_waits(specification: Specification) -> None:
    house = Rivals(1000)
    house.deploy(WEB, 0)
    house.run(2.0)
    house.deploy(specification, 1)
    house.run(5.0)
    assert house.running() == ["s.0"]
    assert house.reason("s.1").startswith("needs 1 CPU core")


def test_what_ends_by_itself_is_let_to_and_what_must_not_run_twice_stops_first() -> None:
    house = Rivals(2000)
    house.deploy(ONE_SHOT, 0)
    house.deploy(EXCLUSIVE, 1)
    house.run(2.0)
    house.deploy(HIGH, 2, 3)
    house.run(6.0)
    assert house.running() == ["s.0", "s.2"]
    house.nodes.append(house.child("n1", 2000))
    house.run(5.0)
    assert house.running() == ["s.0", "s.1", "s.2", "s.3"]


def test_room_is_given_back_when_who_wanted_it_is_deleted() -> None:
    house = Rivals(1000)
    house.nodes[0].stops_in = 10.0
    house.deploy(WEB, 0)
    house.run(2.0)
    house.deploy(HIGH, 1)
    house.run(2.0)
    house.want(1, "stop", HIGH.digest)
    house.run(15.0)
    assert house.running() == ["s.0"]
    house.checked()


def test_a_more_important_one_takes_the_room_that_was_made_for_another() -> None:
    house = Rivals(1000)
    house.nodes[0].stops_in = 5.0
    house.deploy(WEB, 0)
    house.run(2.0)
    house.deploy(MIDDLE, 1)
    house.run(1.0)
    house.deploy(HIGH, 2)
    house.run(10.0)
    assert house.running() == ["s.2"]
    assert house.events("displaced") == [
        "web/0 displaced from n0 by a more important instance (priority 50 over 0)",
        "middle/1 displaced from n0 by a more important instance (priority 100 over 50)",
    ]
    house.checked()


def test_nobody_takes_the_room_that_was_made() -> None:
    house = Rivals(1000)
    house.nodes[0].stops_in = 5.0
    house.deploy(WEB, 0)
    house.run(2.0)
    house.deploy(LARGE, 1)
    house.run(1.0)
    assert house.parent.placements["s.1"].nominated is None, "it would not fit in any case"
    house.deploy(HIGH, 2)
    house.run(1.0)
    house.deploy(WEB, 3)
    house.run(10.0)
    assert house.running() == ["s.2"]
    assert len(house.events("displaced")) == 1


def test_room_that_does_not_come_is_looked_for_elsewhere() -> None:
    house = Rivals(1000, 1000)
    house.nodes[0].stops_in = house.nodes[1].stops_in = 1000.0
    house.deploy(WEB, 0, 1)
    house.run(2.0)
    house.deploy(HIGH, 2)
    house.run(1.0)
    first = house.parent.placements["s.2"].nominated
    assert first is not None
    [other] = [node for node in house.nodes if node.identity.id != first.child]
    other.stops_in = 1.0
    house.run(ROOM_WITHIN + 5.0)
    assert house.attempt("s.2") in other.running
    assert len(house.events("displaced")) == 2
    house.checked()


def test_where_it_failed_others_make_room_only_when_that_helps_nowhere_else() -> None:
    house = Rivals(1000, 1000)
    house.deploy(HIGH, 0)
    house.run(2.0)
    first = house.where("s.0")
    house.deploy(MIDDLE, 1)
    house.deploy(WEB, 2)
    house.run(2.0)
    first.fails(house.attempt("s.0"))
    house.run(10.0)
    second = house.where("s.0")
    assert second is not first, "although what is there is more important"
    second.fails(house.attempt("s.0"))
    house.run(10.0)
    assert "s.0" in house.running(), "one failure on each is no reason to wait for half an hour"
    assert len(house.events("displaced")) == 3, "by it, and one by what it displaced"
    house.checked()


@pytest.mark.parametrize("fate", ["silent", "removed"])
def test_room_on_a_node_that_is_lost_is_looked_for_elsewhere_at_once(fate: str) -> None:
    house = Rivals(1000, 1000)
    for node in house.nodes:
        node.stops_in = 20.0
    house.deploy(WEB, 0, 1)
    house.run(2.0)
    house.deploy(HIGH, 2)
    house.run(1.0)
    first = house.parent.placements["s.2"].nominated
    assert first is not None
    [lost] = [node for node in house.nodes if node.identity.id == first.child]
    [other] = [node for node in house.nodes if node is not lost]
    other.stops_in = 1.0
    if fate == "removed":
        revoke_child(house.store, lost.identity.id)
    else:
        lost.alive = False
    house.run(15.0)
    assert house.attempt("s.2") in other.running


def test_it_goes_on_after_a_restart_of_the_parent() -> None:
    house = Rivals(1000)
    house.nodes[0].stops_in = 6.0
    house.deploy(WEB, 0)
    house.run(2.0)
    house.deploy(HIGH, 1)
    for _ in range(6):
        house.run(1.1)
        house.start()
    house.run(8.0)
    assert house.running() == ["s.1"]
    assert len(house.events("displaced")) == 1
    house.checked()


def test_what_is_important_leaves_a_silent_node_also_when_others_have_to_make_room() -> None:
    house = Rivals(1000, 1000)
    house.deploy(HIGH, 0)
    house.deploy(WEB, 1)
    house.run(2.0)
    [lost] = [node for node in house.nodes if house.attempt("s.0") in node.running]
    lost.alive = False
    house.run(20.0)
    assert "s.0" in house.running()
    assert "s.1" not in house.running()
