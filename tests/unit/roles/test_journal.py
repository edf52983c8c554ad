"""Events: their ids are in the order in which they were told, whatever the clock does."""

from __future__ import annotations

import logging
from typing import get_args, get_type_hints

import pytest

from mangrove.base.clock import VirtualClock
from mangrove.base.ids import is_id, seeded_ids
from mangrove.model.documents import EVENTS
from mangrove.model.events import KINDS, TABLE
from mangrove.reconcile.view import Told
from mangrove.roles.housekeeping import EVENTS_AGE, EVENTS_KEPT, EVENTS_LASTING, old_events
from mangrove.roles.journal import Journal
from mangrove.roles.ledger import Ledger
from mangrove.store.interface import Put, Stored
from mangrove.store.memory import MemoryStore


class Settable(VirtualClock):
    """A clock whose wall can be set."""

    shift = 0.0

    def wall(self) -> float:
        return super().wall() + self.shift


class World:
    def __init__(self) -> None:
        self.store = MemoryStore()
        self.clock = Settable()
        self.start()

    def start(self) -> None:
        lease = self.store.acquire("c", "h")
        assert lease is not None
        self.ledger = Ledger(self.store, lease)
        self.journal = Journal(self.ledger, self.clock, seeded_ids(1))
        self.journal.load(self.store)

    def tell(self, text: str) -> None:
        self.journal.tell("placed", "subject", text)
        self.ledger.save()

    def told(self) -> list[str]:
        """By id."""
        return [str(stored.document["text"]) for stored in self.store.load(EVENTS)]


@pytest.fixture
def world() -> World:
    logging.disable(logging.CRITICAL)
    yield_world = World()
    logging.disable(logging.NOTSET)
    return yield_world


def test_ids_are_in_the_order_of_telling(world: World) -> None:
    for number in range(20):
        world.tell(str(number))  # all at one moment
    world.clock.shift = -86_400
    for number in range(20, 40):
        world.tell(str(number))
    world.start()
    for number in range(40, 60):
        world.tell(str(number))
    world.clock.shift = 86_400
    world.tell("60")
    assert world.told() == [str(number) for number in range(61)]
    assert all(is_id(stored.id) for stored in world.store.load(EVENTS))


def test_ids_of_another_make_and_a_mad_clock_do_no_harm(world: World) -> None:
    for id in ("f" * 24, "9" * 24):
        world.store.apply([Put(EVENTS, id, {"text": "older", "kind": "k", "subject": "s", "time": 1.0})])
    world.start()
    world.tell("one")
    world.clock.shift = 1e13
    world.tell("two")
    world.clock.shift = 0
    world.tell("three")
    assert world.told()[:2] == ["one", "two"]
    assert all(is_id(stored.id) for stored in world.store.load(EVENTS))


def test_a_kind_that_is_not_in_the_table_is_not_told(world: World) -> None:
    with pytest.raises(ValueError, match="'child-cordoned' is no kind of event"):
        world.journal.tell("child-cordoned", "subject", "text")
    world.ledger.save()
    assert world.told() == []


def test_a_decision_tells_of_nothing_that_is_not_in_the_table() -> None:
    kinds = get_args(get_type_hints(Told)["kind"])
    assert set(kinds) <= KINDS.keys()
    assert len(KINDS) == len(TABLE)
    # Every parent tells the same of its children, clusters or nodes.
    assert {name.partition("-")[2] for name in KINDS if name.startswith("cluster-")} == {
        name.partition("-")[2] for name in KINDS if name.startswith("node-")
    }


def test_the_oldest_go_first_and_a_few_always_stay() -> None:
    now = 1e9

    def removed(count: int, age: float) -> list[str]:
        view = [Stored(EVENTS, f"{number:05}", number, f'{{"time":{now - age}}}') for number in range(count)]
        return sorted(operation.id for operation in old_events({EVENTS: view}, now))

    assert removed(EVENTS_KEPT, 10) == []
    assert removed(EVENTS_KEPT + 2, 10) == ["00000", "00001"]
    assert removed(EVENTS_LASTING + 3, EVENTS_AGE + 1) == ["00000", "00001", "00002"]
    assert removed(EVENTS_LASTING, EVENTS_AGE + 1) == []
