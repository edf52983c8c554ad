"""The three programs as simulated processes: they crash, restart from what they kept, pause, and die for good."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Protocol

from cluster_orchestrator.cluster import Cluster
from mangrove.link.child import ChildIdentity
from mangrove.link.messages import GONE, HELLO
from mangrove.link.transports.interface import Broker, Connected, Disconnected, TransportEvent
from mangrove.link.transports.memory import MemoryChildTransport, MemoryParentTransport
from mangrove.model.child import Capacity
from mangrove.model.documents import META, Identity
from mangrove.model.resources import Resources
from mangrove.model.specification import Specification
from mangrove.roles.parent import Parent
from mangrove.store.interface import StoreUnavailable
from mangrove.store.memory import MemoryStore
from node_engine.node import Node
from node_engine.operations import Operation, Result
from node_engine.runtimes.interface import Instance, RuntimeFault, Workload
from node_engine.runtimes.simulated import SimulatedRuntime
from tests.simulation.disks import Killed, Moment, NodeDisk, ShakyStore, Trouble
from tests.simulation.world import SETTINGS, InvariantBroken, MachineClock, World

#: Every simulated node can give this much.
NODE_SIZE = Resources(cpu=4000, memory=4096, disk=50_000)

#: Seconds after which whatever looks after processes starts one again that could not start, or was killed.
SUPERVISED = 1.0


class Core(Protocol):
    def work(self) -> None: ...
    def next_wake(self) -> float: ...


class Process:
    """A process that may be dead, alive or paused. `after_step` is called after each round of work.

    dies: at which moment of its next write it is killed. cut_short: that happened, and it has not worked since. buried:
    it never starts again.
    """

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.clock = MachineClock(world.clock)
        self.life = 0
        self.alive = False
        self.buried = False
        self.started_at = 0.0
        self.paused_until = 0.0
        self.deaf_until = 0.0  # until then it could not hear, through no fault of those who speak
        self.dies: Moment | None = None
        self.cut_short = False
        self.after_step: Callable[[], None] = lambda: None
        self._wake = float("inf")

    def core(self) -> Core:
        raise NotImplementedError

    def begin(self) -> None:
        """Build the core from what was kept, and connect."""
        raise NotImplementedError

    def end(self) -> None:
        """Let connections go, as a dying process does."""
        raise NotImplementedError

    def start(self) -> None:
        if self.alive or self.buried:
            return
        self.life += 1
        self.alive = True
        self.started_at = self.world.clock.now()
        self.paused_until = 0.0
        self._wake = float("inf")
        self.world.note(f"{self.name} starts")
        if self._survives(self._begin):
            self.step()

    def crash(self) -> None:
        if self.alive:
            self.world.note(f"{self.name} crashes")
            self.alive = False
            self.end()

    def pause(self, seconds: float) -> None:
        """Stand still, as when the machine is suspended or overloaded."""
        self.paused_until = max(self.paused_until, self.world.clock.now() + seconds)
        if seconds > SETTINGS.lease / 2:  # the design's "its loop has not stalled", as the link measures it
            self.deaf_until = self.paused_until

    def guarded(self, action: Callable[[], None], life: int) -> None:
        """Do something in this process, if it is still the same life; later if it is paused."""
        if not self.alive or self.life != life:
            return
        now = self.world.clock.now()
        if now < self.paused_until:
            self.world.later(self.paused_until - now, lambda: self.guarded(action, life))
        elif self._survives(action):
            self.step()

    def step(self) -> None:
        if not self._survives(self.core().work):
            return
        self.after_step()
        self.cut_short = False
        now = self.world.clock.now()
        wake = max(self.core().next_wake(), now + 0.001)
        if wake < self._wake or self._wake <= now:
            self._wake = wake
            life = self.life
            self.world.later(wake - now, lambda: self._woken(wake, life))

    def at_write(self, moment: Moment) -> None:
        """The process writes something durably: may be the end of it."""
        if self.dies == moment:
            self.dies = None
            raise Killed

    def _begin(self) -> None:
        try:
            self.begin()
        except (StoreUnavailable, OSError) as error:  # what a program says before it ends, for its supervisor
            self.world.note(f"{self.name} cannot start: {error}")
            raise Killed from error

    def _survives(self, action: Callable[[], None]) -> bool:
        try:
            action()
        except InvariantBroken:
            raise
        except Killed:
            self.cut_short = True
            self.crash()
            self.world.later(SUPERVISED, self.start)
            return False
        except Exception as error:
            text = f"{self.name} raised {type(error).__name__}: {error}"
            raise InvariantBroken(0, text, self.name) from error
        return True

    def _woken(self, wake: float, life: int) -> None:
        if wake == self._wake and life == self.life:
            self._wake = float("inf")
            self.guarded(lambda: None, life)

    def _rng(self) -> random.Random:
        return random.Random(self.world.rng.getrandbits(32))


class ParentProcess(Process):
    """A process with children. `store` is its disk, `true_store` the one it should have.

    false_store: the last one it was given instead of its own. echo_until: until then what it said with that may still
    be on its way. trouble: what ails the disk. heard: child → when it was last heard, by what the link takes for its
    word.
    """

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self.store = self.true_store = MemoryStore(world.new_id())
        self.false_store: MemoryStore | None = None
        self.echo_until = 0.0
        self.trouble: Trouble = ""
        self.topic = world.new_id()
        self.broker = world.broker()
        self.heard: dict[str, float] = {}
        self._deaf_since: float | None = None

    @property
    def parent(self) -> Parent:
        raise NotImplementedError

    @property
    def impostor(self) -> bool:
        """Whether it runs on a store that is not its own, or on an old copy of it."""
        return self.store is not self.true_store

    def opened(self) -> ShakyStore:
        """The store as a starting process opens it."""
        return ShakyStore(self.store.reopen(), lambda: self.trouble, self.at_write)

    def silence(self, child: str) -> float:
        """Seconds for which this process listened and heard nothing of the child."""
        now = self.world.clock.now() if self._deaf_since is None else self._deaf_since
        return now - max(self.heard.get(child, 0.0), self.started_at, self.deaf_until)

    def hear(self, event: TransportEvent, handle: Callable[[TransportEvent], None]) -> None:
        """Let the parent handle an event, and remember when it could hear, and whom.

        What the link drops, such as words of an old session, is no word of a child, nor is what the broker says of it.
        """
        link, now = self.parent.link, self.world.clock.now()
        dropped = link.dropped
        handle(event)
        if isinstance(event, Connected):
            self._deaf_since, self.deaf_until = None, now
        elif isinstance(event, Disconnected):
            self._deaf_since = now
        elif link.dropped == dropped and event.kind != GONE:
            peer = link.peers.get(event.child)
            if peer is not None and (event.kind != HELLO or peer.heard == now):  # else a hello that was refused
                self.heard[event.child] = now


class RootProcess(ParentProcess):
    """The root."""

    def core(self) -> Parent:
        return self.root

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
        self.transport.open()

    def end(self) -> None:
        self.transport.close()

    def _on_event(self, event: TransportEvent, life: int) -> None:
        self.guarded(lambda: self.hear(event, self.root.handle), life)


class ClusterProcess(ParentProcess):
    """A cluster; `incarnation` is on its disk too."""

    def __init__(self, world: World, root: RootProcess, name: str) -> None:
        super().__init__(world, name)
        self.root = root
        self.identity = world.introduce(root.store, name)
        self.incarnation = 0

    def core(self) -> Cluster:
        return self.cluster

    @property
    def parent(self) -> Parent:
        return self.cluster.parent

    @property
    def parent_process(self) -> ParentProcess:
        return self.root

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
        self.cluster = Cluster(
            child_identity(self.world, self.root.topic, self.identity, self.incarnation, "boot"),
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
        )
        self.down.open()

    def end(self) -> None:
        self.up.close()
        self.down.close()

    def _from_root(self, event: TransportEvent, life: int) -> None:
        self.guarded(lambda: self.cluster.handle_up(event), life)

    def _from_nodes(self, event: TransportEvent, life: int) -> None:
        self.guarded(lambda: self.hear(event, self.cluster.handle_down), life)


class NodeProcess(Process):
    """A node: `disk` is its state, `runtime` what runs on it whether its engine lives or not."""

    def __init__(self, world: World, cluster: ClusterProcess, name: str) -> None:
        super().__init__(world, name)
        self.cluster = cluster
        self.identity = world.introduce(cluster.store, name)
        self.disk = NodeDisk(world.new_id(), self.at_write)
        self.runtime = SimulatedRuntime(clock=self.clock)
        self.runtime.watch(self.poke)
        self.specifications: dict[str, Specification] = {}  # of every attempt ever started here
        self.on_operation: Callable[[NodeProcess, Operation], None] = lambda node, operation: None
        self.on_started: Callable[[NodeProcess, str], None] = lambda node, attempt: None

    def core(self) -> Node:
        return self.node

    @property
    def parent_process(self) -> ParentProcess:
        return self.cluster

    @property
    def obeyed(self) -> int:
        """The highest term that it will remember after a restart."""
        return self.disk.term

    def begin(self) -> None:
        life = self.life
        self.transport = MemoryChildTransport(
            self.identity.id, {"up": self.cluster.broker}, lambda event: self._on_event(event, life)
        )
        self.node = Node(
            child_identity(
                self.world, self.cluster.topic, self.identity, self.disk.raise_incarnation(), self.disk.boot
            ),
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
        )

    def end(self) -> None:
        self.transport.close()

    def lose_power(self) -> None:
        """The machine goes down: the engine dies, and everything that ran."""
        self.crash()
        self.life += 1  # so that nothing happens any more of what was asked of the runtime
        self.world.note(f"{self.name} loses power")
        self.runtime.reboot()
        self.disk.boot = f"boot-{self.world.rng.getrandbits(24)}"

    def poke(self) -> None:
        """The runtime's watch: something changed."""
        life = self.life
        self.world.later(0.01, lambda: self.guarded(self._poked, life))

    def _poked(self) -> None:
        self.node.engine.poke(self.runtime.name, self.world.clock.now())

    def _on_event(self, event: TransportEvent, life: int) -> None:
        self.guarded(lambda: self.node.handle(event), life)

    def _begin_operation(self, operation: Operation, life: int) -> None:
        slow = self.world.rng.uniform(0.2, 3.0) if operation.kind in ("prepare", "stop") else 0.05
        self.world.later(self.world.rng.uniform(0.01, slow), lambda: self._carry_out(operation, life))

    def _carry_out(self, operation: Operation, life: int) -> None:
        # What a dead engine had asked for may still happen, as with a container engine, or may not.
        if self.life != life or (not self.alive and self.world.rng.random() < 0.5):
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
        if operation.kind == "list":
            return runtime.list()
        if operation.kind == "stop":
            runtime.stop(attempt, 10.0)
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
            self.on_started(self, attempt)
        return instance


def child_identity(world: World, parent: str, identity: Identity, incarnation: int, boot: str) -> ChildIdentity:
    """What a child says it is."""
    return ChildIdentity(parent, identity.id, world.key(identity), identity.name, "simulated", incarnation, boot)
