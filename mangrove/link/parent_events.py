"""What a parent's end of the link wants done, and what it has learnt."""

from __future__ import annotations

from dataclasses import dataclass

from mangrove.link.messages import Hello
from mangrove.link.sync import Applied
from mangrove.model.attempt import Usage
from mangrove.model.child import Capacity


@dataclass(frozen=True, slots=True)
class Send:
    """Publish below this child's `down/`, on broker number `via`."""

    child: str
    kind: str
    payload: bytes
    qos: int
    via: int


@dataclass(frozen=True, slots=True)
class Greeted:
    """A child began a new session."""

    child: str
    hello: Hello


@dataclass(frozen=True, slots=True)
class Refused:
    """A child's hello was turned down; `reason` is for a person."""

    child: str
    reason: str


@dataclass(frozen=True, slots=True)
class Reported:
    """The mirror of a child's statuses or nodes changed. complete: this is the first whole report of a session."""

    child: str
    channel: str
    applied: Applied
    first: bool


@dataclass(frozen=True, slots=True)
class CapacityChanged:
    """What a child can allocate."""

    child: str
    capacity: Capacity


@dataclass(frozen=True, slots=True)
class Measured:
    """Usage by attempt, and of the child itself under the empty key."""

    child: str
    usage: dict[str, Usage]


@dataclass(frozen=True, slots=True)
class Silent:
    """Nothing was heard of a child for its whole lease."""

    child: str


@dataclass(frozen=True, slots=True)
class Suspect:
    """The broker says that the child's connection broke. Nothing more: its lease runs on."""

    child: str


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A child has applied a newer assignment: what it no longer lists has ended there."""

    child: str


Event = Greeted | Refused | Reported | CapacityChanged | Measured | Silent | Suspect | Confirmed
