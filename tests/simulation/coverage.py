"""Which faults met which messages.

A *hit* of (fault, kind of message, level): one fault, on whose links at that level a message of that kind was on its
way, from being sent to being handed to who reads it, while the fault was in force. For a fault of a moment (a crash, a
jump of the clock) that is the moment itself; for one that lasts (a partition, a full disk), from its begin to its end.
A message that a lasting fault, or bad weather, swallows was on its way at the moment in which it was sent; what a fault
of a moment makes others say in that moment does not count. One fault counts once for each kind and level, however many
messages it met.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from mangrove.base.clock import Clock
from mangrove.link.messages import DOWN_KINDS, STREAM, UP_KINDS
from mangrove.link.transports.memory import Direction

#: Whose links: those of clusters to the root, or of nodes to their clusters.
Level = Literal["cluster", "node"]
LEVELS: tuple[Level, ...] = ("cluster", "node")

#: Every kind of message, with its direction.
MESSAGES = (
    *(f"down {kind}" for kind in sorted(DOWN_KINDS | {STREAM})),
    *(f"up {kind}" for kind in sorted(UP_KINDS | {STREAM})),
)
NAMED: dict[tuple[Direction, str], str] = {
    **{("down", kind): f"down {kind}" for kind in DOWN_KINDS | {STREAM}},
    **{("up", kind): f"up {kind}" for kind in UP_KINDS | {STREAM}},
}

#: Called with a message that is sent: the child on whose link, the message, and for how many seconds it will be on its
#: way; answers for how many more it shall be.
Aim = Callable[[str, str, float], float]

_NEVER = (float("inf"), float("-inf"))


@dataclass(slots=True)
class _InForce:
    fault: str
    until: float
    met: set[tuple[str, Level]] = field(default_factory=set)


class Coverage:
    """Follows the messages and the faults of one world.

    levels: of each child's link. hits: how often a fault met a kind of message at a level. met: by how many faults each
    kind of message was met at a level, and meets: how many kinds each fault met. aim: sees all messages that are sent.
    """

    def __init__(self, clock: Clock) -> None:
        self.levels: dict[str, Level] = {}
        self.hits: Counter[tuple[str, str, Level]] = Counter()
        self.met: Counter[tuple[str, Level]] = Counter()
        self.meets: Counter[str] = Counter()
        self.aim: Aim | None = None
        self._clock = clock
        self._flying: dict[str, dict[str, tuple[float, float]]] = {}  # child → message → when one was sent, and arrives
        self._in_force: dict[str, list[_InForce]] = {}  # by child

    def sent(self, child: str, message: str, delays: list[float]) -> list[float]:
        """A message is sent, and will be on its way for so long (never, when it is lost); or rather, for how long."""
        now = self._clock.now()
        level = self.levels[child]
        if delays and self.aim is not None:
            held = self.aim(child, message, max(delays))
            if held:
                delays = [delay + held for delay in delays]
        if delays:
            flying, arrives = self._flying.setdefault(child, {}), now + max(delays)
            if message not in flying or flying[message][1] <= arrives:
                flying[message] = (now, arrives)
        for force in self._in_force.get(child, ()):
            if force.until >= now:
                self._meet(force, message, level)
        return delays

    def flies(self, child: str, message: str) -> bool:
        """Whether such a message is on its way on that child's link just now."""
        sent, arrives = self._flying.get(child, {}).get(message, _NEVER)
        return sent < self._clock.now() <= arrives

    def struck(self, fault: str, links: Iterable[str], seconds: float = 0.0) -> None:
        """A fault begins now on these children's links, and lasts."""
        now = self._clock.now()
        force = _InForce(fault, now + seconds)
        for child in links:
            for message, (sent, arrives) in self._flying.get(child, {}).items():
                if sent < now <= arrives:
                    self._meet(force, message, self.levels[child])
            if seconds:
                lasting = [one for one in self._in_force.get(child, ()) if one.until >= now]
                self._in_force[child] = [*lasting, force]

    def calm(self) -> None:
        """All faults are over, and nothing is aimed at any more."""
        self._in_force.clear()
        self.aim = None

    def _meet(self, force: _InForce, message: str, level: Level) -> None:
        met = (message, level)
        if met not in force.met:
            force.met.add(met)
            self.hits[force.fault, message, level] += 1
            if self.hits[force.fault, message, level] == 1:
                self.met[met] += 1
                self.meets[force.fault] += 1
