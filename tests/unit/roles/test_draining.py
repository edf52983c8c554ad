"""Draining a child: what runs there moves, one after another, and nothing is missing meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from functools import partial

import msgspec
import pytest

from mangrove.identity.join import cordon_child
from mangrove.model.attempt import Attempt
from mangrove.model.documents import EVENTS, SPECIFICATIONS, Identity
from mangrove.model.phases import Phase
from mangrove.model.resources import Resources
from mangrove.model.specification import Disconnect, Specification
from mangrove.reconcile.parent import ASK_AGAIN
from mangrove.store.interface import Put
from tests.unit.roles.house import WEB, House, TestedChild

ONE_SHOT = msgspec.structs.replace(WEB, one_shot=True)
EXCLUSIVE = msgspec.structs.replace(WEB, disconnect=Disconnect(stop_on_child_after=20.0))
NEWER = msgspec.structs.replace(WEB, image="newer")
#: Seconds that a node takes to start an instance.
STARTS = 1.0


class Node(TestedChild):
    """refuses: why it takes nothing; broken: whether nothing runs there; starts_in: seconds that a start takes."""

    refuses, broken, starts_in = "", False, STARTS

    def __init__(self, house: House, identity: Identity, cpu: int) -> None:
        self.phases: dict[str, Phase] = {}
        super().__init__(house, identity, cpu)

    def _assigned(self, attempts: Mapping[str, Attempt], specifications: Mapping[str, Specification]) -> None:
        known = self.statuses.ids
        self.statuses.change({}, known - attempts.keys())
        for id in attempts.keys() - known:
            if self.refuses:
                self.says(id, Phase.REFUSED, self.refuses)
                continue
            self.says(id, Phase.STARTING)
            self.house._later(self.starts_in, partial(self._started, id))

    def _started(self, id: str) -> None:
        if id in self.statuses.ids:
            self.says(id, *((Phase.BACKING_OFF, "exit code 1") if self.broken else (Phase.RUNNING,)))

    def says(self, attempt: str, phase: Phase, reason: str = "") -> None:
        super().says(attempt, phase, reason)
        self.phases[attempt] = phase

    @property
    def running(self) -> set[str]:
        return {id for id in self.statuses.ids if self.phases[id] is Phase.RUNNING}


class Draining(House):
    """down, moving: at each step, how many instances run nowhere, and of how many two are wanted."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        for specification in (ONE_SHOT, EXCLUSIVE, NEWER):
            self.write(Put(SPECIFICATIONS, specification.digest, msgspec.to_builtins(specification)))
        self.down: list[int] = []
        self.moving: list[int] = []
        self.nodes = [self.child(f"n{number}", cpu, Node) for number, cpu in enumerate(sizes)]
        self.start()
        self.run(2.0)

    def child(self, name: str, cpu: int = 4000, form: type[TestedChild] | None = None) -> Node:
        made = super().child(name, cpu, form)
        assert isinstance(made, Node)
        return made

    def deploy(self, count: int, specification: Specification = WEB) -> None:
        """All of it on n0."""
        for node in self.nodes[1:]:
            cordon_child(self.store, node.identity.id, True)
        for number in range(count):
            self.want(number, specification=specification.digest)
        self.run(4.0)
        assert len(self.nodes[0].running) == count
        for node in self.nodes[1:]:
            cordon_child(self.store, node.identity.id, False)
        self.run(0.5)
        self.down.clear()
        self.moving.clear()

    def drain(self, number: int = 0, drained: bool = True) -> None:
        cordon_child(self.store, self.nodes[number].identity.id, drained, drained)

    def work(self) -> None:
        super().work()
        up = set().union(*(node.running for node in self.nodes if node.alive))
        held = [
            {given.attempt for given in (*one.leaving, one.current, one.successor) if given is not None}
            for one in self.parent.placements.values()
        ]
        self.down.append(sum(not attempts & up for attempts in held))
        self.moving.append(sum(one.successor is not None for one in self.parent.placements.values()))

    def on(self, name: str) -> list[str]:
        """Slots whose instance is on this node, by the parent's word."""
        [id] = [node.identity.id for node in self.nodes if node.identity.name == name]
        placements = self.parent.placements.values()
        return sorted(one.slot for one in placements if one.current is not None and one.current.child == id)

    def reasons(self) -> set[str]:
        return {one.reason for one in self.parent.placements.values()}

    def events(self, kind: str) -> list[str]:
        stored = sorted(self.disk.load(EVENTS), key=lambda one: one.revision)
        return [str(one.document["text"]) for one in stored if one.document["kind"] == kind]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_what_runs_moves_one_after_another_and_is_never_missing() -> None:
    house = Draining(5000, 3000)
    house.deploy(3)
    house.drain()
    house.run(20.0)
    assert (house.on("n0"), len(house.on("n1"))) == ([], 3)
    assert set(house.down) == {0}, "its replacement runs before it goes"
    assert max(house.moving) == 1
    assert house.nodes[0].running == set()
    assert house.reasons() == {""}
    assert house.events("moved") == [f"web/{number} moved from n0 to n1: n0 is drained" for number in range(3)]
    told = "n0 is drained: it is given no new work, and what runs there moves elsewhere"
    assert house.events("node-cordoned")[-1] == told
    assert house.events("node-drained") == ["n0 is empty: all that ran there is gone"]
    house.drain(drained=False)
    house.run(5.0)
    assert house.on("n0") == [], "nothing comes back by itself"
    house.want(9)
    house.run(5.0)
    assert house.on("n0") == ["s.9"]


