"""Rollouts by a parent with children: one after another, also when the parent starts anew in between."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

import msgspec
import pytest

from mangrove.model.attempt import Attempt, Status
from mangrove.model.documents import EVENTS, SLOTS, SPECIFICATIONS, Slot
from mangrove.model.phases import Phase
from mangrove.model.resources import Resources
from mangrove.model.specification import Specification
from mangrove.reconcile.rollout import HOLD
from mangrove.store.interface import Put
from tests.unit.roles.house import WEB, House, TestedChild

NEWER = msgspec.structs.replace(WEB, image="newer")
BROKEN = msgspec.structs.replace(WEB, image="broken")
HUGE = msgspec.structs.replace(WEB, resources=Resources(cpu=64_000))


class Node(TestedChild):
    """Runs everything but what is broken."""

    broken = BROKEN.digest

    def _assigned(self, attempts: Mapping[str, Attempt], specifications: Mapping[str, Specification]) -> None:
        super()._assigned(attempts, specifications)
        for id, attempt in attempts.items():
            if attempt.specification == self.broken:
                self.says(id, Phase.BACKING_OFF, "exit code 1")


class Rolling(House):
    """Three instances on two nodes. down: instances that did not run, at each step."""

    def __init__(self) -> None:
        super().__init__()
        for specification in (NEWER, BROKEN, HUGE):
            self.write(Put(SPECIFICATIONS, specification.digest, msgspec.to_builtins(specification)))
        self.down: list[int] = []

    def change(self, specification: Specification, numbers: range = range(3)) -> None:
        slots = [Slot(f"s.{number}", "s", number, specification.digest) for number in numbers]
        self.write(*(Put(SLOTS, slot.id, msgspec.to_builtins(slot)) for slot in slots))

    def work(self) -> None:
        super().work()
        self.down.append(3 - len(self.running()))

    def running(self) -> list[str]:
        """What runs, by the parent's word."""
        found = []
        for placement in self.parent.placements.values():
            seen = self.parent.observed.get(placement.current.attempt) if placement.current is not None else None
            if placement.current is not None and seen is not None and seen.status.phase is Phase.RUNNING:
                found.append(placement.current.specification)
        return found

    def events(self) -> list[tuple[str, str]]:
        stored = sorted(self.disk.load(EVENTS), key=lambda one: one.revision)
        return [(str(one.document["kind"]), str(one.document["text"])) for one in stored]

    def rollouts(self) -> list[str]:
        return [text for kind, text in self.events() if kind.startswith("rollout-")]


@pytest.fixture
def house() -> Iterator[Rolling]:
    logging.disable(logging.CRITICAL)
    house = Rolling()
    for name in ("n1", "n2"):
        house.child(name, form=Node)
    house.start()
    house.run(2.0)
    for number in range(3):
        house.want(number)
    house.run(1.0)
    assert house.running() == [WEB.digest] * 3
    house.down.clear()
    yield house
    logging.disable(logging.NOTSET)


def test_instances_are_replaced_one_after_another(house: Rolling) -> None:
    house.change(NEWER)
    house.run(1.0)
    assert sorted(house.running()) == sorted([NEWER.digest, WEB.digest, WEB.digest])
    house.run(HOLD)
    assert sorted(house.running()) == sorted([NEWER.digest, NEWER.digest, WEB.digest])
    house.run(2 * HOLD)
    assert house.running() == [NEWER.digest] * 3
    assert max(house.down) == 1
    house.run(2.0)
    assert house.rollouts() == [
        "the new version of web is being rolled out",
        "the new version of web is rolled out: 3 of 3 instances have it",
    ]


def test_a_newer_one_yet_begins_with_what_the_last_one_took_down(house: Rolling) -> None:
    house.change(BROKEN, range(1, 2))
    house.run(HOLD + 1.0)
    assert house.running() == [WEB.digest] * 2
    house.change(NEWER)
    house.run(1.0)
    assert sorted(house.running()) == sorted([WEB.digest, NEWER.digest, WEB.digest])
    house.run(3 * HOLD)
    assert house.running() == [NEWER.digest] * 3
    assert max(house.down) == 1


def test_it_stands_still_at_the_first_that_fails_until_another_one(house: Rolling) -> None:
    house.change(BROKEN)
    house.run(120.0)
    assert house.running() == [WEB.digest] * 2
    assert house.rollouts()[1:] == [
        "the rollout of web stands still at 0 of 3 instances: instance 0: exit code 1",
    ]
    house.start()
    house.run(60.0)
    assert house.running() == [WEB.digest] * 2
    assert len(house.rollouts()) == 3, "told once by each life of the parent"
    house.change(NEWER)
    house.run(3 * HOLD + 5)
    assert house.running() == [NEWER.digest] * 3
    assert max(house.down) == 1


def test_going_back_mends_it(house: Rolling) -> None:
    house.change(BROKEN)
    house.run(20.0)
    house.down.clear()
    healthy = {id: house.attempt(id) for id in ("s.1", "s.2")}
    house.change(WEB)
    house.run(2.0)
    assert house.running() == [WEB.digest] * 3
    assert {id: house.attempt(id) for id in healthy} == healthy, "what ran was left alone"


def test_it_goes_on_when_the_parent_starts_anew(house: Rolling) -> None:
    house.change(NEWER)
    for _ in range(12):
        house.run(2.0)
        house.start()
    house.run(4 * HOLD)
    assert house.running() == [NEWER.digest] * 3
    assert max(house.down) <= 1


def test_it_goes_on_when_what_failed_holds_after_all(house: Rolling, monkeypatch: pytest.MonkeyPatch) -> None:
    house.change(BROKEN)
    house.run(20.0)
    monkeypatch.setattr(Node, "broken", "")
    attempt = house.attempt("s.0")
    owner = next(child for child in house.children if attempt in child.statuses.ids)
    owner.statuses.change({attempt: Status(attempt, Phase.RUNNING)})
    house.run(3 * HOLD + 5)
    assert house.running() == [BROKEN.digest] * 3


def test_what_fits_nowhere_leaves_all_as_it_is(house: Rolling) -> None:
    house.change(HUGE)
    house.run(30.0)
    assert house.running() == [WEB.digest] * 3
    assert max(house.down) == 0
    assert "the newer version fits nowhere: needs 64 CPU cores" in house.rollouts()[-1]


def test_a_full_house_is_renewed_in_place(house: Rolling) -> None:
    for number in range(3, 8):
        house.want(number)
    house.run(1.0)
    house.down.clear()
    house.change(NEWER, range(8))
    house.run(8 * (HOLD + 2))
    assert house.running() == [NEWER.digest] * 8


def test_what_must_move_while_it_stands_still_keeps_what_it_had(house: Rolling) -> None:
    house.change(BROKEN)
    house.run(20.0)
    lost = next(child for child in house.children if house.attempt("s.1") in child.statuses.ids)
    kept = next(child for child in house.children if child is not lost)
    lost.alive = False
    house.run(30.0)
    assert house.running() == [WEB.digest] * 2
    moved = [text for kind, text in house.events() if kind == "moved"]
    silent = f"{lost.identity.name} silent for 10.1 s"
    assert f"web/1 moved from {lost.identity.name} to {kept.identity.name}: {silent}" in moved


def test_what_is_deleted_in_between_is_no_success(house: Rolling) -> None:
    house.change(NEWER)
    house.run(2.0)
    for number in range(3):
        house.want(number, "stop")
    house.run(10.0)
    assert house.parent.placements == {}
    assert len(house.rollouts()) == 1
