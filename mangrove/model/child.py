"""Children as their parent sees them: what they can allocate, and how they are described further up."""

from __future__ import annotations

from typing import Literal

import msgspec

from mangrove.model.attempt import Usage
from mangrove.model.resources import Resources


class Position(msgspec.Struct, frozen=True):
    """Where something stands. Degrees, and metres of radius."""

    latitude: float
    longitude: float
    radius: float = 0.0


class Capacity(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a child can allocate in all: not what is free, since the parent subtracts its own reservations.

    largest: what is free on the largest single nodes behind it, of which none is smaller than another in everything;
    empty for a node. nodes: how many stand behind it. version: of the assignment that `largest` reflects. gpu_drivers:
    one name a device. engines: of a node, by runtime, the program behind it, such as "Podman 4.3.1".
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
