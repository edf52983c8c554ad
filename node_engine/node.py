"""The node engine, put together: the link to its cluster, the engine that runs attempts, and what is measured.

Without threads or I/O of its own: the program's main gives it a real transport and worker threads, the simulator
virtual ones.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence, Set

import msgspec

from mangrove.base.clock import Clock
from mangrove.base.ids import NewId
from mangrove.link.child import ChildIdentity
from mangrove.link.messages import STATUS
from mangrove.link.sync import Source
from mangrove.link.transports.interface import Broker, ChildTransport, TransportEvent
from mangrove.model.attempt import Attempt, Usage
from mangrove.model.child import NO_NETWORK, Capacity, Networking
from mangrove.model.specification import Specification
from mangrove.network.endpoints import coarse
from mangrove.network.plan import Grant, LocalInstance, NodePlan, PlanEntry, ServiceEntry, node_plan
from mangrove.reconcile.child import Above
from mangrove.roles.child import Answer, ChildRole, Held, unknown_method
from node_engine.admission import PickGpus
from node_engine.engine import Engine
from node_engine.fuse import Fuse
from node_engine.operations import Operation, Result
from node_engine.state import State

#: Problems with files that are told to the parent, the newest: a node has five files and their copies.
_TROUBLES = 10


class StateMemory:
    """The assignment in the engine's state folder."""

    def __init__(self, state: State) -> None:
        self._state = state

    def load(self) -> Held | None:
        return self._state.load_assignment(Held)

    def save(self, held: Held, removed: frozenset[str]) -> None:
        self._state.save_assignment(msgspec.json.encode(held))


class KeptPlan(msgspec.Struct):
    """The plan as it is kept: which version, and its entries by id."""

    version: int
    entries: dict[str, PlanEntry]


class StatePlan:
    """A `roles.child.PlanMemory` in the engine's state folder."""

    def __init__(self, state: State) -> None:
        self._state = state

    def load_plan(self) -> tuple[int, dict[str, PlanEntry]]:
        kept = self._state.load_plan(KeptPlan)
        return (kept.version, kept.entries) if kept is not None else (0, {})

    def save_plan(self, version: int, entries: Mapping[str, PlanEntry], changed: Set[str], removed: Set[str]) -> None:
        self._state.save_plan(msgspec.json.encode(KeptPlan(version, dict(entries))))


