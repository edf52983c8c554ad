"""A parent on a store and its children, with a broker in memory and a clock that moves when told to."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from mangrove.base.clock import VirtualClock
from mangrove.base.ids import seeded_ids
from mangrove.link.child import ChildIdentity
from mangrove.link.messages import STATUS
from mangrove.link.pace import Settings
from mangrove.link.sync import Source
from mangrove.link.transports.interface import Broker
from mangrove.link.transports.memory import MemoryBroker, MemoryChildTransport, MemoryParentTransport
from mangrove.model.attempt import Attempt, Status
from mangrove.model.child import Capacity
from mangrove.model.documents import IDENTITIES, SLOTS, SPECIFICATIONS, Identity, Slot
from mangrove.model.phases import Phase
from mangrove.model.resources import Resources
from mangrove.model.specification import Specification
from mangrove.roles.child import ChildRole, Held
from mangrove.roles.parent import Parent
from mangrove.store.interface import Operation, Put
from mangrove.store.memory import MemoryStore
from tests.simulation.disks import ShakyStore, Trouble

SETTINGS = Settings(lease=10.0, beat=2.0)
WEB = Specification("web", runtime="process", resources=Resources(cpu=1000))


class House:
    """See the module. told: slots that the parent said have news."""

    def __init__(self) -> None:
        self.clock = VirtualClock(start=100.0)
        self.new_id = seeded_ids(1)
        self.disk = MemoryStore("5" * 24)
        self.trouble: Trouble = ""
        self.store = ShakyStore(self.disk, lambda: self.trouble)
        self.lost: Callable[[str, str], bool] = lambda direction, kind: False
        self.sent: list[tuple[str, str, str]] = []
        self.told: list[str] = []
        self.children: list[TestedChild] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self.broker = MemoryBroker(self._later, self._fate)
        self.write(Put(SPECIFICATIONS, WEB.digest, msgspec.to_builtins(WEB)))

    # -- who is there

    def start(self, **changes: Any) -> Parent:
        """The parent starts, for the first time or again."""
        options: dict[str, Any] = {"holder": "h", "settings": SETTINGS, "on_slot": self.told.append, **changes}
        transport = MemoryParentTransport(self.broker, lambda event: self.parent.handle(event))
        self.disk.reopen()
        self.parent = Parent(
            self.store,
            self.clock,
            transport,
            id="p",
            noun="node",
            key_of=key_of,
            new_id=self.new_id,
            rng=random.Random(1),
            **options,
        )
        transport.open()
        return self.parent

    def child(self, name: str, cpu: int = 4000, form: type[TestedChild] | None = None) -> TestedChild:
        """A child that has joined and is there."""
        identity = Identity(self.new_id(), name)
        self.write(Put(IDENTITIES, identity.id, msgspec.to_builtins(identity)))
        self.children.append((form or TestedChild)(self, identity, cpu))
        return self.children[-1]

    # -- what happens

    def write(self, *operations: Operation) -> None:
        """Somebody else writes: the API, or join."""
        self.disk.apply(list(operations))

    def want(self, number: int = 0, desired: str = "run", specification: str = WEB.digest) -> str:
        """A slot is wanted, or wanted no more; its id."""
        slot = Slot(f"s.{number}", "s", number, specification)
        self.write(Put(SLOTS, slot.id, {**msgspec.to_builtins(slot), "desired": desired}))
        return slot.id

    def run(self, seconds: float) -> None:
        """Let time pass, in steps of a tenth of a second."""
        end = self.clock.now() + seconds
        while self.clock.now() < end:
            self.clock.advance_to(min(end, self.clock.now() + 0.1))
            while self._events and self._events[0][0] <= self.clock.now():
                heapq.heappop(self._events)[2]()
            self.work()

    def work(self) -> None:
        """Everybody does what is due."""
        self.parent.work()
        for child in self.children:
            if child.alive:
                child.role.hear()
                child.role.speak()

    def attempt(self, slot: str) -> str:
        """The current attempt of a slot, or nothing."""
        placement = self.parent.placements.get(slot)
        return placement.current.attempt if placement is not None and placement.current is not None else ""

    def _later(self, delay: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.clock.now() + delay, next(self._count), action))

    def _fate(self, child: str, direction: str, kind: str) -> Sequence[float]:
        self.sent.append((child, direction, kind))
        return [] if self.lost(direction, kind) else [0.01]


class TestedChild:
    """A child that does as it is told at once, and says so. seen: every assignment it was given to act on."""

    __test__ = False

    def __init__(self, house: House, identity: Identity, cpu: int) -> None:
        self.house = house
        self.identity = identity
        self.alive = True
        self.full = False
        self.held: Held | None = None
        self.saves = 0
        self.seen: list[set[str]] = []
        self.statuses = Source(STATUS)
        self.capacity = Capacity(Resources(cpu=cpu), architectures=("amd64",), runtimes=("process",))
        self.obeys = True
        self.starts = 0
        self.start()

    def start(self) -> None:
        """It starts, for the first time or again, with what it kept."""
        self.starts += 1
        self.role = ChildRole(
            ChildIdentity("p", self.identity.id, key_of(self.identity), self.identity.name, "1", self.starts, "boot"),
            [Broker("b")],
            self,
            MemoryChildTransport(self.identity.id, {"b": self.house.broker}, lambda event: self.role.handle(event)),
            self.house.clock,
            store=self.house.disk.id,
            new_session=self.house.new_id,
            rng=random.Random(2),
            channels=(self.statuses,),
            capacity=lambda: self.capacity,
            on_assignment=self._assigned,
        )

    # -- a `roles.child.Memory`

    def load(self) -> Held | None:
        return self.held

    def save(self, held: Held, removed: frozenset[str]) -> None:
        self.saves += 1
        if self.full:
            raise OSError("the disk is full")
        self.held = held

    def _assigned(self, attempts: Mapping[str, Attempt], specifications: Mapping[str, Specification]) -> None:
        self.seen.append(set(attempts))
        assert {one.specification for one in attempts.values()} <= specifications.keys()
        if self.obeys:
            running = {id: Status(id, Phase.RUNNING, node=self.identity.id) for id in attempts}
            self.statuses.change(running, self.statuses.ids - running.keys())

    def says(self, attempt: str, phase: Phase, reason: str = "") -> None:
        """Its word about one attempt."""
        self.statuses.change({attempt: Status(attempt, phase, reason)})


def key_of(identity: Identity) -> bytes:
    return f"key of {identity.id}".encode().ljust(32, b".")[:32]
