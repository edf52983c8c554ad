"""A child that reports what cannot be true keeps what it runs, gets nothing new, and people are told."""

from __future__ import annotations

import msgspec
import pytest

from mangrove.model.child import Capacity
from mangrove.model.documents import EVENTS
from mangrove.model.position import Position
from mangrove.model.resources import Resources
from mangrove.placement.engine import judge
from tests.unit.roles.house import WEB, House

SANE = Capacity(Resources(cpu=4000), architectures=("amd64",), runtimes=("process",))
NONSENSE = [
    Capacity(Resources(cpu=10**40), runtimes=("process",)),
    Capacity(Resources(cpu=4000, memory=-1), runtimes=("process",)),
    msgspec.structs.replace(SANE, position=Position(1e308, 0)),
    msgspec.structs.replace(SANE, round_trip=-5.0),
    msgspec.structs.replace(SANE, nodes=-1),
]


def told(house: House) -> list[tuple[str, str]]:
    events = [stored.document for stored in house.store.load(EVENTS)]
    return [(str(each["kind"]), str(each["text"])) for each in events if "quarantined" in str(each["text"])]


@pytest.mark.parametrize("wrong", NONSENSE)
def test_it_gets_nothing_new_until_it_reports_what_can_be(wrong: Capacity) -> None:
    house = House()
    parent = house.start()
    child = house.child("n1")
    house.run(5.0)
    house.want(0)
    house.run(5.0)
    kept = house.attempt("s.0")
    child.capacity = wrong
    house.run(5.0)
    house.want(1)
    house.run(5.0)
    assert house.attempt("s.0") == kept, "what runs there stays"
    assert not house.attempt("s.1")
    assert parent.placements["s.1"].reason == "1 of 1 node quarantined, for reporting nonsense"
    assert parent.fleet.rows[child.identity.id].capacity.allocatable == SANE.allocatable, "nothing of it is believed"
    [(kind, text)] = told(house)
    assert kind == "node-troubled"
    assert text.startswith("n1: quarantined: it reports nonsense (")
    assert parent.children[child.identity.id].capacity.troubles, "lists show it"
    clauses = [(clause.condition, clause.ruled_out) for clause in judge(parent.fleet, WEB).clauses]
    assert clauses == [("quarantine", 1)]
    child.capacity = SANE
    house.run(5.0)
    assert house.attempt("s.1")
    assert [kind for kind, _ in told(house)] == ["node-troubled", "node-well"]


def test_what_reports_nonsense_from_the_start_gets_nothing_and_another_takes_the_work() -> None:
    house = House()
    parent = house.start()
    odd = house.child("odd")
    odd.capacity = NONSENSE[0]
    house.run(5.0)
    house.want(0)
    house.run(5.0)
    assert not house.attempt("s.0")
    sane = house.child("sane")
    house.run(5.0)
    current = parent.placements["s.0"].current
    assert current is not None
    assert current.child == sane.identity.id
