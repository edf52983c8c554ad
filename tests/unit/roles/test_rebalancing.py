"""Rebalancing: what runs moves to where it is better, and nothing is missing meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import msgspec
import pytest

from mangrove.base.errors import Unavailable
from mangrove.identity.join import cordon_child
from mangrove.model.documents import SLOTS, SPECIFICATIONS
from mangrove.model.specification import Disconnect, Preference
from mangrove.roles.rebalancing import MOST_AT_ONCE
from mangrove.store.interface import Put
from tests.unit.roles.house import WEB
from tests.unit.roles.test_draining import EXCLUSIVE, ONE_SHOT, Draining

SPREAD = (Preference("spread"),)


class Crowded(Draining):
    """All of it on n0, and then n1 beside it."""

    def __init__(self, count: int, **changes: object) -> None:
        super().__init__(20_000, 20_000)
        specification = msgspec.structs.replace(WEB, preferences=SPREAD, **changes)
        self.write(Put(SPECIFICATIONS, specification.digest, msgspec.to_builtins(specification)))
        self.deploy(count, specification)

    def rebalance(self, dry_run: bool = False) -> list[str]:
        return [f"{move.slot} {move.source} {move.target}" for move in self.parent.rebalance(dry_run=dry_run)]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_what_is_crowded_spreads_without_a_gap_and_then_rests() -> None:
    house = Crowded(4)
    foreseen = house.rebalance(dry_run=True)
    house.run(5.0)
    assert (len(house.on("n0")), house.events("moved")) == (4, []), "nothing was done yet"
    assert house.rebalance() == foreseen
    assert [move[4:] for move in foreseen] == ["n0 n1", "n0 n1"]
    house.run(10.0)
    assert (len(house.on("n0")), sorted(house.on("n1"))) == (2, sorted(move[:3] for move in foreseen))
    assert set(house.down) == {0}, "its replacement runs before it goes"
    told = [f"web/{slot[2:]} moved from n0 to n1: n1 is better" for slot in house.on("n1")]
    assert sorted(house.events("moved")) == sorted(told)
    assert house.rebalance() == []
    assert house.reasons() == {""}


def test_only_some_move_at_once_and_no_others_while_they_do() -> None:
    house = Crowded(2 * MOST_AT_ONCE + 2)
    assert len(house.rebalance()) == MOST_AT_ONCE
    assert house.rebalance() == []
    house.run(10.0)
    assert max(house.moving) == MOST_AT_ONCE
    while house.rebalance():
        house.run(10.0)
    assert len(house.on("n1")) == MOST_AT_ONCE, "one more would gain too little"


@pytest.mark.parametrize(
    "changes", [{"disconnect": EXCLUSIVE.disconnect}, {"one_shot": ONE_SHOT.one_shot}], ids=["exclusive", "one_shot"]
)
def test_what_may_not_run_twice_and_what_ends_by_itself_is_left_alone(changes: dict[str, Disconnect | bool]) -> None:
    assert Crowded(4, **changes).rebalance() == []


def test_it_goes_on_after_a_restart_and_what_does_not_run_there_stays() -> None:
    house = Crowded(4)
    house.rebalance()
    house.run(0.2)
    house.start()
    house.run(10.0)
    assert len(house.on("n1")) == 2
    house = Crowded(4)
    house.nodes[1].broken = True
    house.rebalance()
    house.run(10.0)
    assert (len(house.on("n0")), set(house.down)) == (4, {0})
    assert house.rebalance() == [], "where it failed it is not tried again at once"


def test_what_belongs_on_its_node_stays_there() -> None:
    house = Crowded(4)
    for number in range(3):
        slot = msgspec.structs.replace(house.parent.slots[f"s.{number}"], pin=(house.nodes[0].identity.id,))
        house.write(Put(SLOTS, slot.id, msgspec.to_builtins(slot)))
    house.run(0.5)
    assert house.rebalance(dry_run=True) == ["s.3 n0 n1"]


def test_what_is_cordoned_or_not_heard_takes_no_part() -> None:
    house = Crowded(4)
    for number in (0, 1):
        cordon_child(house.store, house.nodes[number].identity.id, True)
        house.run(0.5)
        assert house.rebalance() == []
        cordon_child(house.store, house.nodes[number].identity.id, False)
    house.start()
    with pytest.raises(Unavailable, match="not known yet"):
        house.rebalance()
