"""The three programs as simulated processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cluster_orchestrator.cluster import Cluster
from cluster_orchestrator.relaying import Relaying
from mangrove.link.child import ChildIdentity, ChildLink
from mangrove.link.streams import STREAMS_OF_CHILD, STREAMS_OF_PARENT
from mangrove.link.transports.interface import Broker, TransportEvent
from mangrove.link.transports.memory import MemoryChildTransport, MemoryParentTransport
from mangrove.model.child import NO_NETWORK, Capacity, Networking
from mangrove.model.documents import META, Identity
from mangrove.model.resources import Resources
from mangrove.model.specification import Specification
from mangrove.network.layout import Layout
from mangrove.network.plan import NodePlan
from mangrove.roles.bulk import Relay
from mangrove.roles.parent import Parent
from node_engine.fuse import MemoryFuse
from node_engine.fuse_process import GRACE, LOOK, PERIOD, overdue
from node_engine.node import Node
from node_engine.operations import Operation, Result
from node_engine.runtimes.interface import Instance, RuntimeFault, Workload
from node_engine.runtimes.simulated import SimulatedRuntime
from root_orchestrator.networking import RootNetwork
from tests.simulation.disks import NodeDisk
from tests.simulation.process import ParentProcess, Process
from tests.simulation.streams import Both, Talker, answers
from tests.simulation.world import SETTINGS, World

#: Every simulated node can give this much.
NODE_SIZE = Resources(cpu=4000, memory=4096, disk=50_000)


class RootProcess(ParentProcess):
    """The root. layout: of the addresses in the network between services, of a tree that has one."""

    layout: Layout | None = None

    def core(self) -> Both:
        return Both(self.root, self.bulk)

    @property
    def parent(self) -> Parent:
        return self.root

    def begin(self) -> None:
        life = self.life
        self.transport = MemoryParentTransport(self.broker, lambda event: self._on_event(event, life))
        self.root = Parent(
            self.opened(),
            self.clock,
            self.transport,
            id=self.topic,
            noun="cluster",
            settings=SETTINGS,
            key_of=self.world.key,
            holder=self.store.id,
            new_id=self.world.new_id,
            rng=self._rng(),
        )
        if self.layout is not None:
            self.root.on_store = RootNetwork(self.root.store, self.root.network, self.layout).follow
        self.bulk = self.bulk_of(self.root, STREAMS_OF_PARENT)
        self.transport.open()

    def end(self) -> None:
        self.transport.close()
        self.bulk.close()

    def _on_event(self, event: TransportEvent, life: int) -> None:
        self.guarded(lambda: self.hear(event, self.root.handle), life)


class ClusterProcess(ParentProcess):
    """A cluster; `incarnation` is on its disk too."""

    def __init__(self, world: World, root: RootProcess, name: str) -> None:
        super().__init__(world, name)
        self.root = root
        self.identity = world.introduce(root.store, name, "cluster")
        self.incarnation = 0

    def core(self) -> Both:
        return Both(self.cluster, self.relaying.relay)

    @property
    def parent(self) -> Parent:
        return self.cluster.parent

    @property
    def parent_process(self) -> ParentProcess:
        return self.root

    @property
    def child_link(self) -> ChildLink:
        return self.cluster.role.link

    @property
    def obeyed(self) -> int:
        """The highest term that it will remember after a restart."""
        held = self.store.get(META, "assignment")
        return int(held.document["term"]) if held is not None else 0

    def begin(self) -> None:
        life = self.life
        self.incarnation += 1
        self.up = MemoryChildTransport(
            self.identity.id, {"up": self.root.broker}, lambda event: self._from_root(event, life)
        )
        self.down = MemoryParentTransport(self.broker, lambda event: self._from_nodes(event, life))
        identity = child_identity(self.world, self.root.topic, self.identity, self.incarnation, self.boot)
        self.cluster = Cluster(
            identity,
            [Broker("up")],
            self.opened(),
            self.up,
            self.down,
            self.clock,
            id=self.topic,
            root_store=self.root.true_store.id,
            settings=SETTINGS,
            key_of=self.world.key,
            new_id=self.world.new_id,
            rng=self._rng(),
            answer=lambda call: self.relaying.answer(call),
        )
        up = self.bulk_up(identity, self.root, self.cluster.role, STREAMS_OF_PARENT)
        relay = Relay(up, self.bulk_of(self.cluster.parent, STREAMS_OF_CHILD))
        self.relaying = Relaying(self.cluster, relay, self.world.new_id, to_loop=self.soon, to_bulk=self.soon)
        self.down.open()

    def end(self) -> None:
        self.up.close()
        self.down.close()
        self.relaying.relay.close()

    def _from_root(self, event: TransportEvent, life: int) -> None:
        self.guarded(lambda: self.cluster.handle_up(event), life)

    def _from_nodes(self, event: TransportEvent, life: int) -> None:
        self.guarded(lambda: self.hear(event, self.cluster.handle_down), life)


@dataclass
class Trip:
    """How a step of a node's runtime fails. now: whether it is time. then: called with the step."""

    fault: RuntimeFault
    now: Callable[[], bool]
    then: Callable[[Operation], None]


