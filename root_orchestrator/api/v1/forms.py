"""The forms of what our own API answers, for its description and for mypy; all fields are always there."""

from __future__ import annotations

from typing import Literal, TypedDict

from mangrove.model.attempt import Usage
from mangrove.model.child import Capacity
from mangrove.model.documents import Mode
from mangrove.model.phases import Phase
from mangrove.model.resources import Resources
from mangrove.model.specification import Specification

State = Literal["joined", "live", "silent"]


class Named(TypedDict):
    """Something by id and name; name is null where it is not known any more."""

    id: str
    name: str | None


class NamedService(TypedDict):
    """A service by id and name."""

    id: str
    name: str
    namespace: str


class ClusterSaid(TypedDict):
    """Which cluster, and how old its word is (seconds)."""

    id: str
    name: str
    state: State
    age: float


class ClusterAnswer(ClusterSaid):
    """A cluster. nodes: how many it has told of; usage: as last measured."""

    address: str
    software: str
    capacity: Capacity
    usage: Usage | None
    nodes: int
    cordoned: bool
    drained: bool


class NodeAnswer(TypedDict):
    """A node, as its cluster told last. reserved: for what it is to run; instances: that it runs."""

    id: str
    name: str
    state: State
    capacity: Capacity
    reserved: Resources
    usage: Usage
    instances: int
    software: str
    cordoned: bool
    drained: bool
    cluster: ClusterSaid


class SlotAnswer(TypedDict):
    """An instance that is wanted, and what became of it. failures: attempts in a row that ended badly.

    since: wall-clock seconds of the phase. address: the node's; ipv4, ipv6: its own in the network between services.
    """

    id: str
    number: int
    attempt: str | None
    phase: Phase
    reason: str
    restarts: int
    failures: int
    exit_code: int | None
    since: float
    cluster: ClusterSaid | None
    node: Named | None
    address: str | None
    ipv4: str | None
    ipv6: str | None
    usage: Usage | None


class PastAttempt(TypedDict):
    """An earlier attempt. specification: its digest; started, ended: wall-clock seconds."""

    attempt: str
    cluster: Named
    node: Named | None
    specification: str
    phase: Phase
    reason: str
    restarts: int
    exit_code: int | None
    started: float
    ended: float


class InstanceAnswer(SlotAnswer):
    """An instance with the service that it belongs to; application: an id."""

    service: NamedService
    application: str


class InstanceWithHistory(InstanceAnswer):
    """An instance with its earlier attempts, oldest first."""

    history: list[PastAttempt]


class RolloutAnswer(TypedDict):
    """How far a newer specification has come: instances that are of it, of all; reason: why it stopped."""

    updated: int
    total: int
    state: Literal["done", "rolling", "stopped"]
    reason: str


class ServiceAnswer(TypedDict):
    """A service with its slots."""

    id: str
    name: str
    namespace: str
    application: str
    owner: str
    mode: Mode
    specification: Specification
    rollout: RolloutAnswer
    slots: list[SlotAnswer]


class IssuedToken(TypedDict):
    """A new join token. token: its text, answered once and kept nowhere; expires: wall-clock seconds."""

    id: str
    token: str
    expires: float
