"""A whole tree under load and faults: what one seed does."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from mangrove.base.errors import NotFound
from mangrove.model.documents import IDENTITIES, ORGANIZATIONS, SERVICES, USERS
from mangrove.model.resources import Resources
from mangrove.model.specification import Specification
from mangrove.roles.parent import CONTROLLER
from mangrove.roles.terms import go_on_with
from mangrove.store.interface import Put
from mangrove.store.memory import MemoryStore
from node_engine.runtimes.interface import RuntimeFault
from root_orchestrator.api.catalog import Catalog
from root_orchestrator.api.declared import DeclaredApplication, DeclaredService
from root_orchestrator.api.desired import Desired
from root_orchestrator.auth.users import Caller
from tests.simulation.invariants import InvariantBroken, Watch
from tests.simulation.processes import ClusterProcess, NodeProcess, ParentProcess, Process, RootProcess
from tests.simulation.world import CALM, Weather, World

#: Virtual seconds after the end of all faults within which everything must be as wanted. The longest back-off of a slot
#: (120 s) comes on top of a few leases; a run that has converged ends earlier.
CONVERGENCE = 300.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run consists of. storm: virtual seconds with faults; fault_every, write_every: mean seconds between."""

    clusters: int = 2
    nodes: int = 3
    storm: float = 90.0
    fault_every: float = 2.5
    write_every: float = 2.0
    services: int = 5
    instances: int = 14


