"""The node engine, put together: the link to its cluster, the engine that runs attempts, and what is measured.

Without threads or I/O of its own: the program's main gives it a real transport and worker threads, the simulator
virtual ones.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from mangrove.base.clock import Clock
from mangrove.base.ids import NewId
from mangrove.link.child import ChildIdentity
from mangrove.link.messages import STATUS
from mangrove.link.sync import Source
from mangrove.link.transports.interface import Broker, ChildTransport, TransportEvent
from mangrove.model.attempt import Attempt, Usage
from mangrove.model.child import Capacity
from mangrove.model.specification import Specification
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


class Node:
    """One node of a cluster.

    cluster_store: id of the cluster's store when it joined. run: carries an operation out, elsewhere, and later gives
    its result to `finished`. capacity: what can be allocated. fuse: as the engine's.
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
    ) -> None:
        self._clock = clock
        self._run = run
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
        )

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
        self.role.speak()

    def next_wake(self) -> float:
        """When `work` wants to be called at the latest (`Clock.now` seconds)."""
        return min(self.role.next_wake(), self.engine.next_wake(self._clock.now()))

    def measured(self, usage: dict[str, Usage]) -> None:
        """Tell the parent what was measured: by attempt, and the node's own under the empty key."""
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
        )

    def _assigned(self, attempts: Mapping[str, Attempt], specifications: Mapping[str, Specification]) -> None:
        self.engine.assign(attempts, specifications, self._clock.now())
