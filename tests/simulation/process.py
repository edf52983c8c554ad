"""What all simulated processes have in common: they crash, restart from what they kept, pause, and die for good."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mangrove.link.child import ChildIdentity
from mangrove.link.messages import GONE, HELLO
from mangrove.link.streams import ParentStreams
from mangrove.link.transports.interface import Connected, Disconnected, TransportEvent
from mangrove.link.transports.memory import MemoryChildTransport, MemoryParentTransport
from mangrove.roles.bulk import ChildBulk, ParentBulk
from mangrove.roles.child import ChildRole
from mangrove.roles.parent import Parent
from mangrove.store.interface import StoreUnavailable
from mangrove.store.memory import MemoryStore
from tests.simulation.disks import Killed, Moment, ShakyStore, Trouble
from tests.simulation.wire import Wire
from tests.simulation.world import SETTINGS, InvariantBroken, MachineClock, World

#: Seconds after which whatever looks after processes starts one again that could not start, or was killed.
SUPERVISED = 1.0


#: What two clocks may be apart only because numbers have an end.
_ROUNDING = 1e-6


class Core(Protocol):
    def work(self) -> None: ...
    def next_wake(self) -> float: ...


class WithStreams(Core, Protocol):
    bulk: Core


@dataclass
class Death:
    """How a process dies at one of its next writes. power: with its machine, and all that is not synced.

    until: when it is too late. now: whether it is time. then: called when it has happened.
    """

    moment: Moment
    power: bool
    until: float
    now: Callable[[], bool]
    then: Callable[[], None]


class Process:
    """A process that may be dead, alive or paused. `after_step` is called after each round of work.

    dies: at one of its next writes. cut_short: that happened, and it has not worked since. buried: it never starts
    again. asleep_until: the machine is suspended, with all that runs on it. boot: id of the machine's boot.
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
        self.asleep_until = 0.0
        self.boot = "boot"
        self.dies: Death | None = None
        self.cut_short = False
        self.after_step: Callable[[], None] = lambda: None
        self._wake = float("inf")
        self._delayed: list[Callable[[], None]] = []  # what came while it stands still

    def core(self) -> WithStreams:
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
        self._delayed = []
        self._wake = float("inf")
        self.world.note(f"{self.name} starts")
        if self.survives(self._begin):
            self.step()

    def crash(self) -> None:
        if self.alive:
            self.world.note(f"{self.name} crashes")
            self.alive = False
            self.end()

    def lose_power(self) -> None:
        """The machine goes down, and all that runs on it. It can start again at once."""
        self.crash()
        self.world.note(f"{self.name} loses power")
        self.boot = f"boot-{self.world.rng.getrandbits(24)}"

    def pause(self, seconds: float) -> None:
        """Stand still, as when the machine is overloaded, or the process is stopped."""
        self.paused_until = max(self.paused_until, self.world.clock.now() + seconds)
        if seconds > 1.01 * SETTINGS.lease / 2:  # the design's "its loop has not stalled", as a slow clock measures it
            self.deaf_until = self.paused_until

    def guarded(self, action: Callable[[], None], life: int, *, streams: bool = False) -> None:
        """Do something in this process, if it is still the same life; later if it is paused.

        streams: in the thread of its streams, which then works, and the rest does not.
        """
        if not self.alive or self.life != life:
            return
        if self._delayed or self.world.clock.now() < self.paused_until:
            if not self._delayed:
                self._resume_later()
            self._delayed.append(lambda: self.guarded(action, life, streams=streams))
        elif self.survives(action):
            if streams:
                self._stream()
            else:
                self.step()

    def _resume_later(self) -> None:
        self.world.later(self.paused_until - self.world.clock.now(), self._resume)

    def _resume(self) -> None:
        """Do what came while the process stood still, in that order."""
        if self.world.clock.now() < self.paused_until:
            self._resume_later()
            return
        delayed, self._delayed = self._delayed, []
        for action in delayed:
            action()

    def _stream(self) -> None:
        """A round of the thread of the streams; nothing that invariants are about changes in it."""
        bulk = self.core().bulk
        if self.survives(bulk.work) and (wake := max(bulk.next_wake(), self.clock.now() + 0.001)) < self._wake:
            self._wake_at(wake)

    def step(self) -> None:
        if not self.survives(self.core().work):
            return
        self.after_step()
        self.cut_short = False
        now = self.clock.now()
        wake = max(self.core().next_wake(), now + 0.001)
        if wake < self._wake or self._wake <= now:
            self._wake_at(wake)

    def _wake_at(self, wake: float) -> None:
        """Let the next round of work be then, by the process's own clock."""
        self._wake = wake
        life = self.life
        self.world.later((wake - self.clock.now()) / self.clock.rate, lambda: self._woken(wake, life))

    def suspend(self, seconds: float) -> None:
        """The machine stands still; its clock does not."""
        self.pause(seconds)
        self.asleep_until = max(self.asleep_until, self.world.clock.now() + seconds)

    def soon(self, action: Callable[[], object]) -> None:
        """Let another thread of this process do something."""
        life = self.life
        self.world.later(0.0, lambda: self.guarded(lambda: (action(), None)[1], life))

    def at_write(self, moment: Moment) -> None:
        """The process writes something durably: may be the end of it."""
        death = self.dies
        if death is not None and death.moment == moment and death.now():
            self.dies = None
            death.then()
            if death.power:
                self.lose_power()
            raise Killed(lost=death.power and self.world.rng.random() < 0.7)

    def _begin(self) -> None:
        try:
            self.begin()
        except (StoreUnavailable, OSError) as error:  # what a program says before it ends, for its supervisor
            self.world.note(f"{self.name} cannot start: {error}")
            raise Killed from error

    def survives(self, action: Callable[[], None]) -> bool:
        try:
            action()
        except InvariantBroken:
            raise
        except Killed:
            self.cut_short = True
            if self.alive:
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

    def bulk_up(self, identity: ChildIdentity, parent: ParentProcess, role: ChildRole, limit: int) -> ChildBulk:
        """A child's end of its streams."""
        life = self.life
        transport = MemoryChildTransport(
            identity.child,
            {"up": parent.bulk_broker},
            lambda event: self.guarded(lambda: bulk.handle(event), life, streams=True),
        )
        bulk = ChildBulk(identity, transport, lambda: role.broker, self.clock, limit=limit)
        role.on_welcome = lambda: self.soon(lambda: bulk.broken("the link began anew"))
        return bulk


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
        self._dark = False  # the broker went down with the machine

    @property
    def parent(self) -> Parent:
        raise NotImplementedError

    @property
    def impostor(self) -> bool:
        """Whether it runs on a store that is not its own, or on an old copy of it."""
        return self.store is not self.true_store

    @property
    def bulk_broker(self) -> Wire:
        """Where the second connections go."""
        assert self.broker.bulk is not None
        return self.broker.bulk

    def bulk_of(self, parent: Parent, of_child: int) -> ParentBulk:
        """A parent's end of its streams."""
        streams = ParentStreams(self.topic, self.store.id, parent.lease.term, parent.link_key, of_child)
        life = self.life
        transport = MemoryParentTransport(
            self.bulk_broker, lambda event: self.guarded(lambda: bulk.handle(event), life, streams=True)
        )
        bulk = ParentBulk(streams, transport, self.clock)
        parent.on_broken = lambda child, why: self.soon(lambda: bulk.broken(child, why))
        return bulk

    def lose_power(self) -> None:
        """Its broker is on the same machine, and starts again before it does."""
        super().lose_power()
        if self.broker.up:
            self.broker.stop()
            self._dark = True

    def suspend(self, seconds: float) -> None:
        """With its broker: nobody can connect meanwhile, and what is sent arrives afterwards."""
        super().suspend(seconds)
        self.broker.asleep = True
        self.world.later(seconds, lambda: setattr(self.broker, "asleep", False))

    def start(self) -> None:
        if self._dark and not self.buried:
            self._dark = False
            if not self.broker.up:
                self.broker.start()
        super().start()

    def opened(self) -> ShakyStore:
        """The store as a starting process opens it."""
        return ShakyStore(self.store.reopen(), lambda: self.trouble, self.at_write)

    def silence(self, child: str) -> float:
        """Seconds for which this process listened and heard nothing of the child."""
        now = self.world.clock.now() if self._deaf_since is None else self._deaf_since
        return _ROUNDING + now - max(self.heard.get(child, 0.0), self.started_at, self.deaf_until)

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
            if peer is not None and (event.kind != HELLO or peer.heard == self.clock.now()):  # else it was refused
                self.heard[event.child] = now