class NodeProcess(Process):
    """A node: `disk` is its state, `runtime` what runs on it whether its engine lives or not.

    networking: its part in the network between services, in a tree that has one; network: what that has to know.
    """

    networking: Networking | None = None
    network: NodePlan | None = None

    def __init__(
        self, world: World, cluster: ClusterProcess, name: str, *, original: NodeProcess | None = None
    ) -> None:
        """original: this one is a clone of it, on another machine on which nothing runs yet."""
        super().__init__(world, name)
        self.cluster = cluster
        self.boot = f"boot of {name}"
        if original is None:
            self.identity = world.introduce(cluster.store, name, "node")
            self.disk = NodeDisk(world.new_id(), self.at_write)
        else:
            self.identity = original.identity
            self.disk = NodeDisk(original.disk.installation, self.at_write)
            self.disk.set_back(original.disk.snapshot())
        self.disk.boot = self.boot
        self.hangs: set[str] = set()  # attempts that do not stop
        self.lies: dict[str, Instance | None] = {}  # by attempt, what the runtime says of it (None: nothing)
        self.trips: list[Trip] = []
        self.runtime = SimulatedRuntime(clock=self.clock)
        self.runtime.watch(self.poke)
        self.specifications: dict[str, Specification] = {}  # of every attempt ever started here
        self.on_operation: Callable[[NodeProcess, Operation], None] = lambda node, operation: None
        self.on_started: Callable[[NodeProcess, str], None] = lambda node, attempt: None
        self.slots: dict[str, tuple[str, int]] = {}  # of every attempt ever started here: its service and number
        self.fuse = SimulatedFuse(self)
        self.on_cut_off: Callable[[NodeProcess, str], None] = lambda node, attempt: None

    def core(self) -> Both:
        return Both(self.node, self.bulk)

    @property
    def parent_process(self) -> ParentProcess:
        return self.cluster

    @property
    def child_link(self) -> ChildLink:
        return self.node.role.link

    @property
    def obeyed(self) -> int:
        """The highest term that it will remember after a restart."""
        return self.disk.term

    def begin(self) -> None:
        life = self.life
        self.transport = MemoryChildTransport(
            self.identity.id, {"up": self.cluster.broker}, lambda event: self._on_event(event, life)
        )
        identity = child_identity(
            self.world, self.cluster.topic, self.identity, self.disk.raise_incarnation(), self.disk.boot
        )
        self.node = Node(
            identity,
            [Broker("up")],
            self.disk,
            [self.runtime.name],
            self.transport,
            self.clock,
            cluster_store=self.cluster.true_store.id,
            address="127.0.0.1",
            new_id=self.world.new_id,
            rng=self._rng(),
            capacity=lambda: Capacity(
                NODE_SIZE, architectures=("amd64",), operating_systems=("linux",), runtimes=(self.runtime.name,)
            ),
            run=lambda operation: self._begin_operation(operation, life),
            fuse=self.fuse,
            answer=answers(self),
            network=None if self.networking is None else lambda: self.networking or NO_NETWORK,
            on_network=self._on_network,
        )
        self.bulk = self.bulk_up(identity, self.cluster, self.node.role, STREAMS_OF_CHILD)
        later = self.world.later
        self.talker = Talker(
            self.world, self.bulk, lambda delay, talk: later(delay, lambda: self.guarded(talk, life, streams=True))
        )

    def end(self) -> None:
        self.transport.close()
        self.bulk.close()

    @property
    def ails(self) -> bool:
        """Whether something is wrong with this machine itself, however the network is."""
        paused = self.paused_until > self.world.clock.now()
        ill = bool(self.runtime.problem) or self.disk.full or bool(self.hangs) or bool(self.lies)
        return paused or ill

    def lose_power(self) -> None:
        super().lose_power()
        self.life += 1  # so that nothing happens any more of what was asked of the runtime
        self.runtime.reboot()
        self.fuse.deadlines = {}
        self.disk.boot = self.boot

    def poke(self) -> None:
        """The runtime's watch: something changed."""
        life = self.life
        self.world.later(0.01, lambda: self.guarded(self._poked, life))

    def _poked(self) -> None:
        self.node.engine.poke(self.runtime.name, self.world.clock.now())

    def _on_network(self, plan: NodePlan) -> None:
        self.network = plan

    def _on_event(self, event: TransportEvent, life: int) -> None:
        self.guarded(lambda: self.node.handle(event), life)

    def _begin_operation(self, operation: Operation, life: int) -> None:
        slow = self.world.rng.uniform(0.2, 3.0) if operation.kind in ("prepare", "stop") else 0.05
        self.world.later(self.world.rng.uniform(0.01, slow), lambda: self._carry_out(operation, life))

    def _carry_out(self, operation: Operation, life: int) -> None:
        # What a dead engine had asked for may still happen, as with a container engine, or may not.
        if self.life != life or (not self.alive and self.world.rng.random() < 0.5):
            return
        if self.asleep_until > self.world.clock.now():
            self.world.later(self.asleep_until - self.world.clock.now(), lambda: self._carry_out(operation, life))
            return
        if operation.kind == "stop" and operation.attempt in self.hangs:
            self.world.later(1.0, lambda: self._carry_out(operation, life))
            return
        self.on_operation(self, operation)
        result: Result
        try:
            result = self._perform(operation)
        except RuntimeFault as fault:
            result = fault
        self.guarded(lambda: self.node.finished(operation, result), life)

    def _perform(self, operation: Operation) -> Result:
        runtime, attempt, workload = self.runtime, operation.attempt, operation.workload
        if operation.kind != "list":
            for trip in self.trips:
                if trip.now():
                    self.trips.remove(trip)
                    trip.then(operation)
                    raise trip.fault
        else:
            told: dict[str, Instance | None] = {instance.attempt: instance for instance in runtime.list()}
            told.update(self.lies)
            return tuple(instance for instance in told.values() if instance is not None)
        if operation.kind == "stop":
            runtime.stop(attempt, 10.0)
        elif operation.kind == "kill":
            self.on_cut_off(self, attempt)
            runtime.stop(attempt, 0.0)
        elif operation.kind == "remove":
            runtime.remove(attempt)
        elif workload is not None and operation.kind == "prepare":
            runtime.prepare(workload, lambda text: None)
        elif workload is not None and operation.kind == "attach":
            runtime.attach(workload)
        elif workload is not None:
            return self._start(workload)
        return None

    def _start(self, workload: Workload) -> Instance:
        runtime, attempt = self.runtime, workload.attempt
        ran = attempt in runtime.running
        instance = runtime.start(workload)
        if not ran:
            self.specifications[attempt] = workload.specification
            self.slots[attempt] = (workload.service, workload.number)
            self.on_started(self, attempt)
        return instance


