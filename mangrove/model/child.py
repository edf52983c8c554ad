"""Children as their parent sees them: what they can allocate, and how they are described further up."""

from __future__ import annotations

from typing import Literal

import msgspec

from mangrove.model.attempt import Usage
from mangrove.model.position import Position
from mangrove.model.resources import Resources


class Capacity(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a child can allocate in all: not what is free, since the parent subtracts its own reservations.

    largest: what is free on the largest single nodes behind it, of which none is smaller than another in everything;
    empty for a node. nodes: how many stand behind it that may get new work, or hold what they were given. version: of
    the assignment that `largest` reflects. gpu_drivers: one name a device. engines: of a node, by runtime, the program
    behind it, such as "Podman 4.3.1". labels: of a node; label_values: of the nodes behind a cluster, with null when
    some have no such label. vague_labels: keys with more values than are told. taints: what keeps everything away that
    does not tolerate it, `key` or `key=value`; of a cluster, those that all its nodes have. addons: what else the
    operator says it offers. round_trip: milliseconds to the parent and back, coarsely; 0 when not measured. troubles:
    what is wrong with it now, one line each.
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
    addons: tuple[str, ...] = ()
    round_trip: float = 0.0
    troubles: tuple[str, ...] = ()


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
