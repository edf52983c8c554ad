"""A broker in memory, for simulation and tests: the transports' twin without sockets.

Time and fate are given: `later` runs something after so many seconds, `fate` says of each message after which delays it
arrives, none meaning that it is lost, several that it is repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from mangrove.link.transports.interface import (
    MAX_PAYLOAD,
    Broker,
    Connected,
    Disconnected,
    OnEvent,
    Received,
    TransportEvent,
)

Direction = Literal["up", "down"]
Later = Callable[[float, Callable[[], None]], None]
Fate = Callable[[str, Direction, str], Sequence[float]]

#: Seconds from opening a connection to knowing how that went.
_HANDSHAKE = 0.01


class MemoryBroker:
    """One parent's broker. up: whether it runs; `reachable` says whether a child gets through to it now.

    As with MQTT and random client ids, one child may be connected more than once, from a clone or behind a connection
    whose end nobody has noticed: each hears what comes down.
    """

    def __init__(self, later: Later, fate: Fate, reachable: Callable[[str], bool] = lambda child: True) -> None:
        self.up = True
        self.later = later
        self._fate = fate
        self._reachable = reachable
        self._parent: MemoryParentTransport | None = None
        self._parent_away = False
        self._children: dict[str, list[MemoryChildTransport]] = {}

    @property
    def leads_to_parent(self) -> bool:
        """Whether the parent is connected, if it wants to be."""
        return self.up and not self._parent_away

    def stop(self) -> None:
        """The broker dies: every connection breaks, and no will is published."""
        self.up = False
        self._break_all("the broker is gone")
        if self._parent is not None and not self._parent_away:
            self._parent.tell(Disconnected("the broker is gone"))

    def start(self) -> None:
        """The broker runs again; the parent's transport reconnects by itself."""
        self.up = True
        if self._parent is not None and not self._parent_away:
            self._parent.tell(Connected())

    def cut(self, child: str) -> None:
        """A child's connections break; the broker notices and publishes their wills."""
        for transport in self._children.pop(child, []):
            transport.break_off("the connection broke")
            self._publish_will(transport)

    def cut_parent(self) -> None:
        """The parent alone loses its broker, and does not get through until `join_parent`."""
        was = self.leads_to_parent
        self._parent_away = True
        if was and self._parent is not None:
            self._parent.tell(Disconnected("the connection broke"))

    def join_parent(self) -> None:
        """The parent gets through again."""
        if self._parent_away:
            self._parent_away = False
            if self.up and self._parent is not None:
                self._parent.tell(Connected())

    def connect_parent(self, transport: MemoryParentTransport) -> None:
        self._parent = transport
        self.later(_HANDSHAKE, lambda: transport.tell(Connected()) if self.leads_to_parent else None)

    def disconnect_parent(self, transport: MemoryParentTransport) -> None:
        if self._parent is transport:
            self._parent = None

    def connect_child(self, transport: MemoryChildTransport) -> bool:
        """Whether the child gets through."""
        if not self.up or not self._reachable(transport.child):
            return False
        self._children.setdefault(transport.child, []).append(transport)
        return True

    def disconnect_child(self, transport: MemoryChildTransport) -> None:
        there = self._children.get(transport.child, [])
        if transport in there:
            there.remove(transport)
            self._publish_will(transport)

    def from_child(self, transport: MemoryChildTransport, kind: str, payload: bytes) -> bool:
        if not self.up or transport not in self._children.get(transport.child, ()):
            return False
        self._carry(transport.child, kind, payload)
        return True

    def from_parent(self, child: str, kind: str, payload: bytes) -> bool:
        if not self.leads_to_parent:
            return False
        for delay in self._fate(child, "down", kind):
            if len(payload) <= MAX_PAYLOAD:
                message = Received(child, kind, payload)
                for receiver in self._children.get(child, ()):
                    self.later(delay, partial(self._arrive, receiver, message))
        return True

    def _arrive(self, receiver: MemoryParentTransport | MemoryChildTransport, message: Received) -> None:
        """A message has come as far as to its receiver."""
        receiver.tell(message)

    def _carry(self, child: str, kind: str, payload: bytes) -> None:
        for delay in self._fate(child, "up", kind):
            parent = self._parent
            if parent is not None and len(payload) <= MAX_PAYLOAD:
                self.later(delay, partial(self._arrive, parent, Received(child, kind, payload)))

    def _break_all(self, reason: str) -> list[MemoryChildTransport]:
        there = [transport for transports in self._children.values() for transport in transports]
        self._children.clear()
        for transport in there:
            transport.break_off(reason)
        return there

    def _publish_will(self, transport: MemoryChildTransport) -> None:
        if transport.will:
            self._carry(transport.child, "gone", transport.will)


class MemoryParentTransport:
    """See ParentTransport."""

    def __init__(self, broker: MemoryBroker, on_event: OnEvent) -> None:
        self._broker = broker
        self._on_event = on_event
        self._open = False

    def open(self) -> None:
        self._open = True
        self._broker.connect_parent(self)

    def send(self, child: str, kind: str, payload: bytes, qos: int, via: int) -> bool:
        return self._open and self._broker.from_parent(child, kind, payload)

    def close(self) -> None:
        self._open = False
        self._broker.disconnect_parent(self)

    def tell(self, event: TransportEvent) -> None:
        """The broker's word."""
        if self._open and (self._broker.leads_to_parent or isinstance(event, Disconnected)):
            self._on_event(event)


class MemoryChildTransport:
    """See ChildTransport; `brokers` by url."""

    def __init__(self, child: str, brokers: dict[str, MemoryBroker], on_event: OnEvent) -> None:
        self.child = child
        self.will = b""
        self._brokers = brokers
        self._broker: MemoryBroker | None = None
        self._on_event = on_event
        self._connection = 0  # counts connections, so that what an earlier one still brings is not heard

    def open(self, broker: Broker, will: bytes) -> None:
        self.close()
        self.will = will
        self._broker = self._brokers[broker.url]
        connection = self._connection
        self._broker.later(_HANDSHAKE, lambda: self._shake_hands(connection))

    def send(self, kind: str, payload: bytes, qos: int) -> bool:
        return self._broker is not None and self._broker.from_child(self, kind, payload)

    def close(self) -> None:
        self._connection += 1
        if self._broker is not None:
            self._broker.disconnect_child(self)
            self._broker = None

    def break_off(self, reason: str) -> None:
        """The broker, or the network, ended the connection."""
        self._connection += 1
        self._broker = None
        self._on_event(Disconnected(reason))

    def tell(self, event: TransportEvent) -> None:
        """A message arrives."""
        if self._broker is not None and self._broker.up:
            self._on_event(event)

    def _shake_hands(self, connection: int) -> None:
        if connection != self._connection or self._broker is None:
            return
        if self._broker.connect_child(self):
            self._on_event(Connected())
        else:
            self._broker = None
            self._on_event(Disconnected("the broker cannot be reached"))
