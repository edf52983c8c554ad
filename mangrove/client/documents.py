"""What the root answers, as far as its clients read it. Fields that are not named here are passed over."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import field

from mangrove.model.attempt import Usage
from mangrove.model.child import Capacity
from mangrove.model.network import ServiceAddress
from mangrove.model.phases import Phase
from mangrove.model.resources import Resources


class Application(msgspec.Struct, frozen=True):
    """An application; owner: a user's name; services: their ids; organization: an id, empty for `root`."""

    id: str
    name: str
    namespace: str
    description: str = ""
    owner: str = ""
    services: tuple[str, ...] = ()
    organization: str = ""


class Place(msgspec.Struct, frozen=True):
    """A cluster or node that something is on; state, age: of a cluster, `live` or not, heard so many seconds ago."""

    id: str
    name: str = ""
    state: str = ""
    age: float = 0.0


class Past(msgspec.Struct, frozen=True):
    """An attempt of an instance that is over. started, ended: wall-clock seconds."""

    attempt: str
    phase: str
    cluster: Any = None
    node: Any = None
    reason: str = ""
    exit_code: int | None = None
    started: float = 0.0
    ended: float = 0.0


class Instance(msgspec.Struct, frozen=True):
    """A slot and what became of it; since: wall-clock seconds; cluster and node: where it was given to, if anywhere.

    history: attempts before this one, as far as they were asked for. address: its node's; ipv4, ipv6: its own in the
    network between services.
    """

    number: int
    phase: Phase
    id: str = ""
    reason: str = ""
    restarts: int = 0
    failures: int = 0
    exit_code: int | None = None
    since: float = 0.0
    attempt: str | None = None
    cluster: Place | None = None
    node: Place | None = None
    address: str | None = None
    ipv4: str | None = None
    ipv6: str | None = None
    usage: Usage | None = None
    history: tuple[Past, ...] = ()

    @property
    def service(self) -> str:
        """The id of the service that it is of."""
        return self.id.rpartition(".")[0]


class Rollout(msgspec.Struct, frozen=True):
    """How far a service's newest specification has come.

    updated, total: instances. state: `done`, `rolling` or `stopped`, the last with a reason.
    """

    updated: int = 0
    total: int = 0
    state: str = "done"
    reason: str = ""


class Service(msgspec.Struct, frozen=True):
    """A service. In a list it has `phases`, how many instances are in each; alone it has its `instances`, by number.

    mode: `global` for a system service, which has one instance on each node that it matches.
    """

    id: str
    name: str
    namespace: str
    application: str
    owner: str = ""
    specification: dict[str, Any] = {}
    instances: tuple[Instance, ...] = field(name="slots", default=())
    phases: dict[str, int] = field(name="instances", default_factory=dict)
    rollout: Rollout = Rollout()
    mode: str = "replicated"


class ServiceNetwork(msgspec.Struct, frozen=True):
    """How a service is reached in the network between services."""

    id: str
    addresses: tuple[ServiceAddress, ...] = ()


class Grant(msgspec.Struct, frozen=True):
    """Addresses that a cluster alone has for its nodes. trouble: what is wrong with its part in the network."""

    cluster: Place
    ipv4: str | None = None
    ipv6: str | None = None
    trouble: str = ""


class Cluster(msgspec.Struct, frozen=True):
    """A cluster; age: seconds since it was last heard; nodes: how many it has."""

    id: str
    name: str
    state: str
    age: float
    address: str = ""
    software: str = ""
    capacity: Capacity = Capacity()
    usage: Usage | None = None
    nodes: int = 0
    cordoned: bool = False
    drained: bool = False


class Node(msgspec.Struct, frozen=True):
    """A node as its cluster describes it."""

    id: str
    name: str
    state: str
    cluster: Place
    capacity: Capacity = Capacity()
    reserved: Resources = Resources()
    usage: Usage = Usage()
    instances: int = 0
    software: str = ""
    cordoned: bool = False
    drained: bool = False


class Event(msgspec.Struct, frozen=True):
    """Something that happened. subject: id of what it is about; time: wall-clock seconds; text: for a person.

    cluster: name of the cluster that told it, where the root did not see it itself.
    """

    id: str
    time: float
    kind: str
    subject: str
    text: str
    cluster: str = ""


class LocalInstance(msgspec.Struct, frozen=True):
    """An instance as its cluster tells its operator. id: the cluster's own; name: `application.service.number`."""

    id: str
    name: str
    phase: Phase
    reason: str = ""
    node: str = ""
    restarts: int = 0
    since: float = 0.0


class Scaled(msgspec.Struct, frozen=True):
    """What it took to have so many instances. added, removed: their numbers."""

    instances: int
    added: tuple[int, ...] = ()
    removed: tuple[int, ...] = ()


class Organization(msgspec.Struct, frozen=True):
    """An organization, as far as it is named elsewhere."""

    id: str
    name: str = ""


class Me(msgspec.Struct, frozen=True):
    """Who asks. roles: in the organization of the login."""

    name: str
    organization: Organization
    id: str = ""
    roles: tuple[str, ...] = ()


class User(msgspec.Struct, frozen=True):
    """Somebody who may sign in. roles: in the organization of the login."""

    name: str
    email: str = ""
    roles: tuple[str, ...] = ()
    created: str = field(name="created_at", default="")


class JoinToken(msgspec.Struct, frozen=True):
    """A new join token. token: the text to copy, shown this once; expires: wall-clock seconds."""

    id: str
    token: str
    expires: float

    def __repr__(self) -> str:
        return f"JoinToken(id={self.id!r}, expires={self.expires})"
