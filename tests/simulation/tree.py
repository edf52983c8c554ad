"""A whole tree under load and faults: what one seed does."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from unittest.mock import patch

from mangrove.base.ids import is_id
from mangrove.link import sync
from mangrove.link.streams import GIVE_UP
from mangrove.model.resources import Resources
from tests.simulation.alone import Alone
from tests.simulation.convergence import differences
from tests.simulation.faults import Faults
from tests.simulation.invariants import Watch
from tests.simulation.listening import listening, quiet
from tests.simulation.process import ParentProcess, Process
from tests.simulation.processes import NODE_SIZE, ClusterProcess, NodeProcess, RootProcess
from tests.simulation.streams import Reader
from tests.simulation.users import Users, finish_one_shots
from tests.simulation.world import CALM, InvariantBroken, World

#: Virtual seconds after the end of all faults within which everything must be as wanted. The longest back-off of a slot
#: (120 s) comes on top of a few leases, and what restarted must hold for up to 320 s before a rollout goes on; a run
#: that has converged ends earlier.
CONVERGENCE = 900.0

#: How hasty the readers of logs are; the first stays with what it reads.
_HASTE = (0.0, 0.5, 0.0, 0.5, 1.0, 0.5)

#: Lines of the trace that a broken invariant shows.
STORY = 30


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run consists of.

    storm: virtual seconds with faults. fault_every, write_every: mean seconds between. instances: most that users want
    at once. part_bytes: of state in one message; production's own is so large that no set here would need two.
    often: names of faults that strike ten times as often as they would. readers: of logs, at once. exclusive: whether
    all services are.
    """

    clusters: int = 2
    nodes: int = 3
    storm: float = 90.0
    fault_every: float = 2.0
    write_every: float = 2.0
    services: int = 5
    instances: int = 14
    part_bytes: int = 700
    often: tuple[str, ...] = ()
    readers: int = 2
    exclusive: bool = False

    @classmethod
    def of(cls, seed: int) -> Plan:
        """Trees of all sizes, calm and stormy, empty and full."""
        dice = random.Random(f"plan {seed}")
        clusters, nodes = dice.choice((1, 2, 2, 3, 3)), dice.choice((1, 2, 3, 3))
        return cls(
            clusters=clusters,
            nodes=nodes,
            storm=150.0,
            fault_every=dice.choice((0.4, 0.5, 0.6, 0.8, 1.0)),
            write_every=dice.choice((1.0, 2.0, 5.0)),
            instances=clusters * nodes * dice.choice((1, 2, 3, 4)),
            part_bytes=dice.choice((400, 700, 700, 96 * 1024)),
            readers=dice.choice((0, 5, 6, 6, 6, 6)),
            exclusive=dice.random() < 0.15,
        )


