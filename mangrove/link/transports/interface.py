"""What a transport does for a parent and for a child.

Events come through a callback given at construction. It is called from the transport's own thread and must only put the
event on a queue and return. Payloads are whole envelopes (bytes); a transport neither reads nor keeps them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

#: Largest payload accepted from the other side, in bytes; a larger one is dropped and counted before it is decoded.
#: 256 KiB holds an assignment part of several hundred attempts, and is far below every broker's own limit.
MAX_PAYLOAD = 256 * 1024


@dataclass(frozen=True, slots=True)
class Broker:
    """Where to connect. url: `mqtt://host:port`, `mqtts://…`, `ws://host:port/path` or `wss://…`."""

    url: str
    username: str = ""
    password: str = ""
    ca_file: str = ""

    def __repr__(self) -> str:
        return f"Broker({self.url!r}, username={self.username!r})"


@dataclass(frozen=True, slots=True)
class Connected:
    """The connection is up and subscribed. via: index of the broker in the list (parents), 0 for children."""

    via: int = 0


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection broke or could not be made; `reason` is for a person."""

    reason: str
    via: int = 0


@dataclass(frozen=True, slots=True)
class Received:
    """A message. child: whose topic it came on."""

    child: str
    kind: str
    payload: bytes
    via: int = 0


TransportEvent = Connected | Disconnected | Received
OnEvent = Callable[[TransportEvent], object]


class ChildTransport(Protocol):
    """A child's one connection: publishes below its own `up/`, hears its own `down/`."""

    def open(self, broker: Broker, will: bytes) -> None:
        """Begin to connect; at once, without blocking. An earlier connection is given up first. One attempt: the link
        decides when to try again. `will` is what the broker publishes as `up/gone` (QoS 1) if the connection breaks;
        empty: nothing."""

    def send(self, kind: str, payload: bytes, qos: int) -> bool:
        """Hand a message over; False when not connected or too much waits already. Never blocks."""

    def close(self) -> None:
        """Give up the connection; nothing is sent afterwards. No event follows."""


class ParentTransport(Protocol):
    """A parent's connections to all of its brokers; reconnects by itself."""

    def open(self) -> None:
        """Begin to connect to every broker, without blocking."""

    def send(self, child: str, kind: str, payload: bytes, qos: int, via: int) -> bool:
        """Hand a message to broker `via`; False when it is not connected or too much waits already. Never blocks."""

    def close(self) -> None:
        """Give up all connections. No event follows."""
