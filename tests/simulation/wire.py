"""A broker on which an adversary listens, to which anybody may publish anything, and which ends in several ways."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from mangrove.link.transports.interface import MAX_PAYLOAD, Received
from mangrove.link.transports.memory import (
    Direction,
    Fate,
    Later,
    MemoryBroker,
    MemoryChildTransport,
    MemoryParentTransport,
)

#: Messages that an adversary remembers of one broker: those of some twenty virtual seconds.
_KEPT = 400

#: Seconds for which a broker that is stopped cleanly still speaks with its parent: time for the wills to get there.
_LAST_WORDS = 0.05


class Heard(NamedTuple):
    """A message as it was on the wire."""

    child: str
    direction: Direction
    kind: str
    payload: bytes


class Wire(MemoryBroker):
    """A MemoryBroker that remembers what it carried, and takes messages from nowhere.

    bulk: the second connections of the same identities, at the same broker. asleep: its machine is suspended, and
    nobody gets through to it.
    """

    bulk: Wire | None = None

    def __init__(self, later: Later, fate: Fate, reachable: Callable[[str], bool]) -> None:
        super().__init__(later, fate, reachable)
        self.heard: deque[Heard] = deque(maxlen=_KEPT)
        self.asleep = False
        self._remembers = False  # whether what arrives while it is down is delivered once it is back
        self._kept: list[tuple[Direction, Received]] = []
        self.stopping = False

    def stop(self, *, remembers: bool = False) -> None:
        """It is killed. With its memory it delivers later what is on its way now, to whoever is connected then."""
        self._remembers = remembers
        super().stop()
        if self.bulk is not None:
            self.bulk.stop(remembers=remembers)

    def stop_cleanly(self) -> None:
        """It ends all connections, publishes all wills, and only then leaves its parent."""
        self.stopping = True
        for transport in self._break_all("the broker is stopped"):
            self._publish_will(transport)
        self.later(_LAST_WORDS, self.stop)
        if self.bulk is not None:
            self.bulk.stop_cleanly()

    def start(self) -> None:
        if self.bulk is not None:
            self.bulk.start()
        self.stopping = False
        kept, self._kept = self._kept, []
        super().start()
        for direction, message in kept:
            if direction == "up":
                self.later(_LAST_WORDS, partial(self._hand, direction, message))
        self._kept = [one for one in kept if one[0] == "down"]

    def cut(self, child: str) -> None:
        super().cut(child)
        if self.bulk is not None:
            self.bulk.cut(child)

    def cut_parent(self) -> None:
        super().cut_parent()
        if self.bulk is not None:
            self.bulk.cut_parent()

    def join_parent(self) -> None:
        if self.bulk is not None:
            self.bulk.join_parent()
        super().join_parent()

    def connect_child(self, transport: MemoryChildTransport) -> bool:
        if self.asleep or self.stopping or not super().connect_child(transport):
            return False
        if transport.will:
            self.heard.append(Heard(transport.child, "up", "gone", transport.will))
        for direction, message in self._kept:
            if message.child == transport.child:
                self.later(_LAST_WORDS, partial(self._hand, direction, message))
        self._kept = [one for one in self._kept if one[1].child != transport.child]
        return True

    def from_child(self, transport: MemoryChildTransport, kind: str, payload: bytes) -> bool:
        self.heard.append(Heard(transport.child, "up", kind, payload))
        return super().from_child(transport, kind, payload)

    def from_parent(self, child: str, kind: str, payload: bytes) -> bool:
        self.heard.append(Heard(child, "down", kind, payload))
        return super().from_parent(child, kind, payload)

    def _arrive(self, receiver: MemoryParentTransport | MemoryChildTransport, message: Received) -> None:
        if not self.up and self._remembers:
            self._kept.append(("down" if isinstance(receiver, MemoryChildTransport) else "up", message))
        else:
            super()._arrive(receiver, message)

    def inject(self, message: Heard) -> None:
        """Let a message arrive that nobody sent."""
        if len(message.payload) <= MAX_PAYLOAD:
            self._hand(message.direction, Received(message.child, message.kind, message.payload))

    def _hand(self, direction: Direction, message: Received) -> None:
        if not self.up:
            return
        if direction == "down":
            for child in self._children.get(message.child, ()):
                child.tell(message)
        elif self._parent is not None:
            self._parent.tell(message)
