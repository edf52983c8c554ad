"""Children as their parent sees them: what they can allocate, and how they are described further up."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import msgspec

from mangrove.model.attempt import Usage
from mangrove.model.position import Position
from mangrove.model.resources import Resources


class Networking(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a child has to do with the network between services.

    wanted: how many grants of addresses it needs in all; 0: it takes no part. held: those that it uses, a pair of
    networks each, IPv4 and IPv6, either of which may be empty. underlay: a node's own addresses to which others can
    send packets for its instances, the best first. key: a node's public key for WireGuard (base64). trouble: why it
    takes no part, or only in part, in one line.
    """

    wanted: int = 0
    held: tuple[tuple[str, str], ...] = ()
    underlay: tuple[str, ...] = ()
    key: str = ""
    trouble: str = ""


#: Of a child that takes no part.
NO_NETWORK = Networking()


class Capacity(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What a child can allocate in all: not what is free, since the parent subtracts its own reservations.

    largest: what is free on the largest single nodes behind it, of which none is smaller than another in everything;
    empty for a node. nodes: how many stand behind it that may get new work, or hold what they were given. version: of
    the assignment that `largest` reflects. gpu_drivers: one name a device. engines: of a node, by runtime, the program
    behind it, such as "Podman 4.3.1". labels: of a node; label_values: of the nodes behind a cluster, with null when
    some have no such label. vague_labels: keys with more values than are told. taints: what keeps everything away that
    does not tolerate it, `key` or `key=value`; of a cluster, those that all its nodes have. yielding: of a cluster, as
    `largest`, if all up to some priority had made room; the lowest priority first. addons: what else its runtimes and
    its operator say that it offers. round_trip: milliseconds to the parent and back, coarsely; 0 when not measured.
    troubles: what is wrong with it now, one line each. network: its part in the network between services.
    """

    allocatable: Resources = Resources()
    largest: tuple[Resources, ...] = ()
    nodes: int = 1
    architectures: tuple[str, ...] = ()
    operating_systems: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()
    engines: dict[str, str] = {}
    labels: dict[str, str] = {}
    gpu_drivers: tuple[str, ...] = ()
    position: Position | None = None
    version: int = 0
    label_values: dict[str, tuple[str | None, ...]] = {}
    vague_labels: tuple[str, ...] = ()
    taints: tuple[str, ...] = ()
    yielding: tuple[tuple[int, tuple[Resources, ...]], ...] = ()
    addons: tuple[str, ...] = ()
    round_trip: float = 0.0
    troubles: tuple[str, ...] = ()
    network: Networking = NO_NETWORK

    def __post_init__(self) -> None:
        """Of what many children say alike, a parent keeps one copy: a third of what a node's words take."""
        for field in _ALIKE:
            said = getattr(self, field)
            if said:
                msgspec.structs.force_setattr(self, field, _same(said))
        for field in _SELDOM:
            if not getattr(self, field):
                msgspec.structs.force_setattr(self, field, _NOTHING)


#: Fields in which many children say the same.
_ALIKE = ("architectures", "operating_systems", "runtimes", "gpu_drivers", "taints", "addons")
#: Fields in which most children say nothing; as all of a capacity, what stands for it is never written to.
_SELDOM, _NOTHING = ("engines", "label_values"), dict[str, str]()


@lru_cache(1000)
def _same(words: tuple[str, ...]) -> tuple[str, ...]:
    """The first of all equal ones."""
    return words


class NodeView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A node as a cluster describes it to the root."""

    id: str
    name: str
    state: Literal["live", "silent", "joined"]
    capacity: Capacity
    reserved: Resources = Resources()
    usage: Usage = Usage()
    instances: int = 0
    software: str = ""
    cordoned: bool = False
    drained: bool = False
