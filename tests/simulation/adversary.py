"""Somebody who reads and publishes on the brokers, but has no key: what they send must change nothing."""

from __future__ import annotations

import random
from collections.abc import Callable

from mangrove.link.messages import DOWN_KINDS, UP_KINDS
from mangrove.link.transports.memory import Direction
from tests.simulation.wire import Heard, Wire
from tests.simulation.world import World

#: Most messages of one attack.
_BURST = 30


class Adversary:
    """Attacks brokers with what they carried once, and with junk."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self._world = world
        self._rng = rng
        self.sent = 0

    def attack(self, wire: Wire) -> str:
        """Begin one attack; what it is, or empty when there is nothing to attack with."""
        if wire.bulk is not None and wire.bulk.heard and self._rng.random() < 0.3:
            wire = wire.bulk
        if not wire.heard:
            return ""
        attacks: list[Callable[[Wire], list[Heard]]] = [
            self._replays,
            self._old_session,
            self._old_orders,
            self._elsewhere,
            self._damaged,
            self._junk,
        ]
        attack = self._rng.choice(attacks)
        messages = attack(wire)[:_BURST]
        in_order = attack in (self._old_session, self._old_orders)
        for number, message in enumerate(messages):
            self._world.later(0.05 * number if in_order else self._rng.uniform(0.0, 2.0), self._send(wire, message))
        self.sent += len(messages)
        return f"{attack.__name__.strip('_')}, {len(messages)} messages"

    def _send(self, wire: Wire, message: Heard) -> Callable[[], None]:
        return lambda: wire.inject(message)

    def _some(self, wire: Wire) -> list[Heard]:
        return self._rng.choices(list(wire.heard), k=self._rng.randint(1, _BURST))

    def _replays(self, wire: Wire) -> list[Heard]:
        """Messages of any kind and age, in any order, as they were."""
        return self._some(wire)

    def _old_session(self, wire: Wire) -> list[Heard]:
        """All that a child once said, from a hello on, in the right order."""
        hellos = [number for number, message in enumerate(wire.heard) if message.kind == "hello"]
        if not hellos:
            return []
        first = self._rng.choice(hellos)
        child = wire.heard[first].child
        return [one for one in list(wire.heard)[first:] if one.child == child and one.direction == "up"]

    def _old_orders(self, wire: Wire) -> list[Heard]:
        """What a child was told in this session, but for the newest of it, in the right order."""
        told: dict[str, list[Heard]] = {}
        for message in wire.heard:
            if message.kind == "hello":
                told[message.child] = []
            elif message.kind == "assign" and message.child in told:
                told[message.child].append(message)
        most = max(told.values(), key=len, default=[])
        return most[: self._rng.randint(0, len(most))]

    def _elsewhere(self, wire: Wire) -> list[Heard]:
        """Right words to the wrong child, in the wrong direction, or as another kind."""
        moved = []
        for message in self._some(wire):
            other = self._rng.choice(list(wire.heard))
            direction: Direction = self._rng.choice(("up", "down"))
            moved.append(message._replace(child=other.child, direction=direction, kind=other.kind))
        return moved

    def _damaged(self, wire: Wire) -> list[Heard]:
        """Cut short, and with single bits turned."""
        damaged = []
        for message in self._some(wire):
            payload = bytearray(message.payload)
            if payload:
                payload[self._rng.randrange(len(payload))] ^= 1 << self._rng.randrange(8)
            cut = self._rng.choice((len(payload), self._rng.randint(0, len(payload))))
            damaged.append(message._replace(payload=bytes(payload[:cut])))
        return damaged

    def _junk(self, wire: Wire) -> list[Heard]:
        """Bytes without sense, of any length, on topics that are there and on others."""
        junk = []
        for _ in range(self._rng.randint(1, _BURST)):
            child = self._rng.choice((self._rng.choice(list(wire.heard)).child, "nobody", "", "ü" * 40))
            direction: Direction = self._rng.choice(("up", "down"))
            kind = self._rng.choice((*sorted(UP_KINDS | DOWN_KINDS), "", "nonsense"))
            junk.append(Heard(child, direction, kind, self._rng.randbytes(self._rng.choice((0, 1, 31, 32, 33, 200)))))
        return junk
