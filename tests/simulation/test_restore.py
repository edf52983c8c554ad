"""A parent's store is lost, and an older copy restored: nothing that runs and was wanted is stopped or started anew.

In the end each instance runs once and nothing runs for nobody. On a network that loses, repeats and delays.
"""

from __future__ import annotations

import random
from collections import Counter

import msgspec
import pytest

from mangrove.model.documents import ADOPTED, SLOTS, SPECIFICATIONS, Adopted, Slot
from mangrove.model.resources import Resources
from mangrove.model.specification import Specification
from mangrove.roles.parent import CONTROLLER
from mangrove.roles.terms import go_on_with
from mangrove.store.interface import ABSENT, Put
from mangrove.store.memory import MemoryStore
from node_engine.operations import Operation
from tests.simulation.listening import quiet
from tests.simulation.process import ParentProcess, Process
from tests.simulation.processes import ClusterProcess, NodeProcess, RootProcess
from tests.simulation.world import CALM, SETTINGS, InvariantBroken, Weather, World

#: Virtual seconds for which a restored parent adopts.
ADOPT = 400.0


class Site:
    """A root, clusters and nodes, what is wanted of them, and what may not be stopped."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(f"restore {seed}")
        self.world = World(seed)
        self.root = RootProcess(self.world, "root")
        self.clusters = [ClusterProcess(self.world, self.root, f"cluster-{n}") for n in range(2)]
        self.nodes = [
            NodeProcess(self.world, each, f"{each.name}-node-{n}") for each in self.clusters for n in range(2)
        ]
        self.sacred: set[str] = set()  # attempts of nodes that must go on as they are
        self.next = 0
        for node in self.nodes:
            node.on_operation = self._operation
        self.prepare()
        for process in (self.root, *self.clusters, *self.nodes):
            process.start()
        self.specification = Specification("app.ns.web.ns", runtime="simulated", resources=Resources(cpu=10, memory=1))
        document = msgspec.to_builtins(self.specification)
        self.root.store.apply([Put(SPECIFICATIONS, self.specification.digest, document)])
        self.world.run(10.0)

    def prepare(self) -> None:
        """What else is there before anybody starts."""

    def _operation(self, node: NodeProcess, operation: Operation) -> None:
        if operation.kind in ("stop", "remove") and operation.attempt in self.sacred & node.runtime.running:
            raise InvariantBroken(11, f"{node.name} stops {operation.attempt}, which was wanted", operation.attempt)

    # -- what users want

    def want(self, count: int) -> None:
        for _ in range(count):
            self.put(self.next)
            self.next += 1

    def put(self, number: int, desired: str = "run") -> None:
        slot = Slot(f"s.{number}", "s", number, self.specification.digest)
        self.root.store.apply([Put(SLOTS, slot.id, {**msgspec.to_builtins(slot), "desired": desired})])
        self.root.guarded(lambda: None, self.root.life)

    def wanted(self) -> list[int]:
        slots = [stored.read(Slot) for stored in self.root.store.load(SLOTS)]
        return sorted(slot.number for slot in slots if slot.desired == "run")

    # -- what runs

    def running(self) -> set[str]:
        return {attempt for node in self.nodes for attempt in node.runtime.running}

    def numbers(self) -> list[int]:
        """Of the instances that run, as their nodes were told."""
        return sorted(
            node.node.role._assignment.entries[attempt].number
            for node in self.nodes
            for attempt in node.runtime.running
            if attempt in node.node.role._assignment.entries
        )

    def settle(self, seconds: float = 200.0) -> None:
        assert self.world.run(seconds, lambda: self.numbers() == self.wanted()), (self.numbers(), self.wanted())

    # -- what befalls it

    def move_something(self) -> None:
        """A node is away for so long that what it ran is replaced elsewhere, and comes back."""
        node = self.rng.choice(self.nodes)
        node.crash()
        self.world.run(3 * SETTINGS.lease)
        node.start()
        self.world.run(2 * SETTINGS.lease)
        self.settle()

    def restore(self, *lost: tuple[ParentProcess, MemoryStore]) -> None:
        self.sacred = self.running()
        for process, _ in lost:
            process.crash()
        self.world.weather = Weather(lost=0.05, repeated=0.1, late=0.2, longest=1.0)
        self.world.run(self.rng.uniform(0.2, SETTINGS.lease / 3))  # all of it within a lease: nobody counts as silent
        for process, copy in lost:
            go_on_with(copy, CONTROLLER, copy.id, adopt=ADOPT)
            process.store = process.true_store = copy
            process.start()
            self.world.run(self.rng.uniform(0.0, SETTINGS.lease / 6))
        processes: tuple[Process, ...] = (self.root, *self.clusters, *self.nodes)
        for each in processes:
            if self.rng.random() < 0.3:
                when = self.rng.uniform(0.0, 30.0)
                self.world.later(when, each.crash)
                self.world.later(when + self.rng.uniform(0.2, 2.0), each.start)
        self.world.run(60.0)
        self.world.weather = CALM

    def adopted(self, process: ParentProcess) -> list[Adopted]:
        return [stored.read(Adopted) for stored in process.store.load(ADOPTED)]

    def keep_all(self) -> None:
        for one in self.adopted(self.root):
            slot = Slot(f"s.{one.attempt.number}", "s", one.attempt.number, one.attempt.specification)
            self.root.store.apply([Put(SLOTS, slot.id, msgspec.to_builtins(slot), ABSENT)])
        self.root.guarded(lambda: None, self.root.life)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("lost", ["root", "cluster", "all"])
def test_what_runs_outlives_the_loss_of_a_store(lost: str, seed: int) -> None:
    with quiet():
        site = Site(seed)
        site.want(site.rng.randint(1, 6))
        site.settle()
        parents: list[ParentProcess] = [site.root] if lost != "cluster" else []
        parents += {"root": [], "cluster": site.clusters[:1], "all": site.clusters}[lost]
        copies = [(process, process.store.copy()) for process in parents]
        site.want(site.rng.randint(1, 6))
        site.settle()
        if site.rng.random() < 0.5:
            site.move_something()
        before, numbers = site.running(), site.numbers()
        site.restore(*copies)
        assert before <= site.running(), "all goes on"
        if lost == "all":
            return  # what neither knows cannot be told to the root: it runs on until it is dropped
        site.keep_all()
        assert site.world.run(100.0, lambda: not site.adopted(site.root)), site.adopted(site.root)
        assert site.wanted() == numbers
        site.settle()
        # While the time is not over, something may run beside that what a person has not dropped.
        site.sacred = set()
        site.world.run(ADOPT)
        site.settle()
        assert Counter(site.numbers()) == Counter(site.wanted())
        assert [one for process in site.clusters for one in site.adopted(process)] == []
        assert site.running() == before, "nothing was started anew"
        # And all is as ever.
        site.want(2)
        site.put(0, "stop")
        site.settle()
