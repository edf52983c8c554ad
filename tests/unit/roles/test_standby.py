"""Two roots on one store: what the first is cut off from, the second takes over, and nothing exclusive runs twice."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterator

import msgspec
import pytest

from mangrove.model.documents import SPECIFICATIONS
from mangrove.model.specification import Disconnect
from mangrove.roles.parent import CONTROLLER
from mangrove.roles.stores import Opened, Renewal, take_lease
from mangrove.store.interface import Put, StaleLease
from tests.unit.roles.house import WEB, House

#: Of the store, in seconds.
LEASE = 10.0
STOPS = 12.0
DATABASE = msgspec.structs.replace(WEB, disconnect=Disconnect(stop_on_child_after=STOPS))


class Second(House):
    """A root on another machine, on the store and the clock of the first, with children that hear only it."""

    def __init__(self, first: House) -> None:
        super().__init__()
        self.clock, self.new_id = first.clock, first.new_id
        self.disk = self.store._store = first.disk

    def catch_up(self) -> None:
        while self._events and self._events[0][0] <= self.clock.now():
            heapq.heappop(self._events)[2]()
        self.work()


class Pair:
    """lost: when the first learnt that it is replaced."""

    def __init__(self) -> None:
        self.first = first = House()
        first.write(Put(SPECIFICATIONS, DATABASE.digest, msgspec.to_builtins(DATABASE)))
        self.child = first.child("n1")
        self.second = Second(first)
        first.start(holder="first")
        self.lost: list[float] = []
        clock = first.clock
        self.renewal = Renewal(
            first.store, first.parent.lease, LEASE, clock, first.parent.acquired, lambda: self.lost.append(clock.now())
        )
        first.parent.held_until = lambda: self.renewal.held_until
        self.run(3.0)
        self.slot = first.want(0, specification=DATABASE.digest)
        self.run(3.0)
        self.attempt = first.attempt(self.slot)
        assert self.attempt in self.child.statuses.ids

    def run(self, seconds: float) -> None:
        """The first lives on, and renews as often as the thread would."""
        end = self.first.clock.now() + seconds
        while self.first.clock.now() < end - 1e-6:
            self.first.run(min(LEASE / 4, end - self.first.clock.now()))
            if not self.lost:
                self.renewal.renew()

    @property
    def stops_at(self) -> float:
        """Until when the child may run what is exclusive."""
        return self.child.role.link.vouched + STOPS


@pytest.fixture
def pair() -> Iterator[Pair]:
    logging.disable(logging.CRITICAL)
    yield Pair()
    logging.disable(logging.NOTSET)


def take_over(pair: Pair) -> None:
    take_lease(Opened(pair.second.disk, "second", shared=True), CONTROLLER, LEASE, pair.first.clock, pair.run)


def test_who_is_cut_off_from_the_store_but_not_from_its_children_lets_what_is_exclusive_stop_in_time(
    pair: Pair,
) -> None:
    first, second = pair.first, pair.second
    pair.run(60.0)
    assert pair.stops_at > first.clock.now() + STOPS / 2, "all is well while renewals come through"
    first.trouble = "all"
    take_over(pair)
    assert pair.child.role.link.state == "settled", "the first hears its child all the time"
    assert pair.renewal.held_until <= first.clock.now()
    spare = second.child("n2")
    second.start(holder="second")
    for _ in range(1200):
        pair.run(0.1)
        second.catch_up()
        if second.attempt(pair.slot) in spare.statuses.ids:
            break
    assert second.attempt(pair.slot) not in ("", pair.attempt), "the second has begun it anew"
    assert first.clock.now() >= pair.stops_at
    assert pair.child.role.link.state == "settled"


def test_who_comes_back_to_the_store_learns_that_it_is_replaced_and_writes_nothing(pair: Pair) -> None:
    first, second = pair.first, pair.second
    first.trouble = "all"
    take_over(pair)
    second.start(holder="second")
    second.catch_up()
    before = second.disk.revision()
    assert pair.lost == []
    first.trouble = ""
    assert not pair.renewal.renew()
    assert len(pair.lost) == 1
    first.want(1)
    with pytest.raises(StaleLease):
        first.run(5.0)
    assert [change.collection for change in second.disk.changes(before)] == ["slots"], "only what its user wrote"
