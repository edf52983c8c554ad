"""What the root answers, as far as its clients read it. Fields that are not named here are passed over."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import field

from mangrove.model.attempt import Usage
from mangrove.model.child import Capacity
from mangrove.model.phases import Phase
from mangrove.model.resources import Resources


class Application(msgspec.Struct, frozen=True):
    """An application; owner: a user's name; services: their ids."""

    id: str = field(name="applicationID")
    name: str = field(name="application_name")
    namespace: str = field(name="application_namespace")
    description: str = field(name="application_desc", default="")
    owner: str = field(name="userId", default="")
    services: tuple[str, ...] = field(name="microservices", default=())


class ServiceSummary(msgspec.Struct, frozen=True):
    """A service in a list. status: in Oakestra's words; detail: why, when it does not simply run."""

    id: str = field(name="microserviceID")
    name: str = field(name="microservice_name")
    namespace: str = field(name="microservice_namespace")
    application: str = field(name="applicationID")
    application_name: str = field(name="app_name", default="")
    status: str | None = None
    detail: str | None = field(name="status_detail", default=None)
    instances: tuple[dict[str, Any], ...] = field(name="instance_list", default=())


class Place(msgspec.Struct, frozen=True):
    """A cluster or node that something is on; state, age: of a cluster, `live` or not, heard so many seconds ago."""

    id: str
    name: str
    state: str = ""
    age: float = 0.0


class Instance(msgspec.Struct, frozen=True):
    """A slot and what became of it; since: wall-clock seconds; cluster and node: where it was given to, if anywhere."""

    number: int
    phase: Phase
    reason: str = ""
    restarts: int = 0
    failures: int = 0
    exit_code: int | None = None
    since: float = 0.0
    attempt: str | None = None
    cluster: Place | None = None
    node: Place | None = None
    address: str | None = None
    usage: Usage | None = None


class Service(msgspec.Struct, frozen=True):
    """A service with its instances, by number."""

    id: str
    name: str
    namespace: str
    application: str
    owner: str
    specification: dict[str, Any] = {}
    instances: tuple[Instance, ...] = field(name="slots", default=())


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


class JoinToken(msgspec.Struct, frozen=True):
    """A new join token. token: the text to copy, shown this once; expires: wall-clock seconds."""

    id: str
    token: str
    expires: float

    def __repr__(self) -> str:
        return f"JoinToken(id={self.id!r}, expires={self.expires})"
