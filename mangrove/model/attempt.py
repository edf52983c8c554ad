"""Attempts: a slot given to one child (`Attempt`, desired) and what became of it (`Status`, observed)."""

from __future__ import annotations

from typing import Literal

import msgspec

from mangrove.model.phases import ENDED, Phase
from mangrove.model.specification import Port


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True):
    """One entry of an assignment: what a parent wants a child to run.

    id: of this attempt; service, number: the slot as the user knows it; epoch: raised each time the slot is given
    away; specification: digest of what to run. request: id of the user's request that it follows from, for the logs.
    pin: id of the only child below that it may be given to; empty: any.
    """

    id: str
    service: str
    number: int
    epoch: int
    specification: str
    request: str = ""
    pin: tuple[str, ...] = ()


class Status(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a child says about an attempt.

    reason: one line for a person whenever it is not simply running. since: wall-clock seconds at which this phase
    began. node, node_name, address: where it runs (empty while nowhere). silent: this is the last word of a node that
    is not heard now. given_up: that has lasted for as long as its policy says, so that it may be run elsewhere, and
    there is nowhere beside that node; what is stopping and exclusive is then known to have stopped there. ipv4, ipv6:
    its own address in the network between services; empty where it has none. ports: of the node, that lead to it now.
    misplaced: why its cluster would rather have it elsewhere: its node is drained and no other has room, or it keeps
    failing on its nodes.
    """

    attempt: str
    phase: Phase
    reason: str = ""
    restarts: int = 0
    exit_code: int | None = None
    since: float = 0.0
    node: str = ""
    node_name: str = ""
    address: str = ""
    silent: bool = False
    given_up: bool = False
    ipv4: str = ""
    ipv6: str = ""
    ports: tuple[Port, ...] = ()
    misplaced: Literal["", "drained", "failing"] = ""

    @property
    def ended(self) -> bool:
        return self.phase in ENDED


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was measured, of an instance or of a whole node.

    cpu: percent of one core for an instance, of the whole machine for a node; memory, disk: bytes used;
    memory_percent: of the machine's memory; rx, tx: bytes received and sent since start; load: 1-minute load average;
    gpu: percent; vram: bytes used; gpu_temperature: degrees Celsius; measured: wall-clock seconds.
    """

    cpu: float = 0.0
    memory: int = 0
    memory_percent: float = 0.0
    disk: int = 0
    rx: int = 0
    tx: int = 0
    load: float = 0.0
    gpu: float = 0.0
    vram: int = 0
    gpu_temperature: float = 0.0
    measured: float = 0.0