class Tree:
    """A root, clusters and nodes, users who keep changing their minds, and bad luck."""

    def __init__(self, seed: int, plan: Plan = Plan()) -> None:
        self.plan = plan
        self.world = World(seed)
        self.rng = random.Random(self.world.rng.getrandbits(32))
        self.root = RootProcess(self.world, "root")
        self.clusters = [ClusterProcess(self.world, self.root, f"cluster-{n}") for n in range(plan.clusters)]
        self.nodes = [
            NodeProcess(self.world, cluster, f"{cluster.name}-node-{n}")
            for cluster in self.clusters
            for n in range(plan.nodes)
        ]
        self.faults: Counter[str] = Counter()
        self.impossible: set[str] = set()
        self.one_shots: set[str] = set()
        self.watch = Watch(self)
        self._storming = False
        self._backups: dict[str, MemoryStore] = {}
        self._caller = Caller("u" * 24, "user", "o" * 24, ("Application_Provider",))
        self.root.store.apply([Put(USERS, self._caller.id, {"name": "user"}), Put(ORGANIZATIONS, "o" * 24, {})])
        self._desired = Desired(self.root.store, Catalog(self.root.store), self.world.new_id)
        self._services: list[str] = []
        self.root.after_step = lambda: self.watch.parent_stepped(self.root)
        for cluster in self.clusters:
            cluster.after_step = partial(self.watch.parent_stepped, cluster)
        for node in self.nodes:
            node.on_operation = self.watch.operation
            node.on_started = self.watch.started

    def run(self) -> None:
        """The whole life of this seed. Raises InvariantBroken."""
        try:
            for process in self.processes:
                self.world.later(self.rng.uniform(0, 2), process.start)
            self._repeat(1.0, self.watch.look)
            self.world.run(4.0)
            self._declare()
            self._storming = True
            self._repeat(self.plan.write_every, self._write, always=False)
            self._repeat(self.plan.fault_every, self._fault, always=False)
            self._repeat(5.0, self._finish_one_shot)
            self._repeat(20.0, self._back_up)
            self.world.run(self.plan.storm)
            self._heal()
            if not self.world.run(CONVERGENCE, lambda: not self.watch.differences()):
                raise InvariantBroken(1, "after the faults: " + "; ".join(self.watch.differences()[:6]))
            self.world.run(30.0)  # and it stays so, but for what runs once and is just ending
            if not self.world.run(10.0, lambda: not self.watch.differences()):
                raise InvariantBroken(1, "it did not last: " + "; ".join(self.watch.differences()[:6]))
        except InvariantBroken as broken:
            broken.add_note(self.story())
            raise

    def story(self) -> str:
        """The end of the trace, and how to see it again."""
        lines = list(self.world.trace)[-60:]
        return "\n".join([f"seed {self.world.seed}: python -m tests.simulation --seed {self.world.seed}", *lines])

    @property
    def processes(self) -> list[Process]:
        return [self.root, *self.clusters, *self.nodes]

    def disturbed(self, node: NodeProcess) -> bool:
        """Whether something stands between the node and those who could tell it what is not wanted any more."""
        above = (self.root, node.cluster)
        if self._storming and self.world.weather is not CALM:
            return True
        ids = {node.identity.id, node.cluster.identity.id}
        down = any(not process.alive or process.impostor or not process.broker.up for process in above)
        paused = any(process.paused_until > self.world.clock.now() for process in (*above, node))
        away = node.cluster.alive and node.cluster.cluster.role.link.state != "settled"
        unreachable = bool(ids & (self.world.frozen | self.world.cut_off))
        return down or paused or away or unreachable or bool(node.runtime.problem)

    # -- time

    def _repeat(self, mean: float, action: Callable[[], None], *, always: bool = True) -> None:
        def once() -> None:
            if always or self._storming:
                action()
                self.world.later(self.rng.expovariate(1 / mean) if not always else mean, once)

        self.world.later(mean, once)

    # -- users

    def _declare(self) -> None:
        declared = []
        for number in range(self.plan.services):
            one_shot, impossible = number == 1, number == 2
            needs = Resources(
                cpu=self.rng.choice([0, 200, 500, 1500]),
                memory=5000 if impossible else self.rng.choice([64, 400, 1000]),
            )
            specification = Specification(
                f"app.ns.s{number}.ns", runtime="simulated", resources=needs, one_shot=one_shot
            )
            declared.append(DeclaredService(f"s{number}", "ns", specification, {}))
        self._desired.create_applications(self._caller, [DeclaredApplication("", "app", "ns", "", tuple(declared))])
        stored = sorted(self.root.store.load(SERVICES), key=lambda one: str(one.document["name"]))
        self._services = [one.id for one in stored]
        self.one_shots, self.impossible = {self._services[1]}, {self._services[2]}

    def _write(self) -> None:
        """A user wants one instance more or less. The API answers while the root is up on its own store."""
        if not self.root.alive or self.root.impostor or self.root.paused_until > self.world.clock.now():
            return
        slots = [id for id, slot in self.root.parent.slots.items() if slot.desired == "run"]
        grow = len(slots) < self.rng.randint(0, self.plan.instances)
        try:
            if grow:
                service = self.rng.choice(self._services)
                number = self._desired.add_instance(self._caller, service)
                self.world.note(f"user wants {service[:6]}.{number}")
            elif slots:
                slot = self.rng.choice(sorted(slots))
                service, number_text = slot.split(".")
                self._desired.remove_instances(self._caller, service, int(number_text))
                self.watch.stopped.add(slot)
                self.world.note(f"user stops {slot[:6]}.{number_text}")
        except NotFound:
            return
        self.root.guarded(lambda: None, self.root.life)

    def _finish_one_shot(self) -> None:
        """What runs once ends with success some time after it was started."""
        for node in self.nodes:
            for attempt in sorted(node.runtime.running):
                if node.specifications[attempt].one_shot and self.rng.random() < 0.3:
                    self.world.note(f"{attempt[:6]} on {node.name} completes")
                    node.runtime.crash(attempt, 0)

    def _back_up(self) -> None:
        """An operator copies the stores; a fault may bring such a copy back."""
        for process in (self.root, *self.clusters):
            if not process.impostor:
                self._backups[process.name] = process.true_store.copy()

    # -- bad luck

    def _fault(self) -> None:
        name, action = self.rng.choice(sorted(self._faults().items()))
        if action():
            self.faults[name] += 1

    def _faults(self) -> dict[str, Callable[[], bool]]:
        return {
            "crash": self._crash,
            "crash of a parent": self._crash_parent,
            "reboot": self._reboot,
            "cut": lambda: self._disconnect(self.world.cut_off, "is cut off"),
            "freeze": lambda: self._disconnect(self.world.frozen, "hears and is heard no more"),
            "blink": self._blink,
            "broker": self._restart_broker,
            "weather": self._change_weather,
            "instance": self._crash_instance,
            "runtime step": self._fail_step,
            "runtime away": self._runtime_away,
            "pause": self._pause,
            "false store": self._false_store,
        }

    def _crash(self) -> bool:
        return self._kill(self.rng.choice(self.processes))

    def _crash_parent(self) -> bool:
        return self._kill(self.rng.choice([self.root, *self.clusters]))

    def _kill(self, process: Process) -> bool:
        if not process.alive:
            return False
        process.crash()
        self.world.later(self.rng.choice([0.1, 1.0, 5.0, 25.0]) * self.rng.random(), process.start)
        return True

    def _reboot(self) -> bool:
        node = self.rng.choice(self.nodes)
        if not node.alive:
            return False
        self.watch.excused |= node.runtime.running
        node.reboot()
        self.world.later(self.rng.uniform(1.0, 30.0), node.start)
        return True

    def _child_process(self) -> ClusterProcess | NodeProcess:
        processes: list[ClusterProcess | NodeProcess] = [*self.clusters, *self.nodes]
        return self.rng.choice(processes)

    def _broker_of(self, process: ClusterProcess | NodeProcess) -> ParentProcess:
        return process.root if isinstance(process, ClusterProcess) else process.cluster

    def _disconnect(self, where: set[str], what: str) -> bool:
        process = self._child_process()
        id = process.identity.id
        if id in where:
            return False
        where.add(id)
        seconds = self.rng.choice([1.0, 4.0, 12.0, 30.0]) * self.rng.random()
        self.world.note(f"{process.name} {what} for {seconds:.1f} s")
        if where is self.world.cut_off:
            self._broker_of(process).broker.cut(id)
        self.world.later(seconds, lambda: where.discard(id))
        return True

    def _blink(self) -> bool:
        """The connection breaks and can be made again at once."""
        process = self._child_process()
        self.world.note(f"the connection of {process.name} breaks")
        self._broker_of(process).broker.cut(process.identity.id)
        return True

    def _restart_broker(self) -> bool:
        owner = self.rng.choice([self.root, *self.clusters])
        if not owner.broker.up:
            return False
        seconds = self.rng.choice([0.2, 2.0, 10.0]) * self.rng.random()
        self.world.note(f"the broker of {owner.name} is away for {seconds:.1f} s")
        owner.broker.stop()
        self.world.later(seconds, owner.broker.start)
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
        self.world.later(self.rng.uniform(1.0, 12.0), self._clear_weather)
        return True

    def _clear_weather(self) -> None:
        self.world.weather = CALM

    def _crash_instance(self) -> bool:
        node = self.rng.choice(self.nodes)
        running = sorted(node.runtime.running)
        if not running:
            return False
        attempt = self.rng.choice(running)
        self.world.note(f"{attempt[:6]} on {node.name} crashes")
        self.watch.excused.add(attempt)
        node.runtime.crash(attempt, self.rng.choice([1, 137]))
        return True

    def _fail_step(self) -> bool:
        node = self.rng.choice(self.nodes)
        step = self.rng.choice(["prepare", "start", "stop", "remove"])
        node.runtime.fail_next(step, RuntimeFault(f"{step} failed as planned", permanent=self.rng.random() < 0.2))
        return True

    def _runtime_away(self) -> bool:
        node = self.rng.choice(self.nodes)
        node.runtime.problem = "the runtime is away"

        def back() -> None:
            node.runtime.problem = ""

        self.world.later(self.rng.uniform(1.0, 15.0), back)
        return True

    def _pause(self) -> bool:
        process = self.rng.choice(self.processes)
        seconds = self.rng.choice([1.0, 5.0, 20.0]) * self.rng.random()
        self.world.note(f"{process.name} stands still for {seconds:.1f} s")
        process.paused_until = self.world.clock.now() + seconds
        return True

    def _false_store(self) -> bool:
        """A parent comes back with an empty store, a foreign one, or an old copy of its own."""
        process = self.rng.choice([self.root, *self.clusters])
        if process.impostor or not process.alive:
            return False
        process.crash()
        kind = self.rng.choice(["empty", "foreign", "old"])
        true = process.true_store
        false = MemoryStore(self.world.new_id())
        if kind == "old":
            false = self._backups.get(process.name, true).copy()
        elif kind == "foreign":  # knows the same children, wants nothing of them
            false.apply([Put(IDENTITIES, one.id, one.document) for one in true.load(IDENTITIES)])
        process.store = false
        self.world.note(f"{process.name} gets an {kind} store")
        self.world.later(0.5, process.start)

        def mend() -> None:
            if not process.impostor:
                return
            process.crash()
            self._give_back(process)
            self.world.note(f"{process.name} gets its own store back")
            self.world.later(0.5, process.start)

        self.world.later(self.rng.uniform(3.0, 20.0), mend)
        return True

    def _give_back(self, process: ParentProcess) -> None:
        """An operator brings the newest store back, above all that the false one has said in its name."""
        false, process.store = process.store, process.true_store
        lease = false.lease(CONTROLLER)
        if false.id == process.store.id and lease is not None:
            go_on_with(process.store.reopen(), CONTROLLER, process.store.id, above=lease.term)
            # The false one may have ended what nobody above wanted then, and the true one did not hear of it.
            self.watch.excused |= {id for node in self.nodes for id in node.runtime.starts}

    def _heal(self) -> None:
        """All faults end."""
        self.world.note("all faults end")
        self._storming = False
        self.world.weather = CALM
        self.world.frozen.clear()
        self.world.cut_off.clear()
        for owner in (self.root, *self.clusters):
            if not owner.broker.up:
                owner.broker.start()
            if owner.impostor:
                owner.crash()
                self._give_back(owner)
        for node in self.nodes:
            node.runtime.problem = ""
        for process in self.processes:
            process.paused_until = 0.0
            process.start()
