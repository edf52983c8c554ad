"""A broker on which an adversary listens, and to which anybody may publish anything."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
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


class Heard(NamedTuple):
    """A message as it was on the wire."""

    child: str
    direction: Direction
    kind: str
    payload: bytes


class Wire(MemoryBroker):
    """A MemoryBroker that remembers what it carried, and takes messages from nowhere.

    bulk: the second connections of the same identities, at the same broker.
    """

    bulk: Wire | None = None

    def stop(self) -> None:
        super().stop()
        if self.bulk is not None:
            self.bulk.stop()

    def start(self) -> None:
        if self.bulk is not None:
            self.bulk.start()
        super().start()

    def cut(self, child: str) -> None:
        super().cut(child)
        if self.bulk is not None:
            self.bulk.cut(child)

    def __init__(self, later: Later, fate: Fate, reachable: Callable[[str], bool]) -> None:
        super().__init__(later, fate, reachable)
        self.heard: deque[Heard] = deque(maxlen=_KEPT)
        self._ends: MemoryParentTransport | None = None

    def connect_parent(self, transport: MemoryParentTransport) -> None:
        self._ends = transport
        super().connect_parent(transport)

    def connect_child(self, transport: MemoryChildTransport) -> bool:
        connected = super().connect_child(transport)
        if connected and transport.will:
            self.heard.append(Heard(transport.child, "up", "gone", transport.will))
        return connected

    def from_child(self, transport: MemoryChildTransport, kind: str, payload: bytes) -> bool:
        self.heard.append(Heard(transport.child, "up", kind, payload))
        return super().from_child(transport, kind, payload)

    def from_parent(self, child: str, kind: str, payload: bytes) -> bool:
        self.heard.append(Heard(child, "down", kind, payload))
        return super().from_parent(child, kind, payload)

    def inject(self, message: Heard) -> None:
        """Let a message arrive that nobody sent."""
        receiver = self._ends if message.direction == "up" else self._children.get(message.child)
        if self.up and receiver is not None and len(message.payload) <= MAX_PAYLOAD:
            receiver.tell(Received(message.child, message.kind, message.payload))
