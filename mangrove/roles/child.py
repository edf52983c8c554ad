"""The child's shell: the link to the parent, and the assignment kept so that it outlives everything.

Used by cluster and node. One thread owns it. `handle` takes what the transport says; `hear` takes in what the parent
wants, durably, before anyone acts on it; `speak`, called when all that follows from it is known, tells the parent.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, Protocol, cast

import msgspec

from mangrove.base.clock import Clock
from mangrove.base.log import about
from mangrove.link import child_events as link
from mangrove.link.child import ChildIdentity, ChildLink
from mangrove.link.messages import ASSIGNMENT, PLAN, Call, Mark, Reply
from mangrove.link.pace import beat_for
from mangrove.link.sync import Replica, Source
from mangrove.link.transports.interface import Broker, ChildTransport, Connected, Disconnected, TransportEvent
from mangrove.model.attempt import Attempt
from mangrove.model.child import Capacity
from mangrove.model.specification import Specification
from mangrove.network.plan import PlanEntry
from mangrove.roles.drops import Drops
from mangrove.store.interface import StoreUnavailable

log = logging.getLogger(__name__)

#: The call by which a parent whose store was brought back asks what it once gave. params: `attempts`, ids.
HELD = "held"
#: Bytes of specifications in one answer to it, and of an attempt: below the largest payload with one more of each.
_HELD_BYTES, _ENTRY = 96 * 1024, 300

#: Seconds between attempts to keep an assignment after the disk refused it.
SAVE_RETRY = 2.0

_UNKEPT = "the assignment cannot be kept, so it is not acted on"


class Held(msgspec.Struct, frozen=True):
    """An assignment as kept on disk: whose it is (store, term, tenure, revision), and the whole of it."""

    store: str
    term: int
    tenure: str
    revision: int
    version: int
    attempts: dict[str, Attempt]
    specifications: dict[str, Specification]


class Memory(Protocol):
    """Where a child keeps its assignment."""

    def load(self) -> Held | None:
        """What was saved, or None when there never was an assignment."""

    def save(self, held: Held, removed: frozenset[str]) -> None:
        """Keep it durably; `removed` is what the last one had and this has not. Raises OSError or StoreUnavailable."""


class PlanMemory(Protocol):
    """Where a child keeps what its network has to know."""

    def load_plan(self) -> tuple[int, dict[str, PlanEntry]]:
        """Version and entries as saved last; 0 and none when nothing was."""

    def save_plan(self, version: int, entries: Mapping[str, PlanEntry], changed: Set[str], removed: Set[str]) -> None:
        """Keep it; `changed` and `removed` are what differs from last time. Raises OSError or StoreUnavailable."""


#: Gives the reply to a call, or None when it comes later through `link.reply`.
Answer = Callable[[Call], Reply | None]


def unknown_method(call: Call) -> Reply | None:
    """The answer of a child that answers no calls."""
    return Reply(call.id, error=f"unknown method {call.method[:40]}")


class ChildRole:
    """One child of one parent.

    store: id of the parent's store when the child joined; no other is obeyed. on_assignment: called with the whole
    assignment once it is durable, and at once with the one on disk. plan_memory: of a child that takes part in a
    network between services. on_plan: called with ids of entries that are new or different, and of those that are gone.
    """

    def __init__(
        self,
        identity: ChildIdentity,
        brokers: Sequence[Broker],
        memory: Memory,
        transport: ChildTransport,
        clock: Clock,
        *,
        store: str,
        new_session: Callable[[], str],
        rng: random.Random,
        channels: Sequence[Source],
        capacity: Callable[[], Capacity],
        on_assignment: Callable[[Mapping[str, Attempt], Mapping[str, Specification]], None],
        answer: Answer = unknown_method,
        plan_memory: PlanMemory | None = None,
        on_plan: Callable[[Set[str], Set[str]], object] = lambda changed, removed: None,
    ) -> None:
        self._clock = clock
        self._memory = memory
        self._plan_memory = plan_memory
        self._on_plan = on_plan
        self._plan: Replica[Any] = Replica(PLAN, cast(Any, PlanEntry))
        self._plan_changed: set[str] = set()  # ids that differ from what is kept
        self._plan_removed: set[str] = set()
        self._plan_at = 0.0  # when to try to keep it
        self._transport = transport
        self._brokers = brokers
        self._on_assignment = on_assignment
        self._answer = answer
        #: Called when a session begins.
        self.on_welcome: Callable[[], object] = lambda: None
        #: Where the parent is, or was last.
        self.broker = brokers[0]
        self._drops = Drops("from the parent")
        self._unsaved = False
        self._removed: frozenset[str] = frozenset()
        self._save_at = 0.0
        self.trouble = ""
        self._assignment = Replica(ASSIGNMENT, Attempt, specification_of=lambda attempt: attempt.specification)
        held = memory.load()
        if held is not None:
            raw = {digest: msgspec.json.encode(entry) for digest, entry in held.specifications.items()}
            self._assignment.load(held.version, held.attempts, raw)
            on_assignment(held.attempts, held.specifications)
        if plan_memory is not None:
            version, entries = plan_memory.load_plan()
            self._plan.load(version, entries, {})
        self.link = ChildLink(
            identity,
            len(brokers),
            new_session=new_session,
            rng=rng,
            assignment=self._assignment,
            channels=channels,
            capacity=capacity,
            plan=self._plan if plan_memory is not None else None,
            store=held.store if held is not None else store,
            term=held.term if held is not None else 0,
            tenure=held.tenure if held is not None else "",
            revision=held.revision if held is not None else 0,
        )

    def handle(self, event: TransportEvent) -> None:
        """Something happened on the transport."""
        now = self._clock.now()
        if isinstance(event, Connected):
            self.link.connected(now)
        elif isinstance(event, Disconnected):
            log.info("the connection to the parent is down: %s", event.reason)
            self.link.disconnected(now)
        else:
            self.link.receive(event.kind, event.payload, now)

    def hear(self) -> None:
        """Take in what came, and make it durable."""
        events, self.link.events = self.link.events, []
        for event in events:
            if isinstance(event, link.Assigned):
                self._unsaved = True
                self._removed |= event.applied.removed
            elif isinstance(event, link.Planned):
                self._planned(event.applied.changed, event.applied.removed)
            elif isinstance(event, link.TurnedAway):
                log.error("the parent refuses this child: %s", event.reason)
            elif isinstance(event, link.Asked):
                with about(event.call.request):
                    # What nobody's request led to, the parent asks every few seconds.
                    level = logging.INFO if event.call.request else logging.DEBUG
                    log.log(level, "the parent asks: %s", event.call.method[:40])
                    held = event.call.method == HELD
                    reply = self._held(event.call) if held else self._answer(event.call)
                if reply is not None:
                    self.link.reply(reply)
            else:
                log.info("connected to the parent")
                self.on_welcome()
        if self._unsaved and self._clock.now() >= self._save_at:
            self._save()
        if self._plan_unsaved and self._clock.now() >= self._plan_at:
            self._save_plan()

    def speak(self) -> None:
        """Let time pass on the link, and hand over what it wants sent."""
        now = self._clock.now()
        self.link.tick(now)
        self._drops.look(self.link.dropped, self.link.newest_drop, now)
        effects, self.link.effects = self.link.effects, []
        for effect in effects:
            if isinstance(effect, link.Send):
                self._transport.send(effect.kind, effect.payload, effect.qos)
            elif isinstance(effect, link.Open):
                self.broker = self._brokers[effect.broker]
                self._transport.open(self.broker, effect.will)
            else:
                self._transport.close()

    @property
    def plan(self) -> Mapping[str, PlanEntry]:
        """What the parent says of the network between services, by id."""
        return self._plan.entries

    @property
    def plan_mark(self) -> Mark:
        """Which plan that is."""
        return self._plan.mark

    @property
    def version(self) -> int:
        """Of the assignment that is held."""
        return self._assignment.version

    @property
    def is_kept(self) -> bool:
        """Whether all that was heard is durable, and so acted on."""
        return not self._unsaved

    def next_wake(self) -> float:
        """When `hear` and `speak` want to be called at the latest (`Clock.now` seconds)."""
        wake = self.link.next_wake()
        if self._plan_unsaved:
            wake = min(wake, self._plan_at)
        return min(wake, self._save_at) if self._unsaved else wake

    def _held(self, call: Call) -> Reply:
        """Of the `attempts` asked for, those that are in the assignment held, as many as fit into a message."""
        entries, known = self._assignment.entries, self._assignment.specifications
        attempts: list[Attempt] = []
        specifications: dict[str, msgspec.Raw] = {}
        size = 0
        asked = call.params.get("attempts")
        for id in asked if isinstance(asked, list) else ():
            entry = entries.get(id) if isinstance(id, str) else None
            if entry is None or entry.specification not in known:
                continue
            attempts.append(entry)
            specifications[entry.specification] = msgspec.Raw(known[entry.specification])
            size = sum(map(len, map(bytes, specifications.values()))) + _ENTRY * len(attempts)
            if size > _HELD_BYTES:
                break
        return Reply(call.id, {"attempts": attempts, "specifications": specifications})

    @property
    def _plan_unsaved(self) -> bool:
        return bool(self._plan_changed or self._plan_removed)

    def _planned(self, changed: Set[str], removed: Set[str]) -> None:
        """It counts at once: what is not kept when the power fails is told again."""
        self._plan_changed = (self._plan_changed | changed) - removed
        self._plan_removed = (self._plan_removed | removed) - changed
        self._on_plan(changed, removed)

    def _save_plan(self) -> None:
        memory, replica = self._plan_memory, self._plan
        if memory is None:
            return
        try:
            memory.save_plan(replica.version, replica.entries, self._plan_changed, self._plan_removed)
        except (OSError, StoreUnavailable) as error:
            log.error("the plan of the network cannot be kept: %s", error)
            self._plan_at = self._clock.now() + SAVE_RETRY
            return
        self._plan_changed, self._plan_removed = set(), set()

    def _save(self) -> None:
        replica = self._assignment
        specifications = {
            digest: msgspec.json.decode(raw, type=Specification) for digest, raw in replica.specifications.items()
        }
        held = Held(
            self.link.store,
            self.link.term,
            self.link.tenure,
            self.link.revision,
            replica.version,
            dict(replica.entries),
            specifications,
        )
        try:
            self._memory.save(held, self._removed)
        except (OSError, StoreUnavailable) as error:
            if not self.trouble:
                log.error("%s: %s", _UNKEPT, error)
            self.trouble = (
                str(error) if isinstance(error, StoreUnavailable) else f"{_UNKEPT}: {error.strerror or error}"
            )
            self._save_at = self._clock.now() + SAVE_RETRY
            return
        self.trouble = ""
        self._unsaved = False
        self._removed = frozenset()
        self._hurry(held)
        self._on_assignment(held.attempts, held.specifications)

    def _hurry(self, held: Held) -> None:
        """Beat so often that nothing held is stopped between two beats. Each session begins with an assign, so this is
        known anew after a restart."""
        policies = [
            held.specifications[digest].policy for digest in {one.specification for one in held.attempts.values()}
        ]
        stops = [policy.stop_on_child_after for policy in policies if policy.stop_on_child_after is not None]
        self.link.beat_within(beat_for(min(stops, default=math.inf)), self._clock.now())