class SimulatedFuse(MemoryFuse):
    """The fuse of a node, by the node's own clock: ends what is over its time, whether its engine lives or not."""

    def __init__(self, node: NodeProcess) -> None:
        super().__init__()
        self._node = node
        self._looking = False

    def set(self, deadlines: Mapping[str, float]) -> None:
        super().set(deadlines)
        for deadline in set(deadlines.values()):
            # By the slowest clock allowed: its rate may change meanwhile.
            wait = (deadline + GRACE + PERIOD - self._node.clock.now()) * (1 + SETTINGS.clock_error)
            self._node.world.later(wait, self._look)

    def _look(self) -> None:
        node = self._node
        late = overdue(self.deadlines, node.clock.now())
        if late and not self._looking:
            self._looking = True
            node.world.later(LOOK, self._again)
        for attempt in sorted(late & node.runtime.running):
            node.world.note(f"the fuse of {node.name} ends {attempt[:6]}")
            node.on_cut_off(node, attempt)
            node.runtime.crash(attempt, 137)

    def _again(self) -> None:
        """What a dead engine had asked for may appear later."""
        self._looking = False
        self._look()


def child_identity(world: World, parent: str, identity: Identity, incarnation: int, boot: str) -> ChildIdentity:
    """What a child says it is."""
    return ChildIdentity(parent, identity.id, world.key(identity), identity.name, "simulated", incarnation, boot)