class Node:
    """One node of a cluster.

    cluster_store: id of the cluster's store when it joined. run: carries an operation out, elsewhere, and later gives
    its result to `finished`. capacity: what can be allocated. fuse: as the engine's. network: what this node has to do
    with the network between services, if it may take part at all; on_network: called when what the node's network has
    to know has changed.
    """

    def __init__(
        self,
        identity: ChildIdentity,
        brokers: Sequence[Broker],
        state: State,
        runtimes: Iterable[str],
        transport: ChildTransport,
        clock: Clock,
        *,
        cluster_store: str,
        address: str,
        new_id: NewId,
        rng: random.Random,
        capacity: Callable[[], Capacity],
        run: Callable[[Operation], None],
        pick_gpus: PickGpus = lambda _asked, _taken: (),
        fuse: Fuse | None = None,
        answer: Answer = unknown_method,
        network: Callable[[], Networking] | None = None,
        on_network: Callable[[NodePlan], object] = lambda plan: None,
    ) -> None:
        self._clock = clock
        self._run = run
        self._identity = identity
        self._network = network
        self._on_network = on_network
        self._granted: tuple[Grant, ...] = ()
        self._instances: dict[str, LocalInstance] = {}
        self._loads: dict[str, float] = {}  # attempt → percent of a core, in steps
        self._planned = True  # whether the network has to know something new
        self.engine = Engine(
            state,
            runtimes,
            clock,
            node=identity.child,
            name=identity.name,
            address=address,
            pick_gpus=pick_gpus,
            allocatable=lambda: capacity().allocatable,
            above=self._above,
            fuse=fuse,
            grants=self._grants,
        )
        self._statuses = Source(STATUS)
        self.role = ChildRole(
            identity,
            brokers,
            StateMemory(state),
            transport,
            clock,
            store=cluster_store,
            new_session=new_id,
            rng=rng,
            channels=(self._statuses,),
            capacity=lambda: self._told(capacity(), state.problems),
            on_assignment=self._assigned,
            answer=answer,
            plan_memory=StatePlan(state) if network is not None else None,
            on_plan=self._on_plan,
        )
        self._on_plan(self.role.plan.keys(), frozenset())

    def handle(self, event: TransportEvent) -> None:
        """Something happened on the transport; `work` acts on it."""
        self.role.handle(event)

    def finished(self, operation: Operation, result: Result) -> None:
        """An operation has ended."""
        self.engine.finished(operation, result, self._clock.now())

    def work(self) -> None:
        """Do all that is due: hear, run, and only then say what is."""
        self.role.hear()
        for operation in self.engine.tick(self._clock.now()):
            self._run(operation)
        changed, removed = self.engine.take_changes()
        self._statuses.change(changed, removed)
        if self._network is not None:
            self._publish(bool(changed or removed))
        self.role.speak()

    def next_wake(self) -> float:
        """When `work` wants to be called at the latest (`Clock.now` seconds)."""
        return min(self.role.next_wake(), self.engine.next_wake(self._clock.now()))

    def measured(self, usage: dict[str, Usage]) -> None:
        """Tell the parent what was measured: by attempt, and the node's own under the empty key."""
        for attempt in self._instances.keys() & usage.keys():
            before = self._loads.get(attempt, 0.0)
            self._loads[attempt] = coarse(usage[attempt].cpu, before)
            self._planned |= self._loads[attempt] != before
        self.role.link.send_usage(usage)

    def _above(self) -> Above:
        link = self.role.link
        return Above(link.vouched, bool(link.settled_session) and self.role.is_kept)

    def _told(self, capacity: Capacity, problems: Sequence[str]) -> Capacity:
        now = dict.fromkeys((self.engine.trouble, self.role.trouble))
        return msgspec.structs.replace(
            capacity,
            round_trip=self.role.link.round_trip.milliseconds,
            troubles=(*problems[-_TROUBLES:], *(trouble for trouble in now if trouble)),
            network=self._networking(),
        )

    def _networking(self) -> Networking:
        networking = self._network() if self._network is not None else NO_NETWORK
        held = tuple((grant.ipv4, grant.ipv6) for grant in self._granted)
        trouble = networking.trouble
        if networking.wanted and not held:
            trouble = trouble or "it has no addresses for its instances: its cluster has given none yet"
        return msgspec.structs.replace(networking, held=held, trouble=trouble)

    def _grants(self) -> Sequence[Grant]:
        """What instances can be given addresses from now."""
        return self._granted if self._network is not None and self._network().wanted else ()

    def _on_plan(self, changed: Set[str], removed: Set[str]) -> None:
        self._planned = True
        self._granted = tuple(entry for _, entry in sorted(self.role.plan.items()) if isinstance(entry, Grant))

    def _local_instances(self) -> dict[str, LocalInstance]:
        found = self.engine.local_instances()
        self._loads = {attempt: load for attempt, load in self._loads.items() if attempt in found}
        for attempt, load in self._loads.items():
            entry = self.role.plan.get(f"service/{found[attempt].service}")
            if isinstance(entry, ServiceEntry) and entry.by_load:
                found[attempt] = msgspec.structs.replace(found[attempt], load=load)
        return found

    def _publish(self, changed: bool) -> None:
        instances = self._local_instances() if changed or self._planned else self._instances
        if self._planned or instances != self._instances:
            self._planned, self._instances = False, instances
            mark = self.role.plan_mark
            who = self._identity
            plan = node_plan(who.child, who.name, self.role.plan, instances, version=mark.version, digest=mark.digest)
            self._on_network(plan)

    def _assigned(self, attempts: Mapping[str, Attempt], specifications: Mapping[str, Specification]) -> None:
        self.engine.assign(attempts, specifications, self._clock.now())
