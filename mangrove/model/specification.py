"""What a child needs to know to run an instance of a service. Immutable; named by its digest."""

from __future__ import annotations

from typing import Literal

import msgspec

from mangrove.base.digest import digest_of
from mangrove.model.resources import Resources

#: Bytes of a specification as JSON. It travels in one message with others (see the link's largest payload), and a
#: device keeps it; an environment of some hundred variables is a tenth of this.
MAX_SPECIFICATION = 48 * 1024


class Port(msgspec.Struct, frozen=True, omit_defaults=True):
    """A port of the instance published on its node."""

    host: int
    container: int
    protocol: Literal["tcp", "udp"] = "tcp"


class Volume(msgspec.Struct, frozen=True, omit_defaults=True):
    """A folder of the node (`source`, an absolute path) seen by the instance at `target`."""

    source: str
    target: str
    read_only: bool = False


class Constraint(msgspec.Struct, frozen=True, omit_defaults=True):
    """A hard wish about where to run: `direct` names clusters (`cluster`) and nodes (`node`), each `a;b;c`."""

    type: str
    cluster: str = ""
    node: str = ""


class Specification(msgspec.Struct, frozen=True, omit_defaults=True):
    """How to run one instance.

    name: for people and labels, `application.namespace.service.namespace`.
    runtime: `docker`, `process` or another that the node has.
    image: image reference; for processes the path of an executable on the node, or empty.
    command: replaces the image's arguments; for processes the whole argument vector.
    environment: `KEY=value` each.
    architectures: where it can run (`amd64`, `arm64`, …); empty means anywhere.
    one_shot: ending with exit code 0 completes it; otherwise it is kept running.
    """

    name: str
    runtime: str = "docker"
    image: str = ""
    command: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    resources: Resources = Resources()
    ports: tuple[Port, ...] = ()
    volumes: tuple[Volume, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    architectures: tuple[str, ...] = ()
    one_shot: bool = False
    privileged: bool = False
    kind: Literal["service", "job"] = "service"

    @property
    def digest(self) -> str:
        """32 hexadecimal digits that name this specification."""
        return digest_of(self)
