"""Usage of the past: what was measured comes back as means, survives a restart, is bounded, and costs little."""

from __future__ import annotations

import random

import pytest

from mangrove.base.clock import VirtualClock
from mangrove.model.attempt import Usage
from mangrove.model.documents import HISTORY_COARSE, HISTORY_FINE
from mangrove.store.memory import MemoryStore
from root_orchestrator.history.block import SUBJECTS, Block, mean_usage, numbers_of, unpacked
from root_orchestrator.history.history import COARSE, FINE, FINE_KEPT, History

START = 1_799_992_800.0  # the beginning of a quarter of an hour, and of a coarse block


class Tree:
    """What is measured in a tree, as the root hears it, and its history."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.clock = VirtualClock(epoch=START)
        self.raw: dict[str, list[Usage]] = {}
        self.history = self.begin()

    def begin(self) -> History:
        self.history = History(self.store, self.clock, lambda: self.raw.items())
        return self.history

    def measure(self, subject: str, cpu: float, **more: float) -> None:
        usage = Usage(cpu=cpu, measured=self.clock.wall(), **more)  # type: ignore[arg-type]
        self.raw.setdefault(subject, []).append(usage)

    def sample(self) -> None:
        operations = self.history.sample({}, self.clock.wall())
        if operations:
            self.store.apply(operations)

    def live(self, minutes: int, **cpus: float) -> None:
        """So many minutes pass, in which these use so much."""
        for _ in range(minutes):
            self.clock.advance_to(self.clock.now() + FINE / 2)
            for subject, cpu in cpus.items():
                self.measure(subject, cpu, memory=100 * 2**20, rx=int(self.clock.now()) * 1024)
            self.sample()
            self.clock.advance_to(self.clock.now() + FINE / 2)

    def cpu(self, subject: str, since: float = START, step: float = 0.0) -> list[tuple[float, float]]:
        """(seconds since the start, cpu) each."""
        _, points = self.history.usage(subject, since, step)
        return [(point["time"] - START, point["cpu"]) for point in points]

    def restart(self, *, killed: bool) -> None:
        if not killed:
            self.store.apply(self.history.flush())
        self.raw.clear()
        self.begin()


@pytest.fixture
def tree() -> Tree:
    return Tree()


def test_a_point_is_the_mean_of_what_came_in_its_minute_and_the_newest_of_what_only_rises(tree: Tree) -> None:
    tree.measure("a", 50.0)
    tree.sample()
    for second, cpu in ((65, 1.0), (75, 2.0), (85, 6.0)):
        tree.clock.advance_to(second)
        tree.measure("a", cpu, memory=3 * 2**20, rx=second * 1024)
    tree.clock.advance_to(90)
    tree.sample()
    step, [first, second_point] = tree.history.usage("a", START, 0)
    assert (step, first["cpu"]) == (60, 50)
    assert second_point == {
        "time": START + 60,
        "cpu": 3,
        "memory": 3 * 2**20,
        "memory_percent": 0,
        "disk": 0,
        "gpu": 0,
        "vram": 0,
        "rx": 85 * 1024,
        "tx": 0,
    }


def test_what_did_not_move_stands_for_a_minute_more_and_then_nothing_is_known(tree: Tree) -> None:
    tree.live(1, a=7)
    tree.live(4, b=1)
    tree.live(1, a=8, b=1)
    assert tree.cpu("a") == [(0, 7), (60, 7), (300, 8)]
    assert len(tree.cpu("b")) == 5
    assert tree.cpu("c") == []


def test_a_quarter_of_an_hour_is_written_at_once_and_is_one_coarse_point(tree: Tree) -> None:
    tree.live(15, a=10)
    assert tree.store.revision() == 0
    tree.live(15, a=20)
    tree.live(1, a=30)
    assert tree.store.revision() == 2  # batches
    assert tree.cpu("a", step=COARSE) == [(0, 10), (900, 20)]
    assert tree.cpu("a", step=300)[2:5] == [(600, 10), (900, 20), (1200, 20)]
    assert tree.history.usage("a", START, 100)[0] == 120  # multiples of what is kept


def test_points_begin_at_the_same_moments_whatever_is_asked_for(tree: Tree) -> None:
    tree.live(40, a=1)
    assert [time for time, _ in tree.cpu("a", since=START + 1000, step=600)] == [600, 1200, 1800]
    assert tree.cpu("a", since=START + 2345)[0][0] == 2340


def test_a_restart_loses_nothing_and_a_kill_a_quarter_of_an_hour_at_most(tree: Tree) -> None:
    tree.live(20, a=5)
    tree.restart(killed=False)
    tree.live(2, a=6)
    assert [cpu for _, cpu in tree.cpu("a")] == [5] * 20 + [6] * 2
    tree.restart(killed=True)
    assert [cpu for _, cpu in tree.cpu("a")] == [5] * 20
    tree.live(10, a=7)
    assert [cpu for _, cpu in tree.cpu("a")] == [5] * 20 + [7] * 10
    assert tree.cpu("a", step=COARSE) == [(0, 5), (900, 6.2)]


def test_what_is_in_memory_can_be_drawn_beside_the_raw_figures(tree: Tree) -> None:
    tree.live(15, a=5)
    tree.live(3, a=6)
    tree.restart(killed=False)
    assert [(usage.cpu, usage.measured - START) for usage in tree.history.recent("a")] == [
        (5.0, 900.0),
        (6.0, 960.0),
        (6.0, 1020.0),
        (6.0, 1080.0),
    ]
    assert tree.history.recent("a")[0].memory == 100 * 2**20
    assert isinstance(tree.history.recent("a")[0].memory, int)
    assert tree.history.recent("b") == []


def test_minutes_go_after_a_day_and_a_month_of_quarters_stays(tree: Tree) -> None:
    tree.live(30 * 60, a=1)
    fine, coarse = tree.store.load(HISTORY_FINE), tree.store.load(HISTORY_COARSE)
    assert FINE_KEPT / 900 <= len(fine) <= FINE_KEPT / 900 + 6 * 4 + 2
    assert len(coarse) == 5
    assert len(tree.cpu("a", since=0.0, step=COARSE)) == 30 * 4 - 1
    assert len(tree.cpu("a", since=0.0)) == 30 * 4 - 1  # further back than minutes go
    now = tree.clock.wall()
    assert 23 * 60 < len(tree.cpu("a", since=now - FINE_KEPT + 1)) <= 24 * 60 + 1
    tree.clock.advance_to(tree.clock.now() + 60 * 24 * 3600)
    tree.live(20 * 15, a=1)
    assert len(tree.store.load(HISTORY_FINE)) < 25
    assert len(tree.store.load(HISTORY_COARSE)) < 5


def test_a_clock_that_is_set_back_begins_another_block(tree: Tree) -> None:
    tree.live(20, a=5)
    other = VirtualClock(epoch=START - 100_000)
    tree.store.apply(tree.history.sample({}, other.wall()))
    assert tree.history.sample({}, other.wall() + 60) == []


def test_a_block_is_divided_into_documents_by_its_subjects_and_comes_back_whole() -> None:
    rng = random.Random(1)
    block = Block(START, 60.0, 15)
    subjects = [f"{rng.getrandbits(96):024x}.{number}" for number in range(3 * SUBJECTS)]
    for subject in subjects:
        for point in range(rng.randrange(16)):
            usage = Usage(cpu=rng.random() * 100, memory=rng.getrandbits(60))
            block.put(point, [subject], numbers_of([mean_usage([usage])]))
        if block.series(subject) is None:
            block.put(0, [subject], numbers_of([mean_usage([Usage()])]))
    documents = block.documents()
    assert len(documents) == 4
    again = Block(START, 60.0, 15)
    for document in documents.values():
        again.take(document)
        assert len(unpacked(document)[0]) < 1.3 * SUBJECTS
    for subject in subjects:
        first, second = block.series(subject), again.series(subject)
        assert first is not None
        assert second is not None
        assert (first == second).all()


def test_more_subjects_in_a_block_leave_no_documents_of_the_old_division(tree: Tree) -> None:
    tree.live(16, a=1)
    many = {f"s{number}": 1.0 for number in range(SUBJECTS + 1)}
    tree.live(15, a=1, **many)
    ids = [stored.id for stored in tree.store.load(HISTORY_COARSE)]
    assert len(ids) == 2
    assert all(".002." in id for id in ids)
    assert tree.cpu("a", step=COARSE) == [(0, 1), (900, 1)]


def test_it_costs_as_little_as_is_claimed(tree: Tree) -> None:
    """1,100 subjects whose every figure moves at random: a tenth of a root of design size (decision 21)."""
    rng = random.Random(1)
    subjects = [f"{rng.getrandbits(96):024x}.{number}" for number in range(1100)]
    memory = {subject: rng.uniform(2e7, 5e8) for subject in subjects}
    traffic = dict.fromkeys(subjects, 0)
    for _ in range(16):
        for subject in subjects:
            memory[subject] *= 1 + rng.uniform(-0.01, 0.01)
            traffic[subject] += rng.randrange(1_000_000)
            tree.raw[subject] = []
            sent, disk = traffic[subject] // 2, int(3 * memory[subject])
            used = {"memory": int(memory[subject]), "disk": disk, "rx": traffic[subject], "tx": sent}
            tree.measure(subject, rng.uniform(0, 100), **used)
        tree.sample()
        tree.clock.advance_to(tree.clock.now() + FINE)
    fine, coarse = tree.store.load(HISTORY_FINE), tree.store.load(HISTORY_COARSE)
    assert len(fine) == len(coarse) == 4
    assert sum(len(each.document["packed"]) for each in fine) <= 12 * 15 * 1100
    assert max(len(each.document["packed"]) for each in fine) <= 100_000
