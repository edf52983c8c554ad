"""Bad luck: all that can go wrong in a tree, one thing at a time."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from mangrove.model.documents import IDENTITIES
from mangrove.store.interface import Put
from node_engine.runtimes.interface import RuntimeFault
from tests.simulation.adversary import Adversary
from tests.simulation.false_stores import FalseStores
from tests.simulation.process import ParentProcess, Process
from tests.simulation.processes import ClusterProcess, NodeProcess
from tests.simulation.world import CALM, Weather

if TYPE_CHECKING:
    from tests.simulation.tree import Tree


class Faults:
    """The faults of one tree. `strike` lets one happen, `heal` ends all of them."""

    def __init__(self, tree: Tree, rng: random.Random, often: Collection[str] = ()) -> None:
        self.tree = tree
        self.world = tree.world
        self.rng = rng
        self.counted: Counter[str] = Counter()
        self.adversary = Adversary(tree.world, rng)
        self.false_stores = FalseStores(tree, rng)
        #: What can happen, and how often in proportion to the others. Each says whether it did.
        self._possible: dict[str, tuple[int, Callable[[], bool]]] = {
            "crash": (2, lambda: self._kill(self._process())),
            "crash of a parent": (2, lambda: self._kill(self._parent())),
            "killed while writing": (3, self._kill_writing),
            "reboot": (2, self._reboot),
            "cut": (2, lambda: self._disconnect(self.world.cut_off, "is cut off")),
            "freeze": (2, lambda: self._disconnect(self.world.frozen, "hears and is heard no more")),
            "blink": (2, self._blink),
            "broker": (2, self._restart_broker),
            "weather": (3, self._change_weather),
            "instance": (2, self._crash_instance),
            "runtime step": (2, self._fail_step),
            "runtime away": (2, self._runtime_away),
            "pause": (2, self._pause),
            "wall clock": (2, self._set_clock),
            "store": (2, self._trouble_store),
            "disk full": (2, self._fill_disk),
            "lost state": (1, self._lose_state),
            "false store": (3, lambda: self.false_stores.exchange(self._parent())),
            "adversary": (5, self._attack),
        }
        self._weights = {name: (10 if name in often else 1) * weight for name, (weight, _) in self._possible.items()}

    def strike(self) -> None:
        """One of them."""
        (name,) = self.rng.choices(list(self._weights), list(self._weights.values()))
        if self._possible[name][1]():
            self.counted[name] += 1

    def heal(self) -> None:
        """All faults end: who stands still wakes in its own time, and what is lost for good is not given back."""
        self.world.note("all faults end")
        self.world.weather = CALM
        self.world.frozen.clear()
        self.world.cut_off.clear()
        for parent in self.tree.parents:
            parent.trouble = ""
            if not parent.broker.up:
                parent.broker.start()
            if parent.impostor:
                parent.crash()
                self.false_stores.give_back(parent)
        for node in self.tree.nodes:
            node.runtime.problem = ""
            node.disk.full = False
        self._bury()
        for process in self.tree.processes:
            process.dies = None
            process.start()

    def _bury(self) -> None:
        """Some seeds lose a node for good, or a whole cluster, or an operator gives the node up, too."""
        fate = self.rng.random()
        if fate < 0.5:
            node = self.rng.choice(self.tree.nodes)
            node.lose_power()
            node.buried = True
            self.world.note(f"{node.name} is lost for good")
            if fate < 0.2:
                revoked = node.cluster.true_store.get(IDENTITIES, node.identity.id)
                if revoked is not None:
                    self.world.note(f"an operator gives {node.name} up")
                    node.cluster.true_store.apply(
                        [Put(IDENTITIES, revoked.id, {**revoked.document, "revoked": True}, revoked.revision)]
                    )
        elif fate < 0.65 and len(self.tree.clusters) > 1:
            cluster = self.rng.choice(self.tree.clusters)
            cluster.crash()
            cluster.buried = True
            cluster.broker.stop()
            self.world.note(f"{cluster.name} is lost for good")

    # -- who

    def _process(self) -> Process:
        return self.rng.choice(self.tree.processes)

    def _parent(self) -> ParentProcess:
        return self.rng.choice(self.tree.parents)

    def _child(self) -> ClusterProcess | NodeProcess:
        return self.rng.choice(self.tree.children)

    def _node(self) -> NodeProcess:
        return self.rng.choice(self.tree.nodes)

    def _while(self, seconds: float, then: Callable[[], None]) -> None:
        self.world.later(seconds, then)

    # -- processes and machines

    def _kill(self, process: Process) -> bool:
        if not process.alive:
            return False
        process.crash()
        self._while(self.rng.choice([0.1, 1.0, 5.0, 25.0]) * self.rng.random(), process.start)
        return True

    def _kill_writing(self) -> bool:
        process = self._process()
        if not process.alive or process.dies:
            return False
        process.dies = self.rng.choice(("before", "after"))
        self.world.note(f"{process.name} will be killed {process.dies} its next write")
        return True

    def _reboot(self) -> bool:
        node = self._node()
        if not node.alive:
            return False
        self.tree.watch.excused |= node.runtime.running
        node.lose_power()
        self._while(self.rng.uniform(1.0, 30.0), node.start)
        return True

    def _pause(self) -> bool:
        process = self._process()
        seconds = self.rng.choice([1.0, 5.0, 20.0]) * self.rng.random()
        self.world.note(f"{process.name} stands still for {seconds:.1f} s")
        process.pause(seconds)
        return True

    def _set_clock(self) -> bool:
        process = self._process()
        process.clock.ahead += self.rng.choice([-1e9, -3600.0, -20.0, 20.0, 3600.0, 1e8])
        self.world.note(f"the wall clock of {process.name} is {process.clock.ahead:+.0f} s off now")
        return True

    # -- the network

    def _disconnect(self, where: set[str], what: str) -> bool:
        return self._isolate(where, self._child(), what)

    def _isolate(self, where: set[str], process: ClusterProcess | NodeProcess, what: str) -> bool:
        id = process.identity.id
        if id in where:
            return False
        where.add(id)
        seconds = self.rng.choice([1.0, 4.0, 12.0, 30.0]) * self.rng.random()
        self.world.note(f"{process.name} {what} for {seconds:.1f} s")
        if where is self.world.cut_off:
            process.parent_process.broker.cut(id)
        self._while(seconds, lambda: where.discard(id))
        return True

    def _blink(self) -> bool:
        """The connection breaks and can be made again at once."""
        process = self._child()
        self.world.note(f"the connection of {process.name} breaks")
        process.parent_process.broker.cut(process.identity.id)
        return True

    def _restart_broker(self) -> bool:
        owner = self._parent()
        if not owner.broker.up:
            return False
        seconds = self.rng.choice([0.2, 2.0, 10.0]) * self.rng.random()
        self.world.note(f"the broker of {owner.name} is away for {seconds:.1f} s")
        owner.broker.stop()
        self._while(seconds, lambda: None if owner.broker.up or owner.buried else owner.broker.start())
        return True

    def _change_weather(self) -> bool:
        if self.world.weather is not CALM:
            return False
        self.world.weather = Weather(
            lost=self.rng.choice([0.02, 0.2, 0.4]),
            repeated=self.rng.choice([0.0, 0.3]),
            late=self.rng.choice([0.0, 0.5]),
            longest=self.rng.choice([0.2, 3.0]),
        )
        self.world.note(f"bad weather: {self.world.weather}")
        self._while(self.rng.uniform(1.0, 12.0), self._clear_weather)
        return True

    def _clear_weather(self) -> None:
        self.world.weather = CALM

    def _attack(self) -> bool:
        owner = self._parent()
        attack = self.adversary.attack(owner.broker)
        self.world.note(f"an adversary at the broker of {owner.name}: {attack or 'nothing'}")
        return bool(attack)

    # -- what runs

    def _crash_instance(self) -> bool:
        node = self._node()
        running = sorted(node.runtime.running)
        if not running:
            return False
        attempt = self.rng.choice(running)
        self.world.note(f"{attempt[:6]} on {node.name} crashes")
        self.tree.watch.excused.add(attempt)
        node.runtime.crash(attempt, self.rng.choice([1, 137]))
        return True

    def _fail_step(self) -> bool:
        node = self._node()
        step = self.rng.choice(["prepare", "start", "stop", "remove"])
        node.runtime.fail_next(step, RuntimeFault(f"{step} failed as planned", permanent=self.rng.random() < 0.4))
        return True

    def _runtime_away(self) -> bool:
        node = self._node()
        node.runtime.problem = "the runtime is away"

        def back() -> None:
            node.runtime.problem = ""

        self._while(self.rng.uniform(1.0, 15.0), back)
        return True

    # -- disks and stores

    def _trouble_store(self) -> bool:
        process = self._parent()
        if process.trouble:
            return False
        process.trouble = self.rng.choice(("write", "all"))
        seconds = self.rng.choice([0.5, 4.0, 15.0]) * self.rng.random()
        what = "written" if process.trouble == "write" else "reached"
        self.world.note(f"the store of {process.name} cannot be {what} for {seconds:.1f} s")

        def back() -> None:
            process.trouble = ""

        self._while(seconds, back)
        return True

    def _fill_disk(self) -> bool:
        node = self._node()
        node.disk.full = True
        seconds = self.rng.uniform(1.0, 20.0)
        self.world.note(f"the disk of {node.name} is full for {seconds:.1f} s")

        def empty() -> None:
            node.disk.full = False

        self._while(seconds, empty)
        return True

    def _lose_state(self) -> bool:
        """A node's files are damaged: it forgets what became of its attempts, or that and what it shall run.

        Not while a false store is about: what would tell it from the true one is among what is lost.
        """
        node = self._node()
        if not node.alive or any(process.impostor for process in self.tree.parents):
            return False
        node.crash()
        assignment = self.rng.random() < 0.5
        self.world.note(f"{node.name} loses its records{' and its assignment' if assignment else ''}")
        self.tree.watch.forgot(node, node.disk.held)
        node.disk.lose(assignment=assignment)
        if self.rng.random() < 0.5:
            self._isolate(self.world.cut_off, node, "is cut off")
        self._while(self.rng.choice([0.1, 10.0, 40.0]) * self.rng.random(), node.start)
        return True
