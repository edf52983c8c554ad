"""Time, chance, the network and the trace of one simulated world. Everything that happens in it follows from a seed."""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from mangrove.base.clock import VirtualClock
from mangrove.base.ids import seeded_ids
from mangrove.link.pace import Settings
from mangrove.link.transports.memory import Direction
from mangrove.model.documents import IDENTITIES, Identity
from mangrove.store.interface import Put
from mangrove.store.memory import MemoryStore
from tests.simulation.coverage import NAMED, Coverage, Level
from tests.simulation.wire import Wire

#: Times are those of production, but for the lease, which is short so that a run sees many.
SETTINGS = Settings(lease=6.0, beat=1.5, usage=5.0)

#: When every world begins.
START = 1000.0


class InvariantBroken(AssertionError):
    """An invariant of the design did not hold; 0 stands for a program that raised instead of coping.

    about: names and ids by which the lines of the trace that matter are found.
    """

    def __init__(self, number: int, text: str, *about: str) -> None:
        super().__init__(f"invariant {number}: {text}")
        self.number = number
        self.about = about


@dataclass(slots=True)
class Weather:
    """What the network does to a message: probabilities, and the longest delay in seconds."""

    lost: float = 0.0
    repeated: float = 0.0
    late: float = 0.0
    longest: float = 0.02


CALM = Weather()


class MachineClock:
    """The clock of one machine, which runs at its own rate; the wall's time jumps there without any other machine's."""

    def __init__(self, true: VirtualClock) -> None:
        self._true = true
        self.ahead = 0.0
        self.rate = 1.0
        self._drifted = 0.0  # seconds that it was ahead when the rate was set
        self._since = 0.0

    def now(self) -> float:
        true = self._true.now()
        return true if self._since == 0.0 else true + self._drifted + (true - self._since) * (self.rate - 1.0)

    def drift(self, rate: float) -> None:
        """Run so much faster from now on than time does."""
        true = self._true.now()
        self._drifted = self.now() - true
        self.rate, self._since = rate, true

    def wall(self) -> float:
        return self._true.wall() + self.ahead


class World:
    """Where processes live. They add themselves."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.clock = VirtualClock(start=START)
        self.new_id = seeded_ids(seed)
        self.weather = CALM
        self.frozen: set[str] = set()  # children whose link carries nothing, though it looks up
        self.cut_off: set[str] = set()  # children that reach no broker
        self.mute: set[str] = set()  # children that hear, and are not heard
        self.deaf: set[str] = set()  # children that are heard, and do not hear
        self.coverage = Coverage(self.clock)
        self.messages: Counter[str] = Counter()
        self.trace: deque[str] = deque(maxlen=5000)
        self._arrives: dict[tuple[str, str], float] = {}  # by topic, when the newest message arrives
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    # -- time

    @property
    def time(self) -> float:
        """Seconds since the world began."""
        return self.clock.now() - START

    def later(self, delay: float, action: Callable[[], None]) -> None:
        """Run `action` in `delay` virtual seconds."""
        self._count += 1
        heapq.heappush(self._events, (self.clock.now() + max(0.0, delay), self._count, action))

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass; True as soon as `until` holds (asked once a virtual second), False when time is up."""
        end = self.clock.now() + seconds
        ask = self.clock.now()
        while self._events and self._events[0][0] <= end:
            if self._events[0][0] >= ask:
                ask = self._events[0][0] + 1.0
                if until():
                    return True
            moment, _, action = heapq.heappop(self._events)
            self.clock.advance_to(moment)
            action()
        self.clock.advance_to(end)
        return until()

    def note(self, text: str) -> None:
        """Remember what happened, for the trace of a failing run."""
        self.trace.append(f"{self.time:9.3f}  {text}")

    # -- the network

    def broker(self) -> Wire:
        """A new broker in this world."""
        wire, bulk = (Wire(self.later, self._fate, self._gets_through) for _ in range(2))
        wire.bulk = bulk
        return wire

    def _gets_through(self, child: str) -> bool:
        return not (child in self.cut_off or child in self.mute or child in self.deaf)

    def _fate(self, child: str, direction: Direction, kind: str) -> list[float]:
        message = NAMED[direction, kind]
        self.messages[message] += 1
        return self.coverage.sent(child, message, self._delays(child, direction, message))

    def _delays(self, child: str, direction: Direction, message: str) -> list[float]:
        if child in self.frozen or child in self.cut_off:
            return []
        if child in (self.mute if direction == "up" else self.deaf):
            return []
        rng, weather = self.rng, self.weather
        if weather is CALM:  # then what is sent on one topic arrives in that order, as MQTT promises
            now, topic = self.clock.now(), (child, message)
            delay = max(0.001 + 0.019 * rng.random(), self._arrives.get(topic, 0.0) - now)
            self._arrives[topic] = now + delay
            return [delay]
        if rng.random() < weather.lost:
            return []
        copies = 2 if rng.random() < weather.repeated else 1
        return [rng.uniform(0.001, weather.longest if rng.random() < weather.late else 0.02) for _ in range(copies)]

    # -- identities

    @staticmethod
    def key(identity: Identity) -> bytes:
        """The link key of a child; the simulator needs no secret."""
        return f"key of {identity.id}".encode().ljust(32, b".")[:32]

    def introduce(self, store: MemoryStore, name: str, level: Level) -> Identity:
        """Let a child have joined the parent with this store."""
        identity = Identity(self.new_id(), name)
        self.coverage.levels[identity.id] = level
        store.apply([Put(IDENTITIES, identity.id, msgspec.to_builtins(identity))])
        return identity
