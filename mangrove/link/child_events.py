"""What a child's end of the link wants done, and what it has learnt."""

from __future__ import annotations

from dataclasses import dataclass

from mangrove.link.messages import Call, Welcome
from mangrove.link.sync import Applied


@dataclass(frozen=True, slots=True)
class Open:
    """Connect to broker number `broker` with this last will."""

    broker: int
    will: bytes


@dataclass(frozen=True, slots=True)
class Send:
    """Publish below the child's own `up/`."""

    kind: str
    payload: bytes
    qos: int


@dataclass(frozen=True, slots=True)
class Close:
    """Give the connection up."""


@dataclass(frozen=True, slots=True)
class Assigned:
    """An assignment was applied in memory; make it durable before acting on it. first: of this session."""

    applied: Applied
    first: bool


@dataclass(frozen=True, slots=True)
class Planned:
    """The mirror of what the network has to know has changed."""

    applied: Applied


@dataclass(frozen=True, slots=True)
class Welcomed:
    """The parent has accepted this session."""

    welcome: Welcome


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """The parent, or the rules of obedience, refuse this session; `reason` is for a person."""

    reason: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A call that wants an answer through `reply`."""

    call: Call


Effect = Open | Send | Close
Event = Assigned | Planned | Welcomed | TurnedAway | Asked
