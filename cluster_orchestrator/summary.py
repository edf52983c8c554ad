"""What a cluster tells the root about its nodes: sums, the largest free nodes, and a row for each node. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from mangrove.model.attempt import Usage
from mangrove.model.child import Capacity, NodeView
from mangrove.model.documents import Child
from mangrove.model.position import Position
from mangrove.model.resources import NOTHING, Resources
from mangrove.placement.fleet import Row

#: Free nodes described one by one. The root needs them only to see whether a single node fits, and nodes that are
#: smaller than another in everything are left out; a wrong guess costs one refusal.
_LARGEST = 8


def cluster_capacity(rows: Iterable[Row], version: int, position: Position | None) -> Capacity:
    """The cluster as one child of the root: of its nodes that are connected now."""
    rows = list(rows)
    live = [row for row in rows if row.live]
    # The root subtracts all that it has given to this cluster, so what is bound on silent nodes must be in the sum.
    bound = sum((row.reserved for row in rows if not row.live), NOTHING)
    return Capacity(
        allocatable=sum((row.capacity.allocatable for row in live), bound),
        largest=largest([row.free for row in live]),
        nodes=len(live),
        architectures=_union(row.capacity.architectures for row in live),
        operating_systems=_union(row.capacity.operating_systems for row in live),
        runtimes=_union(row.capacity.runtimes for row in live),
        gpu_drivers=_union(row.capacity.gpu_drivers for row in live),
        position=position,
        version=version,
    )


def largest(rooms: list[Resources]) -> tuple[Resources, ...]:
    """Those that fit into no other one, the largest first, at most `_LARGEST`."""
    ordered = sorted(
        set(rooms), key=lambda room: (room.memory, room.cpu, room.disk, room.gpus, room.vram), reverse=True
    )
    front: list[Resources] = []
    for room in ordered:
        if not any(_within(room, other) for other in front):
            front = [other for other in front if not _within(other, room)] + [room]
    return tuple(front[:_LARGEST])


def node_view(row: Row, child: Child, usage: Usage) -> NodeView:
    """One node as the root shows it. Usage is rounded, so that noise is no news."""
    return NodeView(
        row.id,
        row.name,
        child.state,
        row.capacity,
        row.reserved,
        Usage(
            cpu=round(usage.cpu),
            memory=_mebibytes(usage.memory),
            memory_percent=round(usage.memory_percent),
            disk=_mebibytes(usage.disk) // 1024 * 1024,
            load=round(usage.load, 1),
            gpu=round(usage.gpu),
            vram=_mebibytes(usage.vram),
            gpu_temperature=round(usage.gpu_temperature),
        ),
        row.attempts,
        child.software,
    )


def total_usage(usages: list[Usage], memory_mebibytes: int) -> Usage:
    """All nodes as one: mean of CPU and GPU load, sums of the rest. memory_mebibytes: of all nodes together."""
    count = max(1, len(usages))
    memory = sum(usage.memory for usage in usages)
    return Usage(
        cpu=sum(usage.cpu for usage in usages) / count,
        memory=memory,
        memory_percent=100 * memory / (memory_mebibytes * 2**20) if memory_mebibytes else 0.0,
        disk=sum(usage.disk for usage in usages),
        rx=sum(usage.rx for usage in usages),
        tx=sum(usage.tx for usage in usages),
        load=sum(usage.load for usage in usages),
        gpu=sum(usage.gpu for usage in usages) / count,
        vram=sum(usage.vram for usage in usages),
        gpu_temperature=max((usage.gpu_temperature for usage in usages), default=0.0),
        measured=max((usage.measured for usage in usages), default=0.0),
    )


def _within(room: Resources, other: Resources) -> bool:
    return (
        room.cpu <= other.cpu
        and room.memory <= other.memory
        and room.disk <= other.disk
        and room.gpus <= other.gpus
        and room.vram <= other.vram
    )


def _mebibytes(amount: int) -> int:
    return amount // 2**20 * 2**20


def _union(groups: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(sorted({name for group in groups for name in group}))