def test_what_fits_nowhere_stays_and_says_why_until_there_is_room() -> None:
    house = Draining(5000, 2000)
    house.deploy(3)
    house.drain()
    house.run(20.0)
    [left] = house.on("n0")
    assert len(house.on("n1")) == 2
    reason = house.parent.placements[left].reason
    assert reason.startswith("n0 is drained, and nothing else fits: 1 of 2 nodes cordoned; needs 1 CPU core")
    assert set(house.down) == {0}
    assert house.events("node-drained") == []
    house.nodes.append(house.child("n2", form=Node))
    house.run(10.0)
    assert house.on("n2") == [left]
    assert set(house.down) == {0}
    assert len(house.events("node-drained")) == 1


def test_what_must_not_run_twice_is_stopped_first() -> None:
    house = Draining(5000, 3000)
    house.deploy(2, EXCLUSIVE)
    house.drain()
    house.run(20.0)
    assert (house.on("n0"), len(house.on("n1"))) == ([], 2)
    assert max(house.down) == 1, "one after another"
    for placement in house.parent.placements.values():
        assert placement.successor is None
        assert [past.reason for past in placement.history] == ["n0 is drained"]


def test_what_ends_by_itself_is_let_to() -> None:
    house = Draining(5000, 3000)
    house.deploy(1, ONE_SHOT)
    house.drain()
    house.run(20.0)
    assert house.on("n0") == ["s.0"]
    assert house.reasons() == {"n0 is drained; this stays there until it ends by itself"}
    house.nodes[0].says(house.attempt("s.0"), Phase.COMPLETED)
    house.run(5.0)
    assert (house.on("n0"), house.on("n1")) == ([], [])
    assert house.events("moved") == []


def test_it_goes_on_after_a_restart_of_the_parent() -> None:
    house = Draining(5000, 4000)
    house.deploy(4)
    house.drain()
    for _ in range(8):
        house.run(1.2)
        house.start()
    house.run(30.0)
    assert (house.on("n0"), len(house.on("n1"))) == ([], 4)
    assert set(house.down) == {0}
    assert max(house.moving) == 1
    assert sum("n0 is drained" in text for text in house.events("node-cordoned")) == 1


def test_whose_turn_it_is_is_known_after_a_restart() -> None:
    house = Draining(5000, 2000)
    big = msgspec.structs.replace(WEB, resources=Resources(cpu=3000))
    house.write(Put(SPECIFICATIONS, big.digest, msgspec.to_builtins(big)))
    house.deploy(2)
    house.want(0, specification=big.digest)
    house.run(10.0)
    assert house.on("n0") == ["s.0", "s.1"]
    house.nodes[1].starts_in = 30.0
    house.drain()
    house.run(2.0)
    assert house.parent.placements["s.1"].successor is not None
    house.nodes.append(house.child("n2", form=Node))
    house.start()
    house.run(20.0)
    assert house.on("n0") == ["s.0", "s.1"], "it waits for its turn"
    house.run(20.0)
    assert (house.on("n1"), house.on("n2")) == (["s.1"], ["s.0"])
    assert max(house.moving) == 1


def test_a_node_that_takes_it_not_or_does_not_run_it_is_passed_over() -> None:
    house = Draining(5000, 3000, 3000, 1000)
    house.nodes[3].refuses, house.nodes[1].broken = "no such device", True
    house.deploy(2)
    house.drain()
    house.run(ASK_AGAIN)
    assert (house.on("n0"), len(house.on("n2"))) == ([], 2)
    assert set(house.down) == {0}
    assert house.nodes[1].statuses.ids | house.nodes[3].statuses.ids == set()


def test_undone_halfway_what_has_not_moved_stays() -> None:
    house = Draining(5000, 4000)
    house.deploy(4)
    house.drain()
    while not house.on("n1"):
        house.run(0.1)
    house.run(0.5)
    house.drain(drained=False)
    [(slot, successor)] = [(one.slot, one.successor) for one in house.parent.placements.values() if one.successor]
    house.parent.work()
    assert house.parent.placements[slot].leaving == (successor,), "what was begun there holds its room until it is gone"
    house.run(20.0)
    assert (len(house.on("n0")), len(house.on("n1"))) == (3, 1)
    assert len(house.nodes[0].running) == 3
    assert len(house.nodes[1].running) == 1
    assert house.reasons() == {""}
    assert set(house.down) == {0}


def test_a_node_that_dies_while_it_is_drained_is_left_at_once() -> None:
    house = Draining(5000, 4000)
    house.deploy(3)
    house.drain()
    house.run(0.5)
    assert any(one.successor is not None for one in house.parent.placements.values())
    house.nodes[0].alive = False
    house.run(40.0)
    assert (house.on("n0"), len(house.on("n1"))) == ([], 3)
    assert len(house.nodes[1].running) == 3, "each once"
    assert all(one.successor is None for one in house.parent.placements.values())


def test_who_was_to_take_it_over_dies() -> None:
    house = Draining(5000, 2000, 1500)
    house.deploy(1)
    house.drain()
    house.run(0.5)
    [placement] = house.parent.placements.values()
    assert placement.successor is not None
    dying = next(node for node in house.nodes if node.identity.id == placement.successor.child)
    dying.alive = False
    house.run(60.0)
    assert house.on("n0") == []
    assert set(house.down) == {0}


def test_deleted_or_renewed_while_it_moves() -> None:
    house = Draining(5000, 4000)
    house.deploy(2)
    house.drain()
    house.run(0.5)
    house.want(0, "stop")
    house.want(1, specification=NEWER.digest)
    house.run(20.0)
    assert house.on("n1") == ["s.1"]
    assert house.nodes[0].statuses.ids == set()
    [placement] = house.parent.placements.values()
    assert placement.current is not None
    assert house.nodes[1].running == {placement.current.attempt}
    assert placement.current.specification == NEWER.digest