class Tree:
    """A root, clusters and nodes, users who keep changing their minds, and bad luck."""

    def __init__(self, seed: int, plan: Plan | None = None) -> None:
        self.plan = plan = plan or Plan.of(seed)
        self.world = World(seed)
        self.rng = random.Random(self.world.rng.getrandbits(32))
        self.root = RootProcess(self.world, "root")
        self.clusters = [ClusterProcess(self.world, self.root, f"cluster-{n}") for n in range(plan.clusters)]
        self.nodes = [
            NodeProcess(self.world, cluster, f"{cluster.name}-node-{n}")
            for cluster in self.clusters
            for n in range(plan.nodes)
        ]
        self.parents: list[ParentProcess] = [self.root, *self.clusters]
        self.children: list[ClusterProcess | NodeProcess] = [*self.clusters, *self.nodes]
        self.processes: list[Process] = [*self.parents, *self.nodes]
        self.watch = Watch(self)
        self.users = Users(self.world, self.root, self.watch, self.rng, plan.instances, exclusive=plan.exclusive)
        self.faults = Faults(self, self.rng, plan.often)
        self.readers = [
            Reader(self.world, self.root, random.Random(f"{seed} {number}"), lazy=number == 2, hasty=_HASTE[number])
            for number in range(plan.readers)
        ]
        self.alone = Alone(self)
        self._storming = False
        for parent in self.parents:
            parent.after_step = partial(self.watch.parent_stepped, parent)
        for node in self.nodes:
            node.after_step = partial(self.watch.node_stepped, node)
            node.on_operation = self.watch.operation
            node.on_started = self.watch.started
            node.on_cut_off = self.watch.cut_off

    def run(self) -> None:
        """The whole life of this seed. Raises InvariantBroken, with the end of its story as a note."""
        try:
            with patch.object(sync, "_PART_BYTES", self.plan.part_bytes):
                self._run()
        except InvariantBroken as broken:
            broken.add_note(self.story(broken.about))
            raise

    def _run(self) -> None:
        for process in self.processes:
            self.world.later(self.rng.uniform(0, 2), process.start)
        self._repeat(1.0, self.watch.look)
        self._repeat(1.0, self.alone.look)
        self._repeat(10.0, lambda: self.users.blunder() if self._storming else None)
        self.world.run(4.0)
        self.users.declare(self.plan.services)
        self._back_up()
        self._storming = True
        for reader in self.readers:
            reader.start()
        self._repeat(self.plan.write_every, self.users.write, always=False)
        self._repeat(self.plan.fault_every, self.faults.strike, always=False)
        self._repeat(5.0, lambda: finish_one_shots(self.world, self.nodes, self.rng))
        self._repeat(20.0, self._back_up)
        self.world.run(self.plan.storm)
        self._storming = False
        for reader in self.readers:
            reader.over = True
        self.faults.heal()
        if not self.world.run(CONVERGENCE, lambda: not differences(self)):
            raise InvariantBroken(1, "after the faults: " + "; ".join(differences(self)[:6]))
        self._see_readers_served()
        self.world.run(30.0)  # and it stays so, but for what runs once and is just ending
        if not self.world.run(10.0, lambda: not differences(self)):
            raise InvariantBroken(1, "it did not last: " + "; ".join(differences(self)[:6]))

    def _see_readers_served(self) -> None:
        """Whoever reads what runs gets more of it, without having to do anything."""
        since = self.world.time

        def served() -> bool:
            running, _ = self.watch.running_for()
            patient = [reader for reader in self.readers if not reader.lazy and not reader.hasty]
            waiting = [reader for reader in patient if reader.seen <= since]
            return not any(running.get(reader.slot) for reader in waiting)  # what is lost for good says nothing

        if not self.world.run(2 * GIVE_UP, served):
            raise InvariantBroken(1, "after the faults: somebody who reads what an instance prints gets nothing")

    def story(self, about: Sequence[str] = ()) -> str:
        """How to see this run again, and the end of its trace; with `about`, of what concerns that."""
        names = [*about, *(one[:6] for one in about if is_id(one[:24])), "all faults end", " gets ", "bad weather"]
        lines = [line for line in self.world.trace if not about or any(name in line for name in names)]
        return "\n".join([f"python -m tests.simulation --seed {self.world.seed}", *lines[-STORY:]])

    def _back_up(self) -> None:
        """An operator copies stores and disks."""
        self.faults.stores.false.back_up()
        self.faults.identities.back_up()

    # -- who stands where

    def children_of(self, parent: ParentProcess) -> Sequence[ClusterProcess | NodeProcess]:
        if parent is self.root:
            return self.clusters
        return [node for node in self.nodes if node.cluster is parent]

    def size_of(self, child: ClusterProcess | NodeProcess) -> Resources:
        """The most that can ever be promised of a child."""
        if isinstance(child, NodeProcess):
            return NODE_SIZE
        return sum((NODE_SIZE for _ in self.children_of(child)), Resources())

    def within_reach(self) -> list[NodeProcess]:
        """Nodes that were not lost for good, nor with their cluster."""
        return [node for node in self.nodes if not node.buried and not node.cluster.buried]

    def connected(self, child: ClusterProcess | NodeProcess) -> bool:
        """Whether the child can be connected to its parent: the broker leads there, and nothing is in the way."""
        broker = child.parent_process.broker
        return broker.leads_to_parent and not broker.asleep and not self._isolated(child)

    def _isolated(self, child: ClusterProcess | NodeProcess) -> bool:
        world, id = self.world, child.identity.id
        return id in world.frozen or id in world.cut_off or id in world.mute or id in world.deaf

    def disturbed(self, node: NodeProcess) -> bool:
        """Whether something stands between the node and those who could tell it what is not wanted any more."""
        above: tuple[ParentProcess, ...] = (self.root, node.cluster)
        if self._storming and self.world.weather is not CALM:
            return True
        now = self.world.clock.now()
        down = any(not one.alive or one.impostor or not one.broker.leads_to_parent or one.trouble for one in above)
        paused = any(process.paused_until > now for process in (*above, node))
        away = node.cluster.alive and node.cluster.child_link.state != "settled"
        unreachable = self._isolated(node) or self._isolated(node.cluster)
        ill = bool(node.runtime.problem) or node.disk.full or bool(node.hangs) or bool(node.lies)
        return down or paused or away or unreachable or ill

    # -- time

    def _repeat(self, mean: float, action: Callable[[], None], *, always: bool = True) -> None:
        def once() -> None:
            if always or self._storming:
                action()
                self.world.later(self.rng.expovariate(1 / mean) if not always else mean, once)

        self.world.later(mean, once)


def simulate(seed: int, plan: Plan | None = None) -> Tree:
    """Run one seed. Raises InvariantBroken; then its story has what the programs logged, too."""
    try:
        with quiet():
            tree = Tree(seed, plan)
            tree.run()
            return tree
    except InvariantBroken as broken:
        again = Tree(seed, plan)
        with listening(again.world):
            again.run()
        raise AssertionError("run again, the same seed did not fail: something does not follow from it") from broken
