"""What a child needs to know to run an instance of a service. Immutable; named by its digest."""

from __future__ import annotations

from typing import Literal

import msgspec

from mangrove.base.digest import digest_of
from mangrove.model.position import Position
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


#: How a label is compared.
Operator = Literal["in", "not_in", "exists", "not_exists", "lt", "le", "gt", "ge"]


class Constraint(msgspec.Struct, frozen=True, omit_defaults=True):
    """A hard wish about where to run. Which fields count depends on `type`:

    direct: `cluster` and `node`, names as `a;b;c`. clusters: `names` of clusters. addons: `names`, all of them there.
    label: `key`, `operator`, and `names` to compare with. tolerates: the taints with this `key`, only those with a
    value of `names` if there are any. per_node: at most `threshold` instances of the service on one node. geo: within
    `threshold` km of `position`, or in the area `key`. latency: at most `threshold` ms to `position`, to the area
    `key`, or else to the parent.
    """

    type: str
    cluster: str = ""
    node: str = ""
    names: tuple[str, ...] = ()
    key: str = ""
    operator: Operator = "in"
    position: Position | None = None
    threshold: float = 0.0


class Preference(msgspec.Struct, frozen=True, omit_defaults=True):
    """A soft wish: the name of a scorer, how much it counts, and what it is told (see mangrove.placement.scorers)."""

    scorer: str
    weight: float = 1.0
    key: str = ""
    names: tuple[str, ...] = ()
    position: Position | None = None


class Specification(msgspec.Struct, frozen=True, omit_defaults=True, cache_hash=True):
    """How to run one instance.

    name: for people and labels, `application.namespace.service.namespace`.
    runtime: `docker`, `process` or another that the node has.
    image: image reference; for processes the path of an executable on the node, or empty.
    command: replaces the image's arguments; for processes the whole argument vector.
    environment: `KEY=value` each.
    architectures, operating_systems: where it can run (`amd64`, `arm64`, …; `linux`, …); empty means anywhere.
    one_shot: ending with exit code 0 completes it; otherwise it is kept running.
    preferences: which of the children that can take it is the best; empty: as the parent is set up.
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
    preferences: tuple[Preference, ...] = ()
    operating_systems: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """32 hexadecimal digits that name this specification."""
        return digest_of(self)
