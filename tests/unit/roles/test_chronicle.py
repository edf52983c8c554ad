"""What clusters tell of what happened there is taken over once, whoever is away or killed when."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import msgspec
import pytest

from mangrove.base.clock import VirtualClock
from mangrove.base.ids import seeded_ids
from mangrove.link.messages import STATUS, Call, Reply
from mangrove.link.parent_events import Reported
from mangrove.link.sync import Applied
from mangrove.model.documents import EVENTS, EVENTS_READ, Event
from mangrove.roles import chronicle
from mangrove.roles.chronicle import PAGE, Chronicle
from mangrove.roles.journal import Journal
from mangrove.roles.ledger import Ledger
from mangrove.store.interface import Put, StoreUnavailable
from mangrove.store.memory import MemoryStore
from tests.simulation.disks import ShakyStore, Trouble

ALPHA = "a" * 24
REPORTED = Reported(ALPHA, STATUS, Applied(frozenset(), frozenset(), complete=False), first=False)


class World:
    """A root's store and a cluster's, and the questions between them."""

    def __init__(self) -> None:
        self.clock = VirtualClock(start=100.0)
        self.cluster = MemoryStore()
        self.disk = MemoryStore()
        self.trouble: Trouble = ""
        self.away = False
        self.questions = 0
        self.may_tell: Callable[[str, Event], bool] = lambda child, event: event.subject != "of another"
        self.start()

    def start(self) -> None:
        """The root starts, for the first time or again."""
        store = ShakyStore(self.disk, lambda: self.trouble)
        self.disk.reopen()
        lease = store.acquire("c", "h")
        assert lease is not None
        journal = Journal(Ledger(store, lease), self.clock, seeded_ids(len(self.disk.load(EVENTS))))
        journal.load(store)
        self.chronicle = Chronicle(
            store, lease, journal, self.clock, ask=self._ask, name=lambda child: "alpha", is_its=self.may_tell
        )

    def _ask(
        self, child: str, method: str, params: dict[str, object], timeout: float, on_reply: Callable[[Reply], None]
    ) -> None:
        self.questions += 1
        if self.away:
            on_reply(Reply("1", error="not connected", again=True))
        else:
            on_reply(chronicle.answer(self.cluster, Call("1", method, params, timeout)))

    def happens(self, number: int, kind: str = "placed", subject: str = "s.0") -> None:
        """Something, in the cluster."""
        id = f"{number:016x}{0:08x}"
        event = Event(id, 1e9 + number, kind, subject, f"event {number}")
        self.cluster.apply([Put(EVENTS, id, msgspec.to_builtins(event))])

    def run(self, seconds: float, *, reported: bool = True) -> None:
        if reported:
            self.chronicle.heed([REPORTED])
        for _ in range(round(seconds * 10)):
            self.clock.advance_to(self.clock.now() + 0.1)
            self.chronicle.work()
            if not self.trouble:
                self.chronicle.save()

    def told(self) -> list[str]:
        return [stored.read(Event).text for stored in self.disk.load(EVENTS)]


@pytest.fixture
def world() -> Iterator[World]:
    logging.disable(logging.CRITICAL)
    yield World()
    logging.disable(logging.NOTSET)


def test_what_happened_while_the_root_was_away_is_told_in_order_with_its_time_and_whose_it_is(world: World) -> None:
    for number in range(3):
        world.happens(number)
    world.run(1.0)
    found = [stored.read(Event) for stored in world.disk.load(EVENTS)]
    assert [(event.text, event.time, event.cluster) for event in found] == [
        (f"event {number}", 1e9 + number, "alpha") for number in range(3)
    ]


def test_each_event_is_taken_over_once_also_by_a_root_that_starts_again(world: World) -> None:
    world.happens(1)
    world.run(5.0)
    world.happens(2)
    world.start()
    world.run(5.0)
    world.run(5.0)
    assert world.told() == ["event 1", "event 2"]


def test_a_page_and_the_place_up_to_which_it_was_read_are_kept_together_or_not_at_all(world: World) -> None:
    world.happens(1)
    world.chronicle.heed([REPORTED])
    world.chronicle.work()
    world.trouble = "write"
    with pytest.raises(StoreUnavailable):
        world.chronicle.save()
    assert (world.told(), world.disk.load(EVENTS_READ)) == ([], [])
    world.trouble = ""
    world.run(5.0)
    assert world.told() == ["event 1"]


def test_many_events_come_in_pages(world: World) -> None:
    for number in range(2 * PAGE + 5):
        world.happens(number)
    world.run(10.0)
    assert len(world.told()) == 2 * PAGE + 5
    assert world.questions == 3


def test_a_cluster_that_reports_all_the_time_is_asked_now_and_then(world: World) -> None:
    for _ in range(100):
        world.run(0.1)
    assert world.questions <= 6


def test_one_that_reports_nothing_is_asked_too_once_it_was_heard(world: World) -> None:
    world.run(1.0)
    world.happens(1)
    world.run(100.0, reported=False)
    assert world.told() == ["event 1"]


def test_one_that_is_away_is_asked_again_when_it_reports(world: World) -> None:
    world.happens(1)
    world.away = True
    world.run(5.0)
    world.away = False
    world.run(5.0, reported=False)
    assert world.told() == []
    world.run(5.0)
    assert world.told() == ["event 1"]


def test_a_cluster_tells_of_nothing_but_its_own_instances_and_nodes(world: World) -> None:
    world.happens(1, subject="of another")
    world.happens(2, kind="password-wanted")
    world.happens(3, kind="cluster-removed")
    world.happens(4, kind="never heard of")
    world.happens(5, kind="node-silent")
    world.run(1.0)
    assert world.told() == ["event 5"]


def test_an_answer_of_another_form_is_dropped(world: World) -> None:
    world.chronicle._ask = lambda child, method, params, timeout, on_reply: on_reply(Reply("1", {"events": 7}))
    world.run(3.0)
    assert world.told() == []


def test_what_is_told_again_is_not_taken_over_again(world: World) -> None:
    told = {"events": [msgspec.to_builtins(Event("e" * 24, 1.0, "placed", "s.0", "text"))]}
    world.chronicle._ask = lambda child, method, params, timeout, on_reply: on_reply(Reply("1", told))
    world.run(5.0)
    world.run(5.0)
    assert world.told() == ["text"]


def test_ids_and_texts_of_another_form_are_not_kept(world: World) -> None:
    event = Event("z" * 24, 1.0, "placed", "s.0", "text")
    long = Event("f" * 24, 1.0, "placed", "s.0", "x" * 5000)
    told = {"events": [msgspec.to_builtins(event), msgspec.to_builtins(long)]}
    world.chronicle._ask = lambda child, method, params, timeout, on_reply: on_reply(Reply("1", told))
    world.run(1.0)
    assert [len(text) for text in world.told()] == [1000]


def test_nothing_is_kept_of_a_cluster_that_was_removed(world: World) -> None:
    world.happens(1)
    world.run(1.0)
    assert [stored.id for stored in world.disk.load(EVENTS_READ)] == [ALPHA]
    waiting: list[Callable[[Reply], None]] = []
    world.chronicle._ask = lambda child, method, params, timeout, on_reply: waiting.append(on_reply)
    world.run(5.0)
    world.chronicle.forget(ALPHA)
    [answer] = waiting
    answer(Reply("1", error="no answer in time", again=True))
    world.run(100.0, reported=False)
    assert world.disk.load(EVENTS_READ) == []
    assert (world.chronicle._asked, world.chronicle._read, len(waiting)) == ({}, {}, 1)
    assert world.told() == ["event 1"], "what was taken over stays"
